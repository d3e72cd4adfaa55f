import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import { checkCost } from '../../src/lifecycle/migration/analyses/cost.js';
import { checkErrorRate } from '../../src/lifecycle/migration/analyses/error-rate.js';
import { type Finding, overall } from '../../src/lifecycle/migration/analyses/finding.js';
import { checkGolden } from '../../src/lifecycle/migration/analyses/golden.js';
import { looksThatShare } from '../../src/lifecycle/migration/analyses/looks.js';
import { checkShadow } from '../../src/lifecycle/migration/analyses/shadow.js';
import { Measured } from '../../src/lifecycle/migration/measured.js';
import { MigrationMeter } from '../../src/lifecycle/migration/meter.js';
import type { MirrorTotals } from '../../src/lifecycle/migration/mirror-counts.js';
import type { GoldenFinding } from '../../src/lifecycle/migration/ports.js';
import { SampleTotals } from '../../src/lifecycle/migration/sample.js';
import { DEFAULT_EJECTION } from '../../src/router/ejection.js';
import { LogHistogram } from '../../src/telemetry/log-histogram.js';
import type { Digest } from '../../src/vocabulary.js';
import { FakeTimers } from '../process/fake-timers.js';
import { createRig, type Rig, refusal, route, textCall, V1, V2 } from '../router/harness.js';
import { CORPUS, target } from '../router/small-engines.js';
import { MeteredMetrics } from './metered-metrics.js';

const mirrored = (more: Partial<MirrorTotals> = {}): MirrorTotals => ({
  compared: 1_000,
  shorter: 0,
  failed: 0,
  late: 0,
  overlapMean: 0.4,
  rboMean: 0.3,
  primary: new LogHistogram(),
  shadow: new LogHistogram(),
  remembered: 0,
  scores: null,
  ...more,
});
const NONE = mirrored({ compared: 0, overlapMean: null, rboMean: null });
const SHADOW = {
  compared_min: 500,
  shorter_share_max: 0.01,
  failed_share_max: 0.01,
  overlap_min: null,
  late_share_max: 0.05,
  noise_floor_share_min: null,
};

t.test('mirrored reads: change decides nothing by default, missing answers do', async (t) => {
  t.equal(checkShadow(mirrored(), NONE, SHADOW).verdict, 'successful');
  t.equal(checkShadow(mirrored({ compared: 3 }), NONE, SHADOW).verdict, 'undecided');
  t.equal(checkShadow(mirrored({ shorter: 50 }), NONE, SHADOW).verdict, 'failed');
  t.equal(checkShadow(mirrored({ failed: 50 }), NONE, SHADOW).verdict, 'failed');
  t.equal(checkShadow(mirrored(), NONE, { ...SHADOW, overlap_min: 0.9 }).verdict, 'failed');
  const ofFloor = { ...SHADOW, noise_floor_share_min: 0.95 };
  t.equal(checkShadow(mirrored(), NONE, ofFloor).verdict, 'inconclusive', 'there is no noise floor');
  t.equal(checkShadow(mirrored(), mirrored({ overlapMean: 0.98 }), ofFloor).verdict, 'failed');
  t.equal(
    checkShadow(mirrored({ overlapMean: 0.97 }), mirrored({ overlapMean: 0.98 }), ofFloor).verdict,
    'successful',
  );
});

t.test('mirrored reads: those that came too late are shown, and too many make it undecided', async (t) => {
  t.match(checkShadow(mirrored({ late: 3 }), NONE, SHADOW), {
    verdict: 'successful',
    why: /came too late/,
    figures: { late: 3 },
  });
  const late = mirrored({ late: 300 });
  t.match(checkShadow(late, NONE, SHADOW), { verdict: 'undecided', why: /late_share_max.*quick ones/ });
  t.equal(
    checkShadow(mirrored({ late: 300, shorter: 50 }), NONE, SHADOW).verdict,
    'failed',
    'what is seen fails',
  );

  const meter = new MigrationMeter();
  meter.watch(new Set(['docs']));
  const shadow = { corpus: 'docs', version: 'v2', build: 'b'.repeat(64) as Digest, model: 'm@1' };
  for (const why of ['deadline', 'deadline', 'error', 'concurrency', 'primary_busy'] as const)
    meter.mirrorDropped(shadow, why);
  const totals = new SampleTotals();
  for (let taken = 0; taken < 2; taken++) totals.add(meter.take('docs') ?? { versions: {}, mirrored: {} });
  t.match(totals.mirrored('v2'), { compared: 0, failed: 1, late: 2 }, 'each counts once');
});

