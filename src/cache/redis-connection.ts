import { Redis } from 'ioredis';
import { type BackoffPolicy, backoffDelayMs } from '../process/backoff.js';
import type { Timers } from '../process/timers.js';

export interface RedisConnectionOptions {
  /** redis://, rediss:// or a path of a socket; may hold a password, so it is never shown. */
  readonly url: string;
  /** From the first byte of a connection to its first answer. */
  readonly connectTimeoutMs: number;
  /** So many failures in a row open the breaker. */
  readonly failuresToOpen: number;
  readonly backoff: BackoffPolicy;
  readonly timers: Timers;
  /** [0, 1) */
  readonly random: () => number;
  /** Called when the breaker closes (`why` null) and when it opens or stays open after a trial. */
  readonly onState: (state: BreakerState, why: string | null) => void;
}

const HANG_UP_MS = 50;

/** `open`: nothing is asked. `trial`: a new connection is being tried, still nothing is asked. */
export type BreakerState = 'closed' | 'open' | 'trial';

/**
 * One connection to Redis behind a circuit breaker. Requests use it only while the breaker is closed; while it is
 * open a new connection is tried in the background, so no request ever pays for finding out. Never rejects.
 */
export class RedisConnection {
  readonly #options: RedisConnectionOptions;
  #state: BreakerState = 'trial';
  #client: Redis | null = null;
  #failures = 0;
  #mixUps = 0;
  #attempt = 0;
  #opened = 0;
  #cancelTrial: () => void = () => {};
  #isClosed = false;

  constructor(options: RedisConnectionOptions) {
    this.#options = options;
    void this.#try();
  }

  get state(): BreakerState {
    return this.#state;
  }

  /** How often the breaker opened. */
  get openedCount(): number {
    return this.#opened;
  }

  /** The connection to use now, or null. */
  get client(): Redis | null {
    return this.#state === 'closed' ? this.#client : null;
  }

  /** An answer came over `client`. */
  succeeded(client: Redis): void {
    if (client !== this.#client || this.#state !== 'closed') return;
    this.#failures = 0;
    // Only real work proves that it works: a server that answers a PING and nothing else stays away longer each time.
    this.#attempt = 0;
  }

  failed(client: Redis, why: string): void {
    if (client !== this.#client || this.#state !== 'closed') return;
    this.#failures++;
    if (this.#failures >= this.#options.failuresToOpen) this.#open(why);
  }

  /** A value was what it should be. */
  trusted(): void {
    this.#mixUps = 0;
  }

  /**
   * A sound value came under another key. One such value may stand there and is overwritten; as many as
   * `failuresToOpen` without a right one between them mean that answers and questions no longer belong together.
   */
  mixedUp(): void {
    if (this.#state !== 'closed') return;
    this.#mixUps++;
    if (this.#mixUps >= this.#options.failuresToOpen) this.#open('it answers with the values of other keys');
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelTrial();
    this.#drop();
    this.#state = 'open';
  }

  #open(why: string): void {
    const { backoff, timers, random, onState } = this.#options;
    this.#drop();
    if (this.#isClosed) return;
    if (this.#state === 'closed') this.#opened++;
    this.#state = 'open';
    this.#failures = 0;
    this.#mixUps = 0;
    this.#attempt++;
    this.#cancelTrial = timers.after(backoffDelayMs(backoff, this.#attempt, random), () => void this.#try());
    onState('open', why);
  }

  /** What waits for an answer of this connection is told that it is closed. */
  #drop(): void {
    const client = this.#client;
    this.#client = null;
    client?.disconnect();
  }

  async #try(): Promise<void> {
    const { url, connectTimeoutMs, timers, onState } = this.#options;
    this.#state = 'trial';
    const client = new Redis(url, {
      lazyConnect: true,
      connectTimeout: connectTimeoutMs,
      retryStrategy: () => null,
      enableOfflineQueue: false,
      enableReadyCheck: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      disableClientInfo: true,
      // A server that hangs does not say goodbye either.
      disconnectTimeout: HANG_UP_MS,
    });
    this.#client = client;
    let lastError: string | null = null;
    client.on('error', (error: Error) => {
      lastError = error.message;
    });
    client.on('close', () => {
      if (client === this.#client && this.#state === 'closed')
        this.#open(lastError ?? 'the connection was closed');
    });
    const cancelTimeout = timers.after(connectTimeoutMs, () => client.disconnect());
    try {
      await client.connect();
      const answer: unknown = await client.ping();
      if (answer !== 'PONG') throw new Error('PING was not answered with PONG');
    } catch (error) {
      if (client === this.#client) this.#open(lastError ?? messageOf(error));
      return;
    } finally {
      cancelTimeout();
    }
    if (this.#isClosed || client !== this.#client) return;
    this.#state = 'closed';
    onState('closed', null);
  }
}

/** Only the message: the error itself carries the command and its arguments. */
export const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : 'it failed for no known reason';
