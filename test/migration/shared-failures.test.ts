import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import { checkErrorRate } from '../../src/lifecycle/migration/analyses/error-rate.js';
import type { Finding } from '../../src/lifecycle/migration/analyses/finding.js';
import { MigrationMeter } from '../../src/lifecycle/migration/meter.js';
import { SampleTotals } from '../../src/lifecycle/migration/sample.js';
import { DEFAULT_EJECTION } from '../../src/router/ejection.js';
import { FakeTimers } from '../process/fake-timers.js';
import { createRig, route, textCall, V1, V2 } from '../router/harness.js';
import { CORPUS, target } from '../router/small-engines.js';
import { MeteredMetrics } from './metered-metrics.js';

const OPTIONS = { increase_max: 0.01, samples_min: 200 };
const OLD = { answered: 10_000, failed: 2, causes: 2 };
const BATCH = 256;

/** A router whose v2 has the whole weight and is measured by a migration; `batch` fails by its encoder or index where it is told to. */
async function measured() {
  const meter = new MigrationMeter();
  meter.watch(new Set([CORPUS]));
  const metrics = new MeteredMetrics(meter);
  // Nothing is kept away from traffic: what is measured here is what the analysis makes of it.
  const ejection = {
    ...DEFAULT_EJECTION,
    breaker: { ...DEFAULT_EJECTION.breaker, failuresToOpen: 1_000_000 },
  };
  const rig = createRig({ over: { metrics, timers: new FakeTimers(), ejection } });
  await rig.router.apply(route(1, [target(V1, 'draining'), target(V2, 'active', 10_000)]));
  let failing: 'encoder' | 'index' | null = null;
  rig.engines.conditions.onEncode = async () => {
    if (failing === 'encoder') throw new SwitchyardError('ENCODER_UNAVAILABLE', 'the encoder died');
  };
  rig.engines.conditions.onSearch = async () => {
    if (failing === 'index') throw new SwitchyardError('INDEX_UNAVAILABLE', 'no search worker is ready');
  };
  const totals = new SampleTotals();
  return {
    router: rig.router,
    batch: (failingAt: 'encoder' | 'index' | null) => {
      failing = failingAt;
      return rig.router.batchSearch(
        Array.from({ length: BATCH }, (_, at) => textCall(`text ${at}`, { bypassCache: true })),
      );
    },
    seen: () => {
      totals.add(meter.take(CORPUS) ?? { versions: {}, mirrored: {} });
      const { answered, failed, causes } = totals.version('v2');
      return { answered, failed, causes };
    },
    found: (): Finding => checkErrorRate({ before: OLD, after: totals.version('v2'), earlier: OLD }, OPTIONS),
  };
}

for (const at of ['encoder', 'index'] as const)
  t.test(
    `one bad moment of the ${at} under a batch ends no migration, and is no success either`,
    async (t) => {
      const { router, batch, seen, found } = await measured();
      await batch(at);
      for (let more = 0; more < 3; more++) await batch(null);
      t.same(seen(), { answered: 3 * BATCH, failed: BATCH, causes: 1 }, 'as ejection counts');
      t.match(found(), {
        verdict: 'undecided',
        why: /25\.0 % of 1024 failed \(by 1 failure\), 0\.02 % of/,
      });
      await router.close();
    },
  );

for (const at of ['encoder', 'index'] as const)
  t.test(`a version whose ${at} fails every second batch fails its migration`, async (t) => {
    const { router, batch, seen, found } = await measured();
    for (let sent = 0; sent < 24; sent++) await batch(sent % 2 === 0 ? at : null);
    t.match(seen(), { answered: 12 * BATCH, failed: 12 * BATCH, causes: 12 });
    t.match(found(), { verdict: 'failed', why: /50\.0 % of 6144 failed \(by 12 failures\), / });
    await router.close();
  });

t.test('nor does one failed request among the first few', (t) => {
  const check = (answered: number, failed: number) =>
    checkErrorRate({ before: OLD, after: { answered, failed, causes: failed }, earlier: OLD }, OPTIONS)
      .verdict;
  t.equal(check(3, 1), 'undecided');
  t.equal(check(0, 3), 'failed', 'an outage is not waited for');
  t.end();
});

t.test('a batch that failed long ago is outweighed by what was answered since', (t) => {
  const check = (answered: number) =>
    checkErrorRate({ before: OLD, after: { answered, failed: BATCH, causes: 1 }, earlier: OLD }, OPTIONS)
      .verdict;
  t.equal(check(10_000), 'undecided', 'a share above the limit is not let through');
  t.equal(check(30_000), 'successful');
  t.end();
});

t.test('one batch of the old version that failed does not hide a new version that fails', (t) => {
  const old = { answered: 10_000, failed: BATCH, causes: 1 };
  const check = (failed: number) =>
    checkErrorRate(
      { before: old, after: { answered: 1_000 - failed, failed, causes: failed }, earlier: old },
      OPTIONS,
    ).verdict;
  t.equal(check(150), 'failed');
  t.equal(check(40), 'undecided', 'what is hardly more than the old one fails may be chance');
  t.equal(check(20), 'successful');
  t.end();
});

t.test('samples of gateways that do not tell causes count each failure as one', (t) => {
  const totals = new SampleTotals();
  const none = { encoded: [], searched: [], total: [] };
  totals.add({ versions: { v2: { answered: 5, failed: 3, ...none } }, mirrored: {} });
  totals.add({ versions: { v2: { answered: 5, failed: 4, causes: 1, ...none } }, mirrored: {} });
  t.match(totals.version('v2'), { answered: 10, failed: 7, causes: 4 });
  t.end();
});