/** A router of the real kind whose failures and answers a migration measures; v2 has the whole weight. */
async function measuredRouter(): Promise<{ rig: Rig; found: () => Finding }> {
  const meter = new MigrationMeter();
  meter.watch(new Set([CORPUS]));
  const metrics = new MeteredMetrics(meter);
  const rig = createRig({ over: { metrics, timers: new FakeTimers() } });
  await rig.router.apply(route(1, [target(V1, 'draining'), target(V2, 'active', 10_000)]));
  const totals = new SampleTotals();
  const found = (): Finding => {
    totals.add(meter.take(CORPUS) ?? { versions: {}, mirrored: {} });
    const after = totals.version('v2');
    const before = { answered: 10_000, failed: 2, causes: 2 };
    return checkErrorRate({ before, after, earlier: before }, { increase_max: 0.01, samples_min: 200 });
  };
  return { rig, found };
}

t.test(
  'whoever may search cannot end a migration: hurry, full queues and mistakes fail no version',
  async (t) => {
    const { rig, found } = await measuredRouter();
    const model = 'beta@1';
    rig.engines.conditions.onSearch = async () => {
      throw new SwitchyardError('DEADLINE_EXCEEDED', 'too late');
    };
    for (const over of [{ deadlineAtMs: 0.5 }, { deadlineAtMs: 1 }, { deadlineAtMs: 999 }])
      for (let at = 0; at < 50; at++) await refusal(rig.router.search(textCall('owl', { model, ...over })));
    for (const reason of ['QUEUE_FULL', 'OVERLOADED', 'SHUTTING_DOWN', 'TEXT_TOO_LARGE'] as const) {
      rig.engines.conditions.onSearch = async () => {
        throw new SwitchyardError(reason, 'no');
      };
      for (let at = 0; at < 50; at++) await refusal(rig.router.search(textCall('owl', { model })));
    }
    const batch = await rig.router.batchSearch([textCall('owl', { model }), textCall('cat', { model })]);
    t.ok(batch.every((item) => item instanceof SwitchyardError));
    t.match(
      found(),
      { verdict: 'undecided', figures: { after: null } },
      'it served nothing and failed nothing',
    );
    await rig.router.close();
  },
);

t.test('a version that breaks, refuses wrong pairings or hangs fails its migration', async (t) => {
  for (const reason of [
    'INDEX_UNAVAILABLE',
    'INTERNAL',
    'FINGERPRINT_MISMATCH',
    'DEADLINE_EXCEEDED',
  ] as const) {
    const { rig, found } = await measuredRouter();
    rig.engines.conditions.onSearch = async () => {
      throw new SwitchyardError(reason, 'no');
    };
    const call = textCall('owl', { deadlineAtMs: DEFAULT_EJECTION.timeoutMs });
    for (let at = 0; at < 12; at++) t.equal((await refusal(rig.router.search(call))).reason, reason);
    t.match(found(), { verdict: 'failed' }, reason);
    await rig.router.close();
  }
});

t.test('what was begun to be measured before a step does not count in it', async (t) => {
  let nowMs = 1_000;
  const meter = new MigrationMeter(() => nowMs);
  meter.watch(new Set(['docs']));
  const target = { corpus: 'docs', version: 'v2', build: 'b'.repeat(64) as Digest, model: 'm@1' };
  const written: { gatewayId: string; at: Date; sample: unknown }[] = [];
  const write = (afterMs: number): void => {
    nowMs += afterMs;
    meter.failed(target, 'split', 'own');
    written.push({ gatewayId: 'a', at: new Date(nowMs), sample: meter.take('docs') });
  };
  for (const afterMs of [60_000, 5_000, 5_000]) write(afterMs);
  const measured = (since: number): Promise<SampleTotals> =>
    new Measured(
      {
        migration: { migrationId: 'm', toVersion: 'v2' },
        state: { facts: { verified: null } },
        registry: {
          migrations: {
            samplesSince: async function* (_id: string, from: Date) {
              yield* written.filter(({ at }) => at >= from);
            },
          },
        },
      } as unknown as ConstructorParameters<typeof Measured>[0],
      new Date(since).toISOString(),
    ).now();
  const failedSince = async (since: number): Promise<number> => (await measured(since)).version('v2').failed;
  t.equal(await failedSince(1_000), 3);
  t.equal(await failedSince(50_000), 2, 'a sample that was begun before is left out');
  t.equal(await failedSince(61_000), 2);
  t.equal(await failedSince(61_001), 1);
  t.equal(await failedSince(70_000), 0);
});

