import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { startGateway } from '../../src/gateway/gateway.js';
import { findBundleFolder } from '../../src/index/bundle-folder.js';
import { readBundle } from '../../src/index/read-bundle.js';
import { commandMigration } from '../../src/lifecycle/migration/commands.js';
import { stepName } from '../../src/lifecycle/migration/plan.js';
import { stepOfPlan } from '../../src/lifecycle/migration/plan-schema.js';
import { type Migration, readMigration } from '../../src/lifecycle/migration/record.js';
import { startMigration } from '../../src/lifecycle/migration/start.js';
import type { EmbedReport } from '../../src/lifecycle/reembed/embed-corpus.js';
import type { Registry } from '../../src/registry/registry.js';
import { modelRef } from '../../src/vocabulary.js';
import { CORPUS, makeYard, until } from '../control/yard.js';
import { databaseUrlOf, silentLog, type Teardown } from '../fixtures/postgres.js';
import { textsOf } from '../lifecycle/reembed-rig.js';
import { Load } from './migrating.js';

const DRIVER = fileURLToPath(new URL('./driver-main.js', import.meta.url));
const LEASE_MS = 1_000;
const CAP_MS = 400_000;
const AUTHOR = { actor: 'tester', reason: 'a test' };
const TEXTS = ['a cat', 'a bird', 'some bread', 'red wine', 'a planet', 'a bicycle', 'a cobbler', 'snow'];

/** Of a build: more than two checkpoints, none of whose texts was embedded before. */
const INTERVAL = 500;
const DOCUMENTS = 1_250;
const documentsOf = (version: string): ReadonlyMap<string, string> =>
  new Map(Array.from({ length: DOCUMENTS }, (_, at) => [`d${at}`, `text ${at} of ${version}`]));

const planText = (model: string, source: string): string =>
  JSON.stringify({
    steps: [
      { build: { model, source, quantization: 'f32', checkpoint_documents: INTERVAL } },
      { verify: {} },
      { shadow: { duration_s: 0.3, compared_min: 5, timeout_s: 200 } },
      { analysis: { shadow: { compared_min: 5 }, interval_s: 0.05, duration_s: 0.3 } },
      { set_weight: { weight: 2_000 } },
      { analysis: { error_rate: { samples_min: 5, increase_max: 1 }, interval_s: 0.05, duration_s: 0.3 } },
      { pause: { duration_s: 0.5 } },
      { set_weight: { weight: 10_000 } },
      { complete: {} },
    ],
  });

function startDriver(t: Teardown, varDir: string, databaseUrl: string, point: string): ChildProcess {
  const child = spawn(process.execPath, [DRIVER, varDir, databaseUrl, String(LEASE_MS), point], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '', LOG: process.env.LOG ?? 'silent' },
  });
  t.teardown(() => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
  });
  return child;
}

/** Nobody has anything to do any more: where it ended, its report is there. */
const isOver = ({ state, reportedAt }: Migration): boolean => reportedAt !== null || state.kind === 'paused';

async function ended(registry: Registry): Promise<Migration> {
  const { value } = await until(
    'the migration ended',
    async () => {
      const migration = readMigration(await registry.migrations.latest(CORPUS));
      return isOver(migration) ? migration : null;
    },
    CAP_MS,
  );
  return value;
}

/** What a migration leaves behind, without times, revisions and names of versions. */
async function outcome(registry: Registry, migration: Migration) {
  const { state, toVersion } = migration;
  const route = await registry.routes.get(CORPUS);
  const version = await registry.corpusVersions.get({ corpus: CORPUS, version: toVersion });
  const builds = await registry.builds.list({ corpus: CORPUS, version: toVersion });
  return {
    state: state.kind,
    why: 'why' in state ? state.why : null,
    placement: state.facts.placement,
    gate: state.facts.gate,
    route: route.targets.map(({ role, weightBps, tier }) => ({ role, weightBps, tier })),
    servesIt: route.targets.every((target) => target.version === toVersion),
    rows: version.totalEmbeddings,
    status: version.status,
    builds: builds.length,
    desired: (await registry.desiredTargets.list({ corpus: CORPUS })).length,
  };
}

const eventKinds = async (registry: Registry, { migrationId }: Migration): Promise<readonly string[]> =>
  (await registry.migrations.events(migrationId)).map(
    ({ event }) => (event as { readonly kind: string }).kind,
  );

