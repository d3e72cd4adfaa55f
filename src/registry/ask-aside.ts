import pg from 'pg';

/** Questions about the server itself, each over a new connection: what the pool holds may be dead or in use. */
export class AskAside {
  readonly #config: pg.ClientConfig;

  /** Connecting and the answer may take `limitMs` each. */
  constructor(connection: pg.ClientConfig, applicationName: string, limitMs: number) {
    this.#config = {
      ...connection,
      application_name: applicationName,
      connectionTimeoutMillis: limitMs,
      query_timeout: limitMs,
    };
  }

  /** Rejects where the server takes nobody in or says nothing. */
  async answers(): Promise<void> {
    await this.#ask((client) => client.query('SELECT 1'));
  }

  /**
   * Which of these backends (process ids) do nothing, and did not just end something whose answer may be on its way.
   * Behind a pooler the ids that clients are told are not the server's, and the answer is: none.
   */
  async idleOf(backends: readonly number[]): Promise<ReadonlySet<number>> {
    const { rows } = await this.#ask((client) =>
      client.query<{ readonly pid: number }>(
        `SELECT pid FROM pg_stat_activity
         WHERE pid = ANY($1::int[]) AND state LIKE 'idle%' AND state_change < clock_timestamp() - interval '1 second'`,
        [backends],
      ),
    );
    return new Set(rows.map(({ pid }) => pid));
  }

  async #ask<T>(ask: (client: pg.Client) => Promise<T>): Promise<T> {
    const client = new pg.Client(this.#config);
    client.on('error', () => undefined); // what breaks fails the question too
    try {
      await client.connect();
      return await ask(client);
    } finally {
      // Not waited for: a server that does not answer says no good-bye either.
      client.end().catch(() => undefined);
    }
  }
}
