import { Kysely, PostgresDialect, type Transaction } from 'kysely';
import pg from 'pg';
import { SwitchyardError } from '../errors.js';
import type { RegistryLog } from './log.js';
import { fromPgError } from './pg-errors.js';
import type { RegistrySchema } from './schema.js';

export const CONNECT_MS_MAX = 5_000;
const STATEMENT_MS_MAX = 10_000;
const LOCK_MS_MAX = 5_000;
const IDLE_IN_TRANSACTION_MS_MAX = 15_000;
const CONNECTIONS_MAX = 6;
const CONNECTION_IDLE_MS_MAX = 30_000;

export type Tables = Kysely<RegistrySchema>;
export type RegistryTransaction = Transaction<RegistrySchema>;

/** The pool, typed, with every failure turned into a catalogued error. */
export interface Database {
  /** One statement or several that need not agree. */
  read<T>(work: (tables: Tables) => Promise<T>): Promise<T>;
  /** All or nothing (invariant 5). */
  change<T>(work: (transaction: RegistryTransaction) => Promise<T>): Promise<T>;
  /** Everything `work` reads is of one moment. */
  snapshot<T>(work: (transaction: RegistryTransaction) => Promise<T>): Promise<T>;
  readonly tables: Tables;
  /** The server's address for messages: never a user or password. */
  readonly place: string;
  readonly connection: pg.ClientConfig;
  close(): Promise<void>;
}

/** A connection string as a driver's config. Errors: INVALID_CONFIG, without the string: it holds a password. */
export function parseDatabaseUrl(databaseUrl: string): pg.ClientConfig {
  const wrong = () =>
    new SwitchyardError(
      'INVALID_CONFIG',
      'DATABASE_URL is not a PostgreSQL address: expected postgresql://user:password@host:5432/database',
    );
  if (!/^postgres(ql)?:\/\//.test(databaseUrl)) throw wrong();
  try {
    new pg.Client({ connectionString: databaseUrl }); // parses, opens nothing
  } catch {
    throw wrong();
  }
  return { connectionString: databaseUrl };
}

export function openDatabase(
  connection: pg.ClientConfig,
  applicationName: string,
  log: RegistryLog,
): Database {
  const place = describePlace(connection);
  const pool = new pg.Pool({
    ...connection,
    application_name: applicationName,
    max: CONNECTIONS_MAX,
    idleTimeoutMillis: CONNECTION_IDLE_MS_MAX,
    connectionTimeoutMillis: CONNECT_MS_MAX,
    statement_timeout: STATEMENT_MS_MAX,
    lock_timeout: LOCK_MS_MAX,
    idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS_MAX,
    // For a server that is reachable and silent; after the server's own limit.
    query_timeout: STATEMENT_MS_MAX + CONNECT_MS_MAX,
    keepAlive: true,
    allowExitOnIdle: true,
  });
  // An idle connection broke; the next use opens another. The error object carries the client: not for the log.
  let isClosing = false; // the last one out stops an embedded server, which may outrun its own good-byes
  pool.on('error', (error: NodeJS.ErrnoException) => {
    if (!isClosing) log.warn({ place, code: error.code }, 'an idle connection to the registry broke');
  });
  // A connection that breaks while it is lent out fails its query; without a listener it would end the process too.
  pool.on('connect', (client) => {
    client.on('error', () => undefined);
  });
  const tables = new Kysely<RegistrySchema>({ dialect: new PostgresDialect({ pool }) });
  const guard = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      throw fromPgError(error, place);
    }
  };
  return {
    tables,
    place,
    connection,
    read: (work) => guard(work(tables)),
    change: (work) => guard(tables.transaction().execute(work)),
    snapshot: (work) =>
      guard(
        tables.transaction().setIsolationLevel('repeatable read').setAccessMode('read only').execute(work),
      ),
    close: () => {
      isClosing = true;
      return tables.destroy();
    },
  };
}

function describePlace(connection: pg.ClientConfig): string {
  const { host, port, database } = new pg.Client(connection);
  return host.startsWith('/') ? `${host}` : `${host}:${port}/${database ?? ''}`;
}
