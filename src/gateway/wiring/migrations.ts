import type { Config } from '../../config/config.js';
import { versionSearchOf } from '../../lifecycle/evaluation/version-search.js';
import type { MigrationMeter } from '../../lifecycle/migration/meter.js';
import type { MigrationPorts } from '../../lifecycle/migration/ports.js';
import { MigrationRunner } from '../../lifecycle/migration/runner.js';
import { documentsBehind, migrationPorts } from '../../lifecycle/migration/standard-ports.js';
import type { MigrationRecord } from '../../registry/migration-record.js';
import type { Registry } from '../../registry/registry.js';
import type { RegistryWatch } from '../../registry/watch.js';
import type { ComparisonRecorder } from '../../router/comparison-recorder.js';
import type { QueryService } from '../../router/query.js';
import type { Logger } from '../../telemetry/log.js';
import type { MigrationFacts } from '../admin/migration-handlers.js';
import type { RegistryLink } from './registry-link.js';

const GOLDEN_SEARCH_MS_MAX = 30_000;

export interface MigrationsOptions {
  readonly config: Config;
  readonly gatewayId: string;
  readonly link: RegistryLink;
  readonly queries: QueryService;
  readonly recorder: ComparisonRecorder;
  readonly meter: MigrationMeter;
  readonly log: Logger;
}

/** This gateway's part in migrations: told of changes by notification, polling behind it. */
export class Migrations {
  readonly facts: MigrationFacts;
  readonly #runner: MigrationRunner;
  #watch: RegistryWatch | null = null;
  #isClosed = false;

  constructor(options: MigrationsOptions) {
    const { config, gatewayId, link, meter, log } = options;
    this.#runner = new MigrationRunner({
      registry: () => link.registry,
      gatewayId,
      ports: (registry) => portsOf(registry, options),
      meter,
      bundlesDir: config.bundlesDir,
      settings: config.migration,
      log,
    });
    this.facts = {
      progressOf: (migrationId) => this.#runner.progressOf(migrationId),
      sourceLag: documentsBehind(config.varDir),
      hasArchive: config.archive.uri !== null,
      routePollMs: config.router.pollIntervalMs,
    };
    link.whenOpen((registry) => {
      if (this.#isClosed) return;
      this.#watch = registry.watch(({ kind }) => {
        if (kind === 'migration' || kind === 'resync') this.#runner.look();
      });
    });
  }

  /** Migrations that are not finished, as last read. */
  get unfinished(): readonly MigrationRecord[] {
    return this.#runner.unfinished;
  }

  /** Leases are given back, so that another gateway goes on at once. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#watch?.close();
    await this.#runner.close();
  }
}

function portsOf(registry: Registry, { config, queries, recorder, log }: MigrationsOptions): MigrationPorts {
  return migrationPorts(registry, {
    config,
    log,
    searchOf: (corpus) => versionSearchOf(queries, corpus, { deadlineMs: GOLDEN_SEARCH_MS_MAX }),
    worstMirrored: (corpus, toVersion) =>
      recorder
        .report(corpus)
        .filter(({ pair }) => pair.shadow.version === toVersion)
        .flatMap(({ worst }) => worst)
        .slice(0, 10),
  });
}
