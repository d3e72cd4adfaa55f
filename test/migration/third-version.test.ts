import t from 'tap';
import { advanceBy } from '../../src/lifecycle/migration/advance.js';
import { commandMigration } from '../../src/lifecycle/migration/commands.js';
import { changedOutside } from '../../src/lifecycle/migration/outside.js';
import type { Migration } from '../../src/lifecycle/migration/record.js';
import { startMigration } from '../../src/lifecycle/migration/start.js';
import type { MigrationEventBody } from '../../src/lifecycle/migration/state.js';
import type { RouteTargetInput } from '../../src/registry/route.js';
import { startTestRegistry } from '../fixtures/postgres.js';
import { AUTHOR, active, readyVersion, registerModel } from '../registry/registry-fixtures.js';

const CORPUS = 'docs';
const PLAN = JSON.stringify({
  steps: [
    { verify: {} },
    { analysis: { cost: {} } },
    { set_weight: { weight: 5_000 } },
    { analysis: { error_rate: {} } },
    { set_weight: { weight: 10_000 } },
    { complete: {} },
  ],
});
const BACK = [
  ['v1', 'active', 10_000],
  ['v2', 'draining', 0],
  ['v3', 'draining', 0],
];

t.test('a third version that got weight keeps no migration from going back', async (t) => {
  const registry = await startTestRegistry(t);
  const model = await registerModel(registry, 'model');
  await readyVersion(registry, CORPUS, 'v1', model);
  const { digest: build } = await readyVersion(registry, CORPUS, 'v2', model);
  await readyVersion(registry, CORPUS, 'v3', model);
  const route = async (): Promise<number> => {
    const { revision } = await registry.routes.get(CORPUS);
    return revision;
  };
  const set = async (expectedRevision: number | null, ...targets: readonly RouteTargetInput[]) =>
    registry.routes.change({ corpus: CORPUS, targets, expectedRevision, ...AUTHOR });
  const advance = (migration: Migration, event: MigrationEventBody): Promise<Migration> =>
    advanceBy(registry, migration, event, AUTHOR, null);
  const weighted = async (migration: Migration, weightBps: number): Promise<Migration> => {
    const placement = { kind: 'weighted', weightBps } as const;
    const passed = await advance(migration, { kind: 'analysis_successful', findings: null });
    return advance(passed, { kind: 'route_placed', placement, routeRevision: (await route()) + 1 });
  };
  const begun = async (): Promise<Migration> => {
    const started = await startMigration(registry, { corpus: CORPUS, toVersion: 'v2', plan: PLAN }, AUTHOR);
    const verified = { build, watermark: null };
    const after = await advance(started, { kind: 'verified', verified, findings: null });
    return weighted(after, 5_000);
  };
  const outside = async (migration: Migration): Promise<MigrationEventBody> => {
    const { state } = migration;
    if (state.kind !== 'running') throw new Error(`it is ${state.kind}`);
    const event = await changedOutside(registry, migration, state);
    if (event === null) throw new Error('nobody changed anything');
    return event;
  };
  const routed = async () => {
    const { targets } = await registry.routes.get(CORPUS);
    return targets.map(({ version, role, weightBps }) => [version, role, weightBps]);
  };
  const lastReason = async (): Promise<string> =>
    (await registry.routes.revisions(CORPUS, { limit: 1 }))[0]?.reason ?? '';
  await set(null, active('v1', 10_000));

  await t.test(
    'while it runs: it says what to do, as often as it is resumed, and can be aborted',
    async (t) => {
      let migration = await begun();
      await set(await route(), active('v1', 2_000), active('v2', 3_000), active('v3', 5_000));
      for (const time of ['found', 'resumed', 'resumed again']) {
        const event = await outside(migration);
        t.match(
          event,
          { kind: 'route_diverged', why: /v3 5000 basis points .* then resume; or abort/ },
          time,
        );
        await advance(migration, event);
        migration = await commandMigration(registry, CORPUS, 'resume', AUTHOR);
      }
      const aborted = await commandMigration(registry, CORPUS, 'abort', AUTHOR);
      t.equal(aborted.state.kind, 'aborted');
      t.same(await routed(), BACK);
      t.equal(await lastReason(), 'a test (weight taken back from v3 5000 basis points, which drains)');
      await advance(aborted, { kind: 'settled', settled: { rollbackMs: null, lagging: [] } });
    },
  );

  await t.test('given back, it is put as it was', async (t) => {
    await set(await route(), active('v1', 10_000));
    const migration = await begun();
    await set(await route(), active('v1', 5_000), active('v3', 5_000));
    await advance(migration, await outside(migration));
    await set(await route(), active('v1', 10_000));
    const resumed = await commandMigration(registry, CORPUS, 'resume', AUTHOR);
    await advance(resumed, await outside(resumed));
    t.same(await routed(), [
      ['v1', 'active', 5_000],
      ['v2', 'active', 5_000],
    ]);
    const aborted = await commandMigration(registry, CORPUS, 'abort', AUTHOR);
    t.equal(await lastReason(), 'a test');
    await advance(aborted, { kind: 'settled', settled: { rollbackMs: null, lagging: [] } });
  });

  await t.test('after it completed, and the route moved on', async (t) => {
    await set(await route(), active('v1', 10_000));
    let migration = await begun();
    migration = await advance(migration, { kind: 'step_done', findings: null });
    migration = await weighted(migration, 10_000);
    migration = await advance(migration, { kind: 'step_done', findings: null });
    const placement = { kind: 'released' } as const;
    const routeRevision = (await route()) + 1;
    migration = await advance(migration, { kind: 'route_placed', placement, routeRevision });
    migration = await advance(migration, { kind: 'step_done', findings: null });
    t.equal(migration.state.kind, 'completed');
    await set(await route(), active('v3', 10_000));
    await commandMigration(registry, CORPUS, 'rollback', AUTHOR);
    t.same(await routed(), BACK);
    t.match(await lastReason(), /weight taken back from v3 10000/);
  });
});
