import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MigrationView } from '../gateway/admin/migration-views.js';
import { MigrationMeter } from '../lifecycle/migration/meter.js';
import { MigrationRunner } from '../lifecycle/migration/runner.js';
import { migrationPorts } from '../lifecycle/migration/standard-ports.js';
import type { Registry } from '../registry/registry.js';
import { clientAccess } from './client-access.js';
import { GatewayClient } from './gateway-client.js';
import { httpVersionSearch } from './http-version-search.js';
import { type CommonOptions, commandConfig, commandLog, urlOf } from './options.js';

const LOOK_MS = 200;
const HOST_NAME_LENGTH_MAX = 40;

export interface DriveOptions extends CommonOptions {
  /** Of a gateway, for golden sets. Default: listen.http of the configuration. */
  readonly url?: string;
}

/**
 * Drives the migration of a corpus from this process, by lease as a gateway does: until `read` gives one that ended or waits
 * for a person, or `isStopped`. Whoever drives already goes on; this one takes over when it is gone.
 */
export async function driveFromHere(
  registry: Registry,
  corpus: string,
  options: DriveOptions,
  { read, isStopped }: { readonly read: () => Promise<MigrationView>; readonly isStopped: () => boolean },
): Promise<MigrationView> {
  const config = commandConfig(options);
  const log = commandLog(config);
  const client = new GatewayClient(options.url ?? urlOf(config.listen.http), clientAccess(options));
  const runner = new MigrationRunner({
    registry: () => registry,
    gatewayId: `cli-${hostname().slice(0, HOST_NAME_LENGTH_MAX)}-${process.pid}`,
    ports: () =>
      migrationPorts(registry, {
        config,
        log,
        searchOf: (name) => httpVersionSearch(client, name),
        // Comparisons are the gateways'.
        worstMirrored: () => [],
      }),
    meter: new MigrationMeter(),
    bundlesDir: config.bundlesDir,
    corpus,
    settings: { ...config.migration, drive: true },
    log,
  });
  try {
    for (;;) {
      const view = await read();
      if (view.finished_at !== null || view.state === 'paused' || isStopped()) return view;
      await sleep(LOOK_MS);
    }
  } finally {
    await runner.close();
  }
}
