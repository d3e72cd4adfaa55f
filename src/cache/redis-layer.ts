import type { Redis } from 'ioredis';
import type { Timers } from '../process/timers.js';
import type { SharedKey } from './keys.js';
import { messageOf, RedisConnection, type RedisConnectionOptions } from './redis-connection.js';

export interface RedisLayerOptions extends RedisConnectionOptions {
  /** Before every key. */
  readonly keyPrefix: string;
  /** How long a group of reads may take. */
  readonly timeoutMs: number;
  /** Reads that wait for an answer; beyond it Redis is not asked. */
  readonly readsMax: number;
  /** Bytes of values that are on their way to Redis; beyond it a value is not sent. */
  readonly writeBytesMax: number;
}

/** `skipped`: not asked, since the breaker is open or too much is under way. `failed`: no answer in time, or no sound one. */
export type RedisRead = Buffer | 'absent' | 'skipped' | 'failed';

interface Waiting {
  readonly key: string;
  readonly resolve: (read: RedisRead) => void;
}

interface Outgoing {
  readonly key: string;
  readonly value: Buffer;
  readonly ttlMs: number;
}

/** Keys of one MGET: enough to share a round trip, few enough not to hold up other clients of the server. */
const GROUP_MAX = 128;

/**
 * The layer that gateways share. What is asked in one turn of the event loop travels together: reads as MGET, writes
 * as a pipeline. Nothing here rejects, and nothing waits longer than the timeout.
 */
export class RedisLayer {
  readonly #options: RedisLayerOptions;
  readonly #connection: RedisConnection;
  readonly #timers: Timers;
  #reads: Waiting[] = [];
  #writes: Outgoing[] = [];
  #flushes = false;
  #readsUnderWay = 0;
  #writeBytesUnderWay = 0;
  readonly counters = { timeouts: 0, failures: 0, writes: 0, writesFailed: 0, writesDropped: 0 };

  constructor(options: RedisLayerOptions) {
    this.#options = options;
    this.#timers = options.timers;
    this.#connection = new RedisConnection(options);
  }

  get state(): RedisConnection['state'] {
    return this.#connection.state;
  }

  get openedCount(): number {
    return this.#connection.openedCount;
  }

  get(key: SharedKey): Promise<RedisRead> | RedisRead {
    if (this.#connection.client === null) return 'skipped';
    if (this.#readsUnderWay >= this.#options.readsMax) return 'skipped';
    this.#readsUnderWay++;
    return new Promise((resolve) => {
      this.#reads.push({ key: this.#options.keyPrefix + key, resolve });
      this.#schedule();
    });
  }

  /** `value` is sent later and must not change. */
  set(key: SharedKey, value: Buffer, ttlMs: number): void {
    const { keyPrefix, writeBytesMax } = this.#options;
    if (this.#connection.client === null || this.#writeBytesUnderWay + value.length > writeBytesMax) {
      this.counters.writesDropped++;
      return;
    }
    this.#writeBytesUnderWay += value.length;
    this.#writes.push({ key: keyPrefix + key, value, ttlMs: Math.max(1, Math.round(ttlMs)) });
    this.#schedule();
  }

  /** What became of a value that was read: see `RedisConnection`. */
  trusted(): void {
    this.#connection.trusted();
  }

  mixedUp(): void {
    this.#connection.mixedUp();
  }

  close(): void {
    this.#connection.close();
    this.#flush();
  }

  #schedule(): void {
    if (this.#flushes) return;
    this.#flushes = true;
    setImmediate(() => this.#flush());
  }

  #flush(): void {
    this.#flushes = false;
    const [reads, writes] = [this.#reads, this.#writes];
    this.#reads = [];
    this.#writes = [];
    const { client } = this.#connection;
    for (let at = 0; at < reads.length; at += GROUP_MAX) {
      const group = reads.length <= GROUP_MAX ? reads : reads.slice(at, at + GROUP_MAX);
      if (client === null) this.#settle(group, 'skipped');
      else void this.#read(client, group);
    }
    if (writes.length > 0) void this.#write(client, writes);
  }

  async #read(client: Redis, group: readonly Waiting[]): Promise<void> {
    let answers: unknown;
    try {
      answers = await this.#inTime(client.mgetBuffer(group.map(({ key }) => key)));
      if (!isAnswerTo(group, answers)) throw new Error('its answer is not what was asked for');
    } catch (error) {
      this.counters.failures++;
      this.#settle(group, 'failed');
      this.#connection.failed(client, messageOf(error));
      return;
    }
    this.#connection.succeeded(client);
    this.#readsUnderWay -= group.length;
    for (let at = 0; at < group.length; at++) group[at]?.resolve(answers[at] ?? 'absent');
  }

  #settle(group: readonly Waiting[], read: RedisRead): void {
    this.#readsUnderWay -= group.length;
    for (const { resolve } of group) resolve(read);
  }

  async #write(client: Redis | null, writes: readonly Outgoing[]): Promise<void> {
    const bytes = writes.reduce((sum, { value }) => sum + value.length, 0);
    try {
      if (client === null) {
        this.counters.writesDropped += writes.length;
        return;
      }
      const pipeline = client.pipeline();
      for (const { key, value, ttlMs } of writes) pipeline.set(key, value, 'PX', ttlMs);
      const results = (await pipeline.exec()) ?? [];
      // A full server refuses writes and still answers reads, so this says nothing about the connection.
      const failed = results.filter(([error]) => error !== null).length;
      this.counters.writes += results.length - failed;
      this.counters.writesFailed += failed;
    } catch {
      // The connection ended under it; whoever reads finds that out and opens the breaker.
      this.counters.writesFailed += writes.length;
    } finally {
      this.#writeBytesUnderWay -= bytes;
    }
  }

  #inTime<T>(answer: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      let isOpen = true;
      const cancel = this.#timers.after(this.#options.timeoutMs, () => {
        // After a busy turn the answer may lie in the socket already: it is read before this counts as late.
        setImmediate(() => {
          if (!isOpen) return;
          this.counters.timeouts++;
          reject(new Error(`no answer within ${this.#options.timeoutMs} ms`));
        });
      });
      answer.then(
        (value) => {
          isOpen = false;
          cancel();
          resolve(value);
        },
        (error: unknown) => {
          isOpen = false;
          cancel();
          reject(error as Error);
        },
      );
    });
  }
}

const isAnswerTo = (group: readonly Waiting[], answers: unknown): answers is (Buffer | null)[] =>
  Array.isArray(answers) &&
  answers.length === group.length &&
  answers.every((answer) => answer === null || Buffer.isBuffer(answer));
