import path from 'node:path';
import { createInterface } from 'node:readline';
import { GatewayClient } from '../../src/cli/gateway-client.js';
import { httpVersionSearch } from '../../src/cli/http-version-search.js';
import { MigrationMeter } from '../../src/lifecycle/migration/meter.js';
import type { MigrationPorts } from '../../src/lifecycle/migration/ports.js';
import { MigrationRunner } from '../../src/lifecycle/migration/runner.js';
import { migrationPorts } from '../../src/lifecycle/migration/standard-ports.js';
import { openRegistry } from '../../src/registry/registry.js';
import { createLogger } from '../../src/telemetry/log.js';
import { testConfig } from '../control/yard.js';
import { type Point, Watched } from './driver-points.js';

/**
 * A driver of migrations in a process of its own, as `switchyard migrate run` is one: its golden queries go to a gateway.
 * It says `ready` when it knows the registry, and drives from the first line of its stdin on. Each line is a point to kill
 * itself at or to be held at, or `null`; `"go"` ends a holding. It says `held`, `answered` when a call that was held is over, and what it embeds. Arguments: var folder,
 * database, the gateway's URL, the lease in ms, how long a return waits for replicas.
 */
const [varDir = '', databaseUrl = '', gatewayUrl = '', leaseMs, settleMs] = process.argv.slice(2);
const log = createLogger(process.env.LOG ?? 'silent');
const settings = testConfig(varDir, databaseUrl);
// It has no one to yield to here.
const config = {
  ...settings,
  archive: { ...settings.archive, uri: path.join(varDir, 'archives') },
  reembed: { ...settings.reembed, niceness: 0, batchTextsMax: 50 },
};
const plain = await openRegistry({ databaseUrl, varDir, log, applicationName: 'switchyard-test-driver' });

const watched = new Watched(
  () => process.stdout.write('held\n'),
  () => process.stdout.write('answered\n'),
);

function drive(): MigrationRunner {
  watched.threads();
  const registry = watched.registry(plain);
  const client = new GatewayClient(gatewayUrl);
  const ports = migrationPorts(registry, {
    config,
    log,
    searchOf: (corpus) => {
      const { search } = httpVersionSearch(client, corpus);
      return {
        search: async (...args) => {
          const answer = await search(...args);
          await watched.reach('search', 'after');
          return answer;
        },
      };
    },
    worstMirrored: () => [],
  });
  const build: MigrationPorts['build'] = (request, work) =>
    ports.build(request, {
      ...work,
      onProgress: (progress) => {
        work.onProgress(progress);
        const { what, done } = progress;
        if (what === 'documents embedded') process.stdout.write(`embedded ${done}\n`);
        void watched.reach(`progress ${what}`, 'after', done);
      },
    });
  return new MigrationRunner({
    registry: () => registry,
    gatewayId: `driver-${process.pid}`,
    ports: () => ({ ...ports, build }),
    meter: new MigrationMeter(),
    bundlesDir: config.bundlesDir,
    settings: {
      drive: true,
      leaseMs: Number(leaseMs),
      pollIntervalMs: 100,
      sampleIntervalMs: 100_000,
      settleTimeoutMs: Number(settleMs),
      samplesKeepDays: 30,
    },
    log,
  });
}

let runner: MigrationRunner | null = null;
const end = async (): Promise<void> => {
  await runner?.close();
  await plain.close();
  process.exit(0);
};
process.once('SIGTERM', () => void end());
const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => {
  const told = JSON.parse(line) as Point | 'go' | null;
  if (told === 'go') watched.goOn();
  else watched.await(told);
  runner ??= drive();
});
// Whoever began it is gone.
lines.once('close', () => void end());
process.stdout.write('ready\n');
