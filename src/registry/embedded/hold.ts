import pg from 'pg';

/** Two numbers that mean "somebody uses this embedded server" among its advisory locks. */
const HOLD_LOCK = [0x73776974, 1] as const; // 'swit'
const CONNECT_MS_MAX = 5_000;

/** One process's claim on the embedded server: a session that holds a shared lock. */
export interface Hold {
  /**
   * Gives the claim up and says whether it was the last one. Race-free without a file lock: the lock is given up,
   * then tried for exclusively. Who gets it knows that nobody else holds the server, and whoever attaches from then on
   * waits for a lock that is freed only by the server's end, sees the session break, and starts the server again.
   */
  release(): Promise<boolean>;
  end(): Promise<void>;
}

/** Null when the server does not answer, or went down while the lock was waited for. `onLost` is called at most once, and not after release(). */
export async function takeHold(connection: pg.ClientConfig, onLost: () => void): Promise<Hold | null> {
  const client = new pg.Client({
    ...connection,
    application_name: 'switchyard hold',
    connectionTimeoutMillis: CONNECT_MS_MAX,
  });
  let state: 'opening' | 'held' | 'gone' = 'opening';
  const onEnd = (): void => {
    if (state === 'held') onLost();
    state = 'gone';
  };
  client.on('error', onEnd);
  client.on('end', onEnd);
  try {
    await client.connect();
    await client.query('select pg_advisory_lock_shared($1, $2)', [...HOLD_LOCK]);
    state = 'held';
  } catch {
    // Refused, starting up, shutting down: the caller looks at the server again and decides.
    await endQuietly(client);
    return null;
  }
  return {
    release: async () => {
      if (state === 'gone') return false;
      state = 'gone';
      try {
        await client.query('select pg_advisory_unlock_shared($1, $2)', [...HOLD_LOCK]);
        const { rows } = await client.query<{ last: boolean }>(
          'select pg_try_advisory_lock($1, $2) as last',
          [...HOLD_LOCK],
        );
        return rows[0]?.last === true;
      } catch {
        return false; // the server is gone already: nothing to stop
      }
    },
    end: () => endQuietly(client),
  };
}

/** The session is given up either way; that it broke already is no news. */
async function endQuietly(client: pg.Client): Promise<void> {
  await client.end().catch(() => undefined);
}
