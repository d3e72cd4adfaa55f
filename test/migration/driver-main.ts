import path from 'node:path';
import { buildInChild } from '../../src/lifecycle/migration/build/build-process.js';
import { MigrationMeter } from '../../src/lifecycle/migration/meter.js';
import { writeReport } from '../../src/lifecycle/migration/report/write-report.js';
import { MigrationRunner } from '../../src/lifecycle/migration/runner.js';
import type { MigrationState } from '../../src/lifecycle/migration/state.js';
import { openRegistry, type Registry } from '../../src/registry/registry.js';
import { createLogger } from '../../src/telemetry/log.js';
import { testConfig } from '../control/yard.js';

/**
 * A driver of migrations in a process of its own, without a gateway, that kills itself at one point:
 * `before <n>`: event n is about to be written; `after <n>`: it was just written; `inside <n> <k>`: at the k-th call of
 * the registry behind event n; `embedded <n> <k>`: when the build behind event n says that k documents are on their way;
 * `report`: when the report was written and before that is noted.
 */
const [varDir = '', databaseUrl = '', leaseMs = '500', point = 'never'] = process.argv.slice(2);
const [when, number, count = '1'] = point.split(' ');
const event = Number(number);

const die = (): Promise<never> => {
  process.kill(process.pid, 'SIGKILL');
  return new Promise(() => undefined);
};

let sequence = 0;
let calls = 0;

/** The registry, with the point watched. */
function watched(registry: Registry): Registry {
  const wrap = <T extends object>(part: T): T =>
    new Proxy(part, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        // Rows come one by one; its calls count as the others do, at the first row that is asked for.
        if (name === 'samplesSince')
          return async function* (...args: readonly unknown[]): AsyncGenerator<unknown> {
            if (when === 'inside' && sequence === event && ++calls >= Number(count)) await die();
            yield* Reflect.apply(value, target, args) as AsyncGenerator<unknown>;
          };
        return async (...args: readonly unknown[]): Promise<unknown> => {
          const isAdvance = name === 'advance';
          if (isAdvance && when === 'before' && sequence + 1 === event) return die();
          if (
            when === 'inside' &&
            sequence === event &&
            !isAdvance &&
            name !== 'renewLease' &&
            ++calls >= Number(count)
          )
            return die();
          const answer: unknown = await Reflect.apply(value, target, args);
          const now = (answer as { readonly sequence?: unknown } | null)?.sequence;
          if (typeof now === 'number' && (answer as { readonly state?: MigrationState }).state !== undefined)
            sequence = now;
          if (isAdvance && when === 'after' && sequence === event) return die();
          return answer;
        };
      },
    });
  const { migrations, gateways, routes, builds, corpusVersions, desiredTargets } = registry;
  return {
    ...registry,
    migrations: wrap(migrations),
    gateways: wrap(gateways),
    routes: wrap(routes),
    builds: wrap(builds),
    corpusVersions: wrap(corpusVersions),
    desiredTargets: wrap(desiredTargets),
  };
}

const log = createLogger(process.env.LOG ?? 'silent');
const settings = testConfig(varDir, databaseUrl);
// It has no one to yield to here.
const config = { ...settings, reembed: { ...settings.reembed, niceness: 0, batchTextsMax: 50 } };
const plain = await openRegistry({ databaseUrl, varDir, log, applicationName: 'switchyard-test-driver' });
const registry = watched(plain);
const runner = new MigrationRunner({
  registry: () => registry,
  gatewayId: `driver-${process.pid}`,
  ports: () => ({
    compareGolden: async () => null,
    build: (request, work) =>
      buildInChild(plain, config, request, {
        ...work,
        onProgress: (progress) => {
          work.onProgress(progress);
          const isEmbedding = progress.what === 'documents embedded' && progress.done >= Number(count);
          if (when === 'embedded' && sequence === event && isEmbedding) void die();
        },
      }),
    sourceLag: async () => null,
    otherSource: async () => null,
    retire: async () => ({ kind: 'blocked', why: 'a test' }),
    writeReport: async (migration) => {
      await writeReport(plain, migration, path.join(varDir, 'reports'));
      if (when === 'report') await die();
    },
    worstMirrored: () => [],
  }),
  meter: new MigrationMeter(),
  bundlesDir: config.bundlesDir,
  settings: {
    drive: true,
    leaseMs: Number(leaseMs),
    pollIntervalMs: 100,
    sampleIntervalMs: 100_000,
    settleTimeoutMs: 30_000,
    samplesKeepDays: 30,
  },
  log,
});
process.once('SIGTERM', () => {
  void runner
    .close()
    .then(() => plain.close())
    .then(() => process.exit(0));
});
