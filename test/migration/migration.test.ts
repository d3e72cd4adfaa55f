import t from 'tap';
import type { ComparisonView } from '../../src/gateway/admin/comparison-views.js';
import type { MigrationEventView, MigrationView } from '../../src/gateway/admin/migration-views.js';
import { startGateway } from '../../src/gateway/gateway.js';
import type { Finding } from '../../src/lifecycle/migration/analyses/finding.js';
import type { RouteTargetInput } from '../../src/registry/route.js';
import { createLogger } from '../../src/telemetry/log.js';
import { AUTHOR, CORPUS, makeYard, until } from '../control/yard.js';
import { anotherBuild } from './another-build.js';
import { adminUrl, ask, Load, QUICK_PLAN, untilMigration } from './migrating.js';

const TEXTS = ['a cat', 'a bird', 'some bread', 'red wine', 'a planet', 'a bicycle', 'a cobbler', 'snow'];

/** Its mirrored reads are judged beside those of a second build of the old version, which differ by chance alone. */
const AGAINST_CHANCE = {
  steps: QUICK_PLAN.steps.map((step) =>
    step.analysis?.shadow === undefined
      ? step
      : { analysis: { ...step.analysis, shadow: { compared_min: 20, noise_floor_share_min: 0.3 } } },
  ),
};

t.test('a migration runs from start to complete by one command, under load', async (t) => {
  const yard = await makeYard(t);
  const config = yard.config();
  const quick = {
    ...config,
    mirror: { ...config.mirror, niceness: 0 },
    migration: { ...config.migration, sampleIntervalMs: 100, pollIntervalMs: 200 },
  };
  const gateway = await startGateway(quick, createLogger(process.env.LOG ?? 'silent'));
  t.teardown(() => gateway.close());
  const { host, port } = gateway.addresses.http;
  const admin = adminUrl(gateway);
  const load = new Load(`http://${host}:${port}`, CORPUS, TEXTS);
  t.teardown(() => load.stop());

  await t.test('a second build of the old version shows what differs by chance', async () => {
    const floor = await anotherBuild(yard, 'v1', { kind: 'shuffled', seed: 1 });
    const { targets, revision } = await yard.registry.routes.get(CORPUS);
    await yard.registry.routes.change({
      corpus: CORPUS,
      targets: [
        ...targets,
        ...[{ version: 'v1', build: floor, tier: 'ssd', role: 'shadow', weightBps: 0, mirrorBps: 10_000 }],
      ] as readonly RouteTargetInput[],
      expectedRevision: revision,
      ...AUTHOR,
    });
    await until('mirrored reads are compared with it', async () => {
      const { body } = await ask<ComparisonView>(`${admin}/v1/comparisons/${CORPUS}`);
      return (body.noise_floor[0]?.compared ?? 0) > 0;
    });
  });

  const started = await ask<MigrationView>(`${admin}/v1/migrations/${CORPUS}`, 'POST', {
    to_version: 'v2',
    plan: JSON.stringify(AGAINST_CHANCE),
    reason: 'a test',
  });
  t.equal(started.status, 200, JSON.stringify(started.body));
  const ended = await untilMigration(admin, CORPUS, 'ended', ({ finished_at, state }) => {
    return finished_at !== null || state === 'paused';
  });
  const { body } = await ask<{ events: MigrationEventView[] }>(`${admin}/v1/migrations/${CORPUS}/events`);
  t.equal(ended.state, 'completed', JSON.stringify(body.events.map(({ event, reason }) => [event, reason])));
  const shadow = body.events
    .flatMap(({ detail }) => (detail as { readonly findings?: readonly Finding[] | null }).findings ?? [])
    .find(({ check }) => check === 'shadow');
  // Eight documents: whatever the order of insertion, the graph finds the same three.
  t.match(shadow, { verdict: 'successful', figures: { noise_floor: { overlap: 1, rbo: 1 } } });
  const { compared } = (shadow?.figures.noise_floor ?? {}) as { readonly compared?: number };
  t.ok((compared ?? 0) > 0, `${compared} reads of the noise floor, ${JSON.stringify(shadow?.figures)}`);
  await load.stop();
  t.same(load.failures, []);
  t.ok((load.answered.get('v2') ?? 0) > 0 && (load.answered.get('v1') ?? 0) > 0);
  const route = await yard.registry.routes.get(CORPUS);
  t.match(route.targets, [{ version: 'v2', role: 'active', weightBps: 10_000 }]);
  t.equal(route.targets.length, 1, 'the second build of the old version left with it');
});
