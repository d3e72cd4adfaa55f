import pg from 'pg';
import type { Timers } from '../process/timers.js';
import { connectionDead, everyConnectionBusy } from './pg-errors.js';

export interface ConnectionsOptions {
  readonly pool: pg.PoolConfig;
  readonly connectionsMax: number;
  /** How long a caller waits for one while all are lent. */
  readonly waitMsMax: number;
  /** An answer that takes so long has the server asked whether it works on it. */
  readonly silentMs: number;
  /** The server's address for messages: never a user or password. */
  readonly place: string;
  readonly timers: Timers;
  /** Which of these backends (process ids) have nothing to do. Rejects where the server does not answer. */
  readonly askIdle: (backends: readonly number[]) => Promise<ReadonlySet<number>>;
  readonly onIdleBroken: (error: NodeJS.ErrnoException) => void;
  /** So many were found dead while the server answers others, and cut. */
  readonly onDead: (count: number) => void;
}

interface Caller {
  readonly resolve: (client: pg.PoolClient) => void;
  readonly reject: (why: unknown) => void;
  readonly stopWaiting: () => void;
}

interface Question {
  readonly sinceMs: number;
}

type Look =
  | { readonly kind: 'none' }
  | { readonly kind: 'planned'; readonly cancel: () => void }
  | { readonly kind: 'asking' };

/** What the driver has and its types lack. */
type Lendable = pg.PoolClient & {
  /** Of the server's process behind it. */ readonly processID: number | null;
};

/**
 * The driver's pool, as Kysely uses it, with what it lacks. Everything that is under way or kept can be cut. A connection
 * whose peer is gone looks alive: one that lost its answer is never lent again, and while an answer is missing the
 * server is asked, over a new connection, whether it works on it. And who waited for a free one is told so: that all
 * are in use says nothing of the server.
 */
export class Connections {
  readonly #options: ConnectionsOptions;
  readonly #pool: pg.Pool;
  readonly #lent = new Set<pg.PoolClient>();
  readonly #opening = new Set<Caller>();
  readonly #queue: Caller[] = [];
  /** Places that are taken: lent or being opened. */
  #taken = 0;
  readonly #unanswered = new Map<Lendable, Question>();
  readonly #dead = new WeakSet<pg.PoolClient>();
  #look: Look = { kind: 'none' };

