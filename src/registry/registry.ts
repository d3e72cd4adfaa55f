import { ApiKeys } from './api-keys.js';
import { Archives } from './archives.js';
import { Builds } from './builds.js';
import { Changes } from './changes.js';
import type { CircuitReport } from './circuit.js';
import { Consumers } from './consumers.js';
import { CorpusMigrations } from './corpus-migrations.js';
import { CorpusVersions } from './corpus-versions.js';
import { type Database, openDatabase, parseDatabaseUrl } from './database.js';
import { DesiredTargets } from './desired-targets.js';
import { type EmbeddedPostgres, startEmbeddedPostgres } from './embedded/embedded-postgres.js';
import { Evaluations } from './evaluations.js';
import { Gateways } from './gateways.js';
import { GoldenSets } from './golden-sets.js';
import type { RegistryLog } from './log.js';
import { migrate } from './migrate.js';
import { Models } from './models.js';
import { GATEWAY_ALIVE_MS_MAX } from './readiness.js';
import { Retirements } from './retirements.js';
import { Routes } from './routes.js';
import { Traffic } from './traffic.js';
import { type RegistryEvent, type RegistryWatch, startWatch, type WatchState } from './watch.js';

export interface RegistryOptions {
  /** A PostgreSQL given to us; null for the embedded one under `varDir`. */
  readonly databaseUrl: string | null;
  readonly varDir: string;
  readonly log: RegistryLog;
  /** Shown by PostgreSQL beside each of our connections. */
  readonly applicationName: string;
  /** A replica whose heartbeat is older does not count as live. Default 15 s. */
  readonly gatewayAliveMsMax?: number;
}

/**
 * Models, corpora, consumers, routes and their audit. Every failure is a SwitchyardError; a server that is down is
 * REGISTRY_UNAVAILABLE from every method, and each works again once the server does.
 */
export interface Registry {
  readonly models: Models;
  readonly corpusVersions: CorpusVersions;
  readonly builds: Builds;
  readonly consumers: Consumers;
  readonly traffic: Traffic;
  readonly archives: Archives;
  readonly retirements: Retirements;
  readonly routes: Routes;
  readonly desiredTargets: DesiredTargets;
  readonly gateways: Gateways;
  readonly apiKeys: ApiKeys;
  readonly goldenSets: GoldenSets;
  readonly evaluations: Evaluations;
  readonly migrations: CorpusMigrations;
  readonly changes: Changes;
  readonly kind: 'embedded' | 'given';
  /** The server's address for messages; holds no user and no password. */
  readonly place: string;
  /** How to connect to it by other means: for tests and `doctor`. Holds the password of DATABASE_URL. */
  readonly connection: Database['connection'];
  /** Calls back on every change, and with `resync` whenever some may have been missed. */
  watch(
    onChange: (event: RegistryEvent) => void,
    options?: { readonly onState?: (state: WatchState) => void },
  ): RegistryWatch;
  /** Of the breaker before the server: while it is not closed, every method is REGISTRY_UNAVAILABLE at once. */
  circuit(): CircuitReport;
  /** One round trip. Errors: REGISTRY_UNAVAILABLE. */
  ping(): Promise<void>;
  /** Ends every connection and watch; the last process to close an embedded server stops it. */
  close(): Promise<void>;
}

/**
 * Connects (starting or joining the embedded PostgreSQL where none is given) and migrates.
 * Errors: REGISTRY_UNAVAILABLE; INVALID_CONFIG for a wrong DATABASE_URL or a schema newer than this program.
 */
export async function openRegistry(options: RegistryOptions): Promise<Registry> {
  const { databaseUrl, varDir, log, applicationName } = options;
  const embedded = databaseUrl === null ? await startEmbeddedPostgres({ varDir, log }) : null;
  const connection = embedded?.connection ?? parseDatabaseUrl(databaseUrl ?? '');
  const database = openDatabase(connection, applicationName, log);
  try {
    await migrate(database);
  } catch (error) {
    await database.close();
    await embedded?.stop();
    throw error;
  }
  return assemble(database, embedded, options);
}

function assemble(
  database: Database,
  embedded: EmbeddedPostgres | null,
  { log, applicationName, gatewayAliveMsMax = GATEWAY_ALIVE_MS_MAX }: RegistryOptions,
): Registry {
  const watches = new Set<RegistryWatch>();
  let closing: Promise<void> | null = null;
  const close = async (): Promise<void> => {
    await Promise.all([...watches].map((watch) => watch.close()));
    await database.close();
    await embedded?.stop();
  };
  return {
    models: new Models(database),
    corpusVersions: new CorpusVersions(database),
    builds: new Builds(database),
    consumers: new Consumers(database),
    traffic: new Traffic(database),
    archives: new Archives(database),
    retirements: new Retirements(database),
    routes: new Routes(database, gatewayAliveMsMax),
    desiredTargets: new DesiredTargets(database),
    gateways: new Gateways(database, gatewayAliveMsMax),
    apiKeys: new ApiKeys(database),
    goldenSets: new GoldenSets(database),
    evaluations: new Evaluations(database),
    migrations: new CorpusMigrations(database, gatewayAliveMsMax),
    changes: new Changes(database),
    kind: embedded === null ? 'given' : 'embedded',
    place: database.place,
    connection: database.connection,
    circuit: () => database.circuit(),
    watch: (onChange, { onState = () => undefined } = {}) => {
      // Whatever was refused meanwhile is made up for now, and not at the next poll.
      const forget = database.whenItAnswersAgain(() => onChange({ kind: 'resync' }));
      const started = startWatch({
        onChange,
        onState,
        connection: database.connection,
        applicationName: `${applicationName} watch`,
        log,
      });
      const watch: RegistryWatch = {
        get state() {
          return started.state;
        },
        close: () => {
          forget();
          return started.close();
        },
      };
      watches.add(watch);
      return watch;
    },
    ping: async () => {
      await database.read((tables) => tables.selectNoFrom((select) => select.val(1).as('one')).execute());
    },
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}
