import pg from 'pg';
import { CONNECT_MS_MAX, KEEP_ALIVE_AFTER_MS } from './database.js';
import type { RegistryLog } from './log.js';

const CHANNEL = 'switchyard_registry';
const BACKOFF_MS_MIN = 50;
const BACKOFF_MS_MAX = 5_000;
/** A connection that a firewall forgot looks alive; a question now and then finds out. */
const PING_MS = 15_000;
const PING_ANSWER_MS_MAX = 5_000;
const GOODBYE_MS_MAX = 1_000;

/**
 * What changed. `resync`: notifications may have been missed (the connection is new), so everything is to be read again.
 */
export type RegistryEvent =
  | { readonly kind: 'route'; readonly corpus: string; readonly revision: number }
  | { readonly kind: 'desired_targets'; readonly corpus: string }
  | { readonly kind: 'migration'; readonly corpus: string }
  | { readonly kind: 'api_keys' }
  | { readonly kind: 'resync' };

export type WatchState = 'connecting' | 'listening' | 'disconnected' | 'closed';

export interface RegistryWatch {
  readonly state: WatchState;
  close(): Promise<void>;
}

export interface WatchOptions {
  readonly onChange: (event: RegistryEvent) => void;
  readonly onState: (state: WatchState) => void;
  readonly connection: pg.ClientConfig;
  readonly applicationName: string;
  readonly log: RegistryLog;
}

/** LISTEN on a connection of its own, made anew with backoff whenever it breaks. Polling belongs to the caller. */
export function startWatch(options: WatchOptions): RegistryWatch {
  return new Watch(options);
}

class Watch implements RegistryWatch {
  readonly #options: WatchOptions;
  #state: WatchState = 'connecting';
  #client: pg.Client | null = null;
  #timer: NodeJS.Timeout | null = null;
  #attempt: Promise<void>;
  #backoffMs = BACKOFF_MS_MIN;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#attempt = this.#connect();
  }

  get state(): WatchState {
    return this.#state;
  }

  async close(): Promise<void> {
    this.#enter('closed');
    if (this.#timer !== null) clearTimeout(this.#timer);
    const ended = this.#drop();
    // A client that is ended while it connects never settles its connect().
    await Promise.race([this.#attempt, ended]);
  }

  #enter(state: WatchState): void {
    if (this.#state === state || this.#state === 'closed') return;
    this.#state = state;
    this.#options.onState(state);
  }

  async #connect(): Promise<void> {
    const client = new pg.Client({
      ...this.#options.connection,
      application_name: this.#options.applicationName,
      connectionTimeoutMillis: CONNECT_MS_MAX,
      query_timeout: PING_ANSWER_MS_MAX,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_AFTER_MS,
    });
    this.#client = client;
    const onBroken = (error?: NodeJS.ErrnoException): void => {
      if (this.#client === client) this.#lost(error?.code);
    };
    client.on('error', onBroken);
    client.on('end', onBroken);
    client.on('notification', ({ payload }) => this.#notify(payload));
    try {
      await client.connect();
      await client.query(`LISTEN ${CHANNEL}`);
    } catch (error) {
      onBroken(error as NodeJS.ErrnoException);
      return;
    }
    if (this.#client !== client) return;
    this.#backoffMs = BACKOFF_MS_MIN;
    this.#enter('listening');
    this.#options.onChange({ kind: 'resync' });
    this.#schedulePing(client, onBroken);
  }

  #schedulePing(client: pg.Client, onBroken: (error: NodeJS.ErrnoException) => void): void {
    this.#timer = setTimeout(() => {
      client.query('SELECT 1').then(() => {
        if (this.#client === client) this.#schedulePing(client, onBroken);
      }, onBroken);
    }, PING_MS).unref();
  }

  #lost(code: string | undefined): void {
    void this.#drop();
    if (this.#state === 'closed') return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    const retryInMs = this.#backoffMs;
    this.#backoffMs = Math.min(this.#backoffMs * 2, BACKOFF_MS_MAX);
    this.#options.log.warn({ code, retryInMs }, 'the connection that listens for registry changes broke');
    this.#enter('disconnected');
    this.#timer = setTimeout(() => {
      this.#enter('connecting');
      this.#attempt = this.#connect();
    }, retryInMs).unref();
  }

  /** Forgets the client before ending it, so its last events are nobody's. Resolves when its connection is gone. */
  async #drop(): Promise<void> {
    const client = this.#client;
    this.#client = null;
    if (client === null) return;
    // A server that does not answer says no good-bye either, and the socket would keep the process from ending.
    const cut = setTimeout(() => client.connection.stream.destroy(), GOODBYE_MS_MAX).unref();
    await client.end().catch(() => undefined); // broken already, or never connected
    clearTimeout(cut);
  }

  #notify(payload: string | undefined): void {
    const event = parseEvent(payload);
    // A newer program may say things that this one does not know: reading everything again is always right.
    this.#options.onChange(event ?? { kind: 'resync' });
  }
}

function parseEvent(payload: string | undefined): RegistryEvent | null {
  let value: unknown;
  try {
    value = JSON.parse(payload ?? '');
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const { kind, corpus, revision } = value as Record<string, unknown>;
  if (kind === 'api_keys') return { kind };
  if (typeof corpus !== 'string') return null;
  if (kind === 'route' && typeof revision === 'number') return { kind, corpus, revision };
  return kind === 'desired_targets' || kind === 'migration' ? { kind, corpus } : null;
}