t.test('drivers of a migration', async (t) => {
  const yard = await makeYard(t);
  const { registry, varDir } = yard;
  const databaseUrl = databaseUrlOf(registry);
  const config = yard.config();
  // It serves and measures; who drives is killed again and again.
  const gateway = await startGateway(
    {
      ...config,
      mirror: { ...config.mirror, niceness: 0 },
      migration: { ...config.migration, drive: false, sampleIntervalMs: 50, pollIntervalMs: 100 },
    },
    silentLog,
  );
  t.teardown(() => gateway.close());
  const { host, port } = gateway.addresses.http;
  const load = new Load(`http://${host}:${port}`, CORPUS, TEXTS, 1);
  t.teardown(() => load.stop());
  const model = modelRef(yard.int8.manifest);
  const sources = path.join(varDir, 'sources');
  await mkdir(sources);
  const start = async (toVersion: string) => {
    const source = `${toVersion}.jsonl`;
    const lines = [...documentsOf(toVersion)].map(([id, text]) => `${JSON.stringify({ id, text })}\n`);
    await writeFile(path.join(sources, source), lines.join(''));
    return startMigration(registry, { corpus: CORPUS, toVersion, plan: planText(model, source) }, AUTHOR);
  };

  let undisturbed: { readonly outcome: unknown; readonly kinds: readonly string[] } | null = null;
  await t.test('one that nobody disturbs completes', async (t) => {
    await start('calm');
    const driver = startDriver(t, varDir, databaseUrl, 'never');
    const migration = await ended(registry);
    undisturbed = {
      outcome: await outcome(registry, migration),
      kinds: await eventKinds(registry, migration),
    };
    t.match(undisturbed.outcome, { state: 'completed', servesIt: true, builds: 1, desired: 0 });
    driver.kill('SIGTERM');
    t.same(await once(driver, 'exit'), [0, null]);
    await registry.routes.change({
      corpus: CORPUS,
      targets: [{ version: 'v1', build: null, role: 'active', weightBps: 10_000, tier: 'ssd', mirrorBps: 0 }],
      expectedRevision: (await registry.routes.get(CORPUS)).revision,
      force: true,
      ...AUTHOR,
    });
  });

  await t.test(
    'killed at every step boundary and inside every long step, it ends in the same state',
    async (t) => {
      const { migrationId, plan } = await start('storm');
      const kinds = undisturbed?.kinds ?? [];
      const kills: string[] = [];
      const killedAt = async (point: string): Promise<boolean> => {
        const driver = startDriver(t, varDir, databaseUrl, point);
        const exited = once(driver, 'exit') as Promise<[number | null, string | null]>;
        let watching = true;
        const over = until(
          'the migration ended',
          // One that is no longer waited for asks the registry no more.
          async () => !watching || isOver(readMigration(await registry.migrations.latest(CORPUS))),
          CAP_MS,
        ).then(() => null);
        const end = await Promise.race([exited, over]);
        watching = false;
        if (end === null) driver.kill('SIGKILL');
        else t.same(end, [null, 'SIGKILL'], `killed at ${point}`);
        if (end !== null) kills.push(point);
        return end !== null;
      };
      // Event n + 1 is what follows event n. A long step is killed inside as well, some calls after it was begun.
      for (let event = 1; event < kinds.length; event++) {
        const migration = readMigration(await registry.migrations.get(migrationId));
        if (isOver(migration)) break;
        if (migration.sequence !== event) continue; // a step ended before its driver was killed
        const { state } = migration;
        const step = state.kind === 'running' ? stepOfPlan(plan, state.at.step) : null;
        // Within its first interval, and within its second.
        if (step?.kind === 'build')
          for (const documents of [100, INTERVAL + 200]) await killedAt(`embedded ${event} ${documents}`);
        else if (step !== null && ['shadow', 'analysis', 'set_weight', 'pause'].includes(step.kind)) {
          // No step makes fewer calls than that before it may end: the route, and the clock or the samples.
          await killedAt(`inside ${event} ${step.kind === 'pause' || step.kind === 'set_weight' ? 2 : 3}`);
          const now = readMigration(await registry.migrations.get(migrationId));
          t.equal(now.sequence, event, `nothing was written inside ${stepName(step)}`);
        }
        if (kinds[event] === 'route_placed' && step?.kind === 'set_weight')
          await killedAt(`before ${event + 1}`);
        await killedAt(`after ${event + 1}`);
      }
      await killedAt('report');
      t.notOk(await killedAt('never'), 'the last one writes what is missing');
      const migration = await ended(registry);
      t.ok(kills.length >= 20, `${kills.length} kills`);
      t.same(await outcome(registry, migration), undisturbed?.outcome, 'the same state');
      t.same(await eventKinds(registry, migration), undisturbed?.kinds, 'by the same events, each once');
      t.same(load.failures, [], 'no request failed meanwhile');
      t.ok(
        kills.includes(`after ${kinds.length}`) && kills.includes('report'),
        'killed when it had ended, too',
      );
      const reports = (await readdir(path.join(varDir, 'reports'))).filter((name) =>
        name.includes('-storm.'),
      );
      t.same(
        reports.map((name) => path.extname(name)),
        ['.html', '.md'],
        'and its report was written all the same',
      );

      const [built] = (await registry.migrations.events(migrationId)).flatMap(({ event }) => {
        const { findings } = event as { readonly findings?: { readonly embedding?: EmbedReport } };
        return findings?.embedding === undefined ? [] : [findings.embedding];
      });
      t.match(built, { documentsResumed: INTERVAL, documents: DOCUMENTS - INTERVAL, checkpointsRedone: 0 });
      const again = built?.documentsReembedded ?? 0;
      t.ok(again > 0 && again <= INTERVAL, `${again} documents were embedded twice`);
      const build = await registry.builds.get({ corpus: CORPUS, version: 'storm' }, null);
      const bundle = await readBundle(
        await findBundleFolder(config.bundlesDir, { ...build, build: build.digest }),
      );
      t.same(await textsOf(bundle), documentsOf('storm'), 'no document is missing, none comes twice');
    },
  );

  await t.test(
    'of two that start at once one drives and the other waits, and goes on when it is gone',
    async (t) => {
      await startMigration(
        registry,
        {
          corpus: CORPUS,
          toVersion: 'v1',
          plan: JSON.stringify({
            steps: [
              ...new Array(6).fill({ pause: { duration_s: 0.2 } }),
              { pause: { duration_s: 3_600 } },
              { verify: {} },
              { shadow: {} },
              { analysis: { shadow: {} } },
              { set_weight: { weight: 10_000 } },
              { complete: {} },
            ],
          }),
        },
        AUTHOR,
      );
      const drivers = [
        startDriver(t, varDir, databaseUrl, 'never'),
        startDriver(t, varDir, databaseUrl, 'never'),
      ];
      const waiting = async (after: string | null) =>
        (
          await until(
            'a driver is in the long pause',
            async () => {
              const migration = readMigration(await registry.migrations.latest(CORPUS));
              const { lease, state } = migration;
              if (state.kind !== 'running' || state.at.step !== 6) return null;
              return lease !== null && lease.holder !== after ? migration : null;
            },
            CAP_MS,
          )
        ).value;
      const first = await waiting(null);
      const events = await registry.migrations.events(first.migrationId);
      const actors = new Set(events.slice(1).map(({ actor }) => actor));
      t.same([...actors], [`migration driver ${first.lease?.holder}`], 'one driver wrote everything');
      const holder = drivers.find(({ pid }) => first.lease?.holder === `driver-${pid}`);
      t.ok(holder !== undefined);
      holder?.kill('SIGKILL');
      const second = await waiting(first.lease?.holder ?? null);
      t.ok((second.lease?.token ?? 0) > (first.lease?.token ?? 0), 'under a token of its own');

      await t.rejects(
        registry.migrations.advance({
          ...AUTHOR,
          migrationId: second.migrationId,
          expectedSequence: second.sequence,
          leaseToken: first.lease?.token ?? 0,
          event: { kind: 'pause' },
          state: second.state,
          isFinished: false,
          route: null,
        }),
        { reason: 'STATUS_CONFLICT', message: /another gateway drives/ },
        'the token of a lost lease writes nothing',
      );
      const aborted = await commandMigration(registry, CORPUS, 'abort', AUTHOR);
      t.equal(aborted.state.kind, 'aborted');
      t.equal(aborted.lease, null, 'an operator takes the lease from whoever drives');
      for (const driver of drivers) driver.kill('SIGTERM');
    },
  );
});