t.test('all looks of a migration together stay within the 5 %', async (t) => {
  for (const planned of [1, 2, 3, 7]) {
    const shares = Array.from({ length: planned + 40 }, (_, taken) => 1 / looksThatShare(planned, taken));
    const sum = (from: number, to?: number) =>
      shares.slice(from, to).reduce((total, share) => total + share, 0);
    t.ok(Math.abs(sum(0, planned) - 0.5) < 1e-12, `${planned} planned looks share half of it`);
    t.ok(sum(planned) < 0.5, 'and however many are asked for beyond them, less than the other half');
    t.equal(shares[planned], 1 / 4, 'the first of which gets half of what is left');
  }
});

t.test('a golden set: what it cannot tell is left to a person', async (t) => {
  const finding = (verdict: GoldenFinding['verdict'], isNonInferior: boolean): GoldenFinding => ({
    golden_set: 'faq@1',
    metric: 'ndcg@10',
    verdict,
    is_non_inferior: isNonInferior,
    baseline: 0.4,
    candidate: 0.41,
    difference: 0.01,
    low: -0.005,
    high: 0.03,
    confidence: 0.95,
    margin: 0.02,
    query_count: 100,
    queries_needed: 348,
    judged_at_10: { baseline: 0.9, candidate: 0.9 },
    warnings: [],
    worst: [],
  });
  t.equal(checkGolden(finding('better', true), 'docs').verdict, 'successful');
  t.equal(checkGolden(finding('equivalent', true), 'docs').verdict, 'successful');
  t.equal(checkGolden(finding('worse', false), 'docs').verdict, 'failed');
  t.equal(checkGolden(finding('underpowered', true), 'docs').verdict, 'successful');
  t.match(checkGolden(finding('underpowered', false), 'docs'), {
    verdict: 'inconclusive',
    why: /348 queries are needed/,
  });
  t.match(checkGolden(null, 'docs'), { verdict: 'inconclusive', why: /no golden set/ });
});

t.test('cost: shown without limits, and a limit that cannot be looked at lets nothing pass', async (t) => {
  const NO_LIMITS = { bytes_ratio_max: null, service_ratio_max: null };
  const cost = (indexBytes: number | null, serviceUs: number | null) => ({
    ...{ indexBytes, vectors: 1_000, serviceUs },
  });
  const old = cost(2_000_000, 4_000);
  t.match(checkCost(old, cost(3_000_000, 2_000), NO_LIMITS), {
    verdict: 'successful',
    why: /index 3\.0 MB against 2\.0 MB, 2\.00 ms of work a query against 4\.00 ms/,
    figures: { bytes_ratio: 1.5, service_ratio: 0.5 },
  });
  const limits = { bytes_ratio_max: 1.2, service_ratio_max: 1.1 };
  for (const [what, before, after, verdict, why] of [
    ['within both', old, cost(2_400_000, 4_400), 'successful', /./],
    ['larger', old, cost(2_400_001, 4_000), 'failed', /bytes_ratio_max is 1\.2/],
    ['slower', old, cost(2_000_000, 4_401), 'failed', /service_ratio_max is 1\.1/],
    [
      'the new size unknown',
      old,
      cost(null, 4_000),
      'inconclusive',
      /unknown size.*bytes_ratio_max 1\.2 needs/,
    ],
    ['the new one of no bytes', old, cost(0, 4_000), 'inconclusive', /bytes_ratio_max 1\.2 needs/],
    ['the old size unknown', cost(null, 4_000), old, 'inconclusive', /bytes_ratio_max 1\.2 needs/],
    ['no times', old, cost(2_000_000, null), 'undecided', /no times; service_ratio_max 1\.1 needs/],
    ['slower, size unknown', old, cost(null, 9_000), 'failed', /service_ratio_max is 1\.1/],
    ['larger, no times', old, cost(9_000_000, null), 'failed', /bytes_ratio_max is 1\.2/],
  ] as const)
    t.match(checkCost(before, after, limits), { verdict, why }, what);
  t.equal(checkCost(cost(null, null), cost(null, null), NO_LIMITS).verdict, 'successful', 'nothing is asked');
});

t.test('one failure fails the whole, and nothing undecided passes', async (t) => {
  const of = (...verdicts: readonly Finding['verdict'][]) =>
    overall(verdicts.map((verdict) => ({ check: 'cost', verdict, why: '', figures: {} })));
  t.equal(of('successful', 'undecided', 'failed'), 'failed');
  t.equal(of('successful', 'undecided', 'inconclusive'), 'inconclusive');
  t.equal(of('successful', 'undecided'), 'undecided');
  t.equal(of('successful', 'successful'), 'successful');
});