  constructor(options: ConnectionsOptions) {
    this.#options = options;
    this.#pool = new pg.Pool({ ...options.pool, max: options.connectionsMax });
    this.#pool.on('error', options.onIdleBroken);
    this.#pool.on('connect', (client) => {
      // A connection that breaks while it is lent out fails its query; without a listener it would end the process too.
      client.on('error', () => undefined);
      this.#watch(client as Lendable);
    });
  }

  connect(): Promise<pg.PoolClient> {
    return new Promise((resolve, reject) => {
      if (this.#taken < this.#options.connectionsMax) {
        this.#open({ resolve, reject, stopWaiting: () => undefined });
        return;
      }
      const { timers, waitMsMax, connectionsMax, place } = this.#options;
      const caller: Caller = {
        resolve,
        reject,
        stopWaiting: timers.after(waitMsMax, () => {
          this.#queue.splice(this.#queue.indexOf(caller), 1);
          reject(everyConnectionBusy(place, connectionsMax, waitMsMax));
        }),
      };
      this.#queue.push(caller);
    });
  }

  end(): Promise<void> {
    return this.#pool.end();
  }

  /** Ends all of them: what waits for one, or for an answer over one, fails now. */
  cutAll(): void {
    const why = new Error('the registry does not answer');
    for (const caller of [...this.#opening, ...this.#queue.splice(0)]) {
      caller.stopWaiting();
      caller.reject(why);
    }
    this.#opening.clear();
    for (const client of [...this.#lent]) cut(client);
    this.#cutIdle();
  }

  #open(caller: Caller): void {
    caller.stopWaiting();
    this.#taken++;
    this.#opening.add(caller);
    this.#pool.connect().then(
      (client) => {
        this.#lend(client);
        if (this.#opening.delete(caller)) caller.resolve(client);
        else cut(client);
      },
      (why: unknown) => {
        this.#opening.delete(caller);
        caller.reject(why);
        this.#freed();
        this.#cutIdle();
      },
    );
  }

  /** Released once by whoever is first: the borrower, or `cutAll`. */
  #lend(client: pg.PoolClient): void {
    const release = client.release;
    this.#lent.add(client);
    client.release = (destroy?: Error | boolean): void => {
      if (!this.#lent.delete(client)) return;
      release(destroy ?? client.connection.stream.destroyed);
      this.#freed();
    };
  }

  #freed(): void {
    this.#taken--;
    const next = this.#queue.shift();
    if (next !== undefined) this.#open(next);
  }

  /** Ends the connections that nobody uses now. */
  #cutIdle(): void {
    for (let left = this.#pool.idleCount; left > 0; left--) this.#pool.connect().then(cut, () => undefined);
  }

  /** Every question over `client` is known until it is answered. */
  #watch(client: Lendable): void {
    const ask = client.query.bind(client) as (...query: readonly unknown[]) => Promise<unknown>;
    const watched = async (...query: readonly unknown[]): Promise<unknown> => {
      const question: Question = { sinceMs: this.#options.timers.nowMs() };
      this.#unanswered.set(client, question);
      if (this.#look.kind === 'none') this.#planLook();
      try {
        return await ask(...query);
      } catch (why) {
        throw this.#lost(client, why);
      } finally {
        // What fails is followed by a rollback, which is a question too.
        if (this.#unanswered.get(client) === question) this.#unanswered.delete(client);
        if (this.#unanswered.size === 0 && this.#look.kind === 'planned') {
          this.#look.cancel();
          this.#look = { kind: 'none' };
        }
      }
    };
    client.query = watched as typeof client.query;
  }

  /** What a question's failure says of its connection, which is not used again unless the server answered. */
  #lost(client: pg.PoolClient, why: unknown): unknown {
    if (why instanceof pg.DatabaseError || why instanceof TypeError || why instanceof RangeError) return why;
    const { stream } = client.connection;
    // The driver's own limit passed, or we looked: the server is there, or the breaker would have cut everything.
    const isSilent = !stream.destroyed || this.#dead.has(client);
    stream.destroy();
    this.#cutIdle();
    return isSilent ? connectionDead(this.#options.place, why) : why;
  }

  #planLook(): void {
    const { timers, silentMs } = this.#options;
    const cancel = timers.after(silentMs, () => {
      this.#look = { kind: 'asking' };
      void this.#cutDead().finally(() => {
        this.#look = { kind: 'none' };
        if (this.#unanswered.size > 0) this.#planLook();
      });
    });
    this.#look = { kind: 'planned', cancel };
  }

  /** Cuts those whose question the server does not work on: it never got it, or its answer was lost. */
  async #cutDead(): Promise<void> {
    const { timers, silentMs, askIdle, onDead } = this.#options;
    const askedAtMs = timers.nowMs();
    // A timer may be early by a fraction.
    const waiting = [...this.#unanswered].filter(
      ([, { sinceMs }]) => Math.ceil(askedAtMs - sinceMs) >= silentMs,
    );
    const backends = waiting.flatMap(([{ processID }]) => (processID === null ? [] : [processID]));
    if (backends.length === 0) return;
    let idle: ReadonlySet<number>;
    try {
      idle = await askIdle(backends);
    } catch {
      return; // the breaker decides
    }
    let count = 0;
    for (const [client, question] of waiting) {
      if (this.#unanswered.get(client) !== question) continue;
      if (client.processID === null || !idle.has(client.processID)) continue;
      this.#dead.add(client);
      client.connection.stream.destroy();
      count++;
    }
    if (count === 0) return;
    this.#cutIdle();
    onDead(count);
  }
}

/** Ends a connection whose peer may not say good-bye: its socket would keep the process from ending. */
function cut(client: pg.PoolClient): void {
  client.release(true);
  client.connection.stream.destroy();
}
