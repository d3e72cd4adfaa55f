import { Kysely, PostgresDialect, type Transaction } from 'kysely';
import pg from 'pg';
import { SwitchyardError } from '../errors.js';
import type { BreakerOptions } from '../process/breaker.js';
import { systemTimers } from '../process/timers.js';
import { AskAside } from './ask-aside.js';
import { Circuit, type CircuitReport } from './circuit.js';
import { Connections } from './connections.js';
import type { RegistryLog } from './log.js';
import { fromPgError, newsOf } from './pg-errors.js';
import type { RegistrySchema } from './schema.js';

export const CONNECT_MS_MAX = 5_000;
const STATEMENT_MS_MAX = 10_000;
const LOCK_MS_MAX = 5_000;
const IDLE_IN_TRANSACTION_MS_MAX = 15_000;
const CONNECTIONS_MAX = 6;
const CONNECTION_IDLE_MS_MAX = 30_000;
/** So long idle, the kernel asks the peer whether it is there; 10 s later it gives up. Its own default is two hours. */
export const KEEP_ALIVE_AFTER_MS = 10_000;
/** A call that waits so long has the server asked whether it is there at all, and works on it. */
const SILENT_MS = 2_000;
const BREAKER: BreakerOptions = Object.freeze({ failuresToOpen: 3, openMsFirst: 250, openMsMax: 2_000 });

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
  /** Of the breaker before the server. */
  circuit(): CircuitReport;
  /** Called whenever the breaker closes again. Returns what ends it. */
  whenItAnswersAgain(listener: () => void): () => void;
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
  let isClosing = false; // the last one out stops an embedded server, which may outrun its own good-byes
  const aside = new AskAside(connection, `${applicationName} probe`, CONNECT_MS_MAX);
  const connections = new Connections({
    pool: {
      ...connection,
      application_name: applicationName,
      idleTimeoutMillis: CONNECTION_IDLE_MS_MAX,
      connectionTimeoutMillis: CONNECT_MS_MAX,
      statement_timeout: STATEMENT_MS_MAX,
      lock_timeout: LOCK_MS_MAX,
      idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS_MAX,
      // For a server that is reachable and silent; after the server's own limit.
      query_timeout: STATEMENT_MS_MAX + CONNECT_MS_MAX,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_AFTER_MS,
      allowExitOnIdle: true,
    },
    connectionsMax: CONNECTIONS_MAX,
    waitMsMax: CONNECT_MS_MAX,
    silentMs: SILENT_MS,
    place,
    timers: systemTimers,
    askIdle: (backends) => aside.idleOf(backends),
    // An idle connection broke; the next use opens another. The error object carries the client: not for the log.
    onIdleBroken: ({ code }) => {
      if (!isClosing) log.warn({ place, code }, 'an idle connection to the registry broke');
    },
    onDead: (count) =>
      log.warn(
        { place, count },
        'connections to the registry had gone dead: a firewall or balancer may drop them',
      ),
  });
  const closedListeners = new Set<() => void>();
  const circuit = new Circuit({
    breaker: BREAKER,
    silentMs: SILENT_MS,
    place,
    timers: systemTimers,
    probe: () => aside.answers(),
    newsOf,
    onOpened: (why) => {
      connections.cutAll();
      const { code } = fromPgError(why, place).cause as NodeJS.ErrnoException;
      log.warn({ place, code }, 'the registry does not answer: nothing is asked of it until it does');
    },
    onClosed: () => {
      log.info({ place }, 'the registry answers and is asked again');
      for (const listener of closedListeners) listener();
    },
  });
  const tables = new Kysely<RegistrySchema>({ dialect: new PostgresDialect({ pool: connections }) });
  const guard = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await circuit.run(work);
    } catch (error) {
      throw fromPgError(error, place);
    }
  };
  return {
    tables,
    place,
    connection,
    read: (work) => guard(() => work(tables)),
    change: (work) => guard(() => tables.transaction().execute(work)),
    snapshot: (work) =>
      guard(() =>
        tables.transaction().setIsolationLevel('repeatable read').setAccessMode('read only').execute(work),
      ),
    circuit: () => circuit.report,
    whenItAnswersAgain: (listener) => {
      closedListeners.add(listener);
      return () => void closedListeners.delete(listener);
    },
    close: () => {
      isClosing = true;
      circuit.close();
      return tables.destroy();
    },
  };
}

function describePlace(connection: pg.ClientConfig): string {
  const { host, port, database } = new pg.Client(connection);
  return host.startsWith('/') ? `${host}` : `${host}:${port}/${database ?? ''}`;
}
