import { randomUUID } from 'node:crypto';
import t from 'tap';
import { MigrationMeter } from '../../src/lifecycle/migration/meter.js';
import { compilePlan } from '../../src/lifecycle/migration/plan.js';
import type { WorkProgress } from '../../src/lifecycle/migration/ports.js';
import { ofBuild, type Sample, SampleTotals } from '../../src/lifecycle/migration/sample.js';
import type { StepContext } from '../../src/lifecycle/migration/step.js';
import { runShadow } from '../../src/lifecycle/migration/steps/shadow.js';
import type { Digest } from '../../src/vocabulary.js';
import { startTestRegistry } from '../fixtures/postgres.js';

const BUILD = 'b'.repeat(64) as Digest;
const OTHER = 'c'.repeat(64) as Digest;
const FLOOR = 'd'.repeat(64) as Digest;

/** A shadow step of a version whose build was verified, while `placed` is what the route mirrors to. */
function shadowContext(placed: Digest, rest: object): StepContext<'shadow'> {
  const { steps } = compilePlan({
    steps: [
      { verify: {} },
      { shadow: { compared_min: 1 } },
      { analysis: { shadow: {} } },
      { set_weight: { weight: 10_000 } },
      { complete: {} },
    ],
  });
  return {
    migration: { migrationId: randomUUID(), corpus: 'docs', toVersion: 'v2' },
    state: {
      facts: {
        placement: { kind: 'shadow', mirrorBps: 10_000, build: placed },
        verified: { build: BUILD, watermark: null },
        measuredFrom: new Date(0).toISOString(),
      },
    },
    step: steps[1],
    ...rest,
  } as unknown as StepContext<'shadow'>;
}

t.test(
  'whoever waits for the first mirrored read sees which replica has not loaded the version',
  async (t) => {
    const registry = await startTestRegistry(t);
    const beat = (gatewayId: string, readyTargets: readonly Digest[], lastError: string | null) =>
      registry.gateways.heartbeat({
        ...{ gatewayId, address: `http://${gatewayId}:8081`, appliedRevisions: {} },
        ...{ readyTargets, lastError },
      });
    await beat('one', [BUILD], null);
    await beat('two', [], 'MEMORY_BUDGET: no room');
    const said: WorkProgress[] = [];
    const enough = new Error('the test has seen enough');
    const context = shadowContext(BUILD, {
      registry,
      onProgress: (progress: WorkProgress) => said.push(progress),
      elapsedMs: async () => 0,
      wait: async () => {
        throw enough;
      },
    });
    await t.rejects(runShadow(context), enough);
    t.match(said, [
      {
        what: 'reads compared; the new version is not loaded by two at http://two:8081 (MEMORY_BUDGET: no room)',
        done: 0,
      },
    ]);
    await beat('two', [BUILD], null);
    await t.rejects(runShadow(context), enough);
    t.match(said[1], { what: 'reads compared', done: 0 });
  },
);

t.test('a build that was mirrored before the version changed is mirrored no more, nor counted', async (t) => {
  const context = shadowContext(OTHER, { registry: { routes: { get: async () => ({ revision: 4 }) } } });
  t.same(await runShadow(context), {
    kind: 'route_placed',
    placement: { kind: 'shadow', mirrorBps: 10_000, build: BUILD },
    routeRevision: 5,
  });
  const meter = new MigrationMeter();
  meter.watch(new Set(['docs']));
  const target = (version: string, build: Digest) => ({ corpus: 'docs', version, build, model: 'm@1' });
  for (const [version, build] of [
    ['v2', OTHER],
    ['v2', BUILD],
    ['v2', OTHER],
    ['v1', FLOOR],
  ] as const)
    meter.mirrorDropped(target(version, build), 'error');
  const sample = meter.take('docs');
  t.not(sample, null);
  if (sample === null) return;
  const failed = (given: Sample, version: string): number => {
    const totals = new SampleTotals();
    totals.add(given);
    return totals.mirrored(version).failed;
  };
  t.equal(failed(sample, 'v2'), 3, 'of both builds');
  t.equal(failed(ofBuild(sample, 'v2', BUILD), 'v2'), 1, 'of the one that was verified');
  t.equal(failed(ofBuild(sample, 'v2', BUILD), 'v1'), 1, 'a noise floor is not touched');
});
