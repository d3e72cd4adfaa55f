import pg from 'pg';

/**
 * The driver's pool, as Kysely uses it, with what it lacks: everything that is under way or kept can be cut. A
 * connection whose peer is gone looks alive, and one that timed out would go back to the pool and be lent again.
 */
export class Connections {
  readonly #pool: pg.Pool;
  readonly #lent = new Set<pg.PoolClient>();
  /** Callers that wait for a client. */
  readonly #waiting = new Set<(why: Error) => void>();

  constructor(config: pg.PoolConfig, onIdleBroken: (error: NodeJS.ErrnoException) => void) {
    this.#pool = new pg.Pool(config);
    this.#pool.on('error', onIdleBroken);
    // A connection that breaks while it is lent out fails its query; without a listener it would end the process too.
    this.#pool.on('connect', (client) => {
      client.on('error', () => undefined);
    });
  }

  connect(): Promise<pg.PoolClient> {
    return new Promise((resolve, reject) => {
      this.#waiting.add(reject);
      this.#pool.connect().then(
        (client) => {
          if (this.#waiting.delete(reject)) resolve(this.#lend(client));
          else cut(client);
        },
        (error: unknown) => {
          this.#waiting.delete(reject);
          reject(error);
        },
      );
    });
  }

  end(): Promise<void> {
    return this.#pool.end();
  }

  /** Ends the connections that nobody uses now. */
  cutIdle(): void {
    for (let left = this.#pool.idleCount; left > 0; left--) this.#pool.connect().then(cut, () => undefined);
  }

  /** Ends all of them: what waits for one, or for an answer over one, fails now. */
  cutAll(): void {
    for (const reject of this.#waiting) reject(new Error('the registry does not answer'));
    this.#waiting.clear();
    for (const client of [...this.#lent]) cut(client);
    this.cutIdle();
  }

  /** Released once by whoever is first: the borrower, or `cutAll`. */
  #lend(client: pg.PoolClient): pg.PoolClient {
    const release = client.release;
    const giveBack = (destroy?: Error | boolean): void => {
      if (this.#lent.delete(client)) release(destroy);
    };
    this.#lent.add(client);
    client.release = giveBack;
    return client;
  }
}

/** Ends a connection whose peer may not say good-bye: its socket would keep the process from ending. */
function cut(client: pg.PoolClient): void {
  client.release(true);
  client.connection.stream.destroy();
}
