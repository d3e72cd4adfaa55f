import t from 'tap';
import { checkErrorRate } from '../../src/lifecycle/migration/analyses/error-rate.js';
import { checkServiceTime } from '../../src/lifecycle/migration/analyses/service-time.js';
import { LogHistogram } from '../../src/telemetry/log-histogram.js';
import { TestRandom } from '../fixtures/random.js';

const seeded = (seed: number): (() => number) => {
  const random = new TestRandom(seed);
  return () => random.next();
};
const times = (...values: readonly number[]): LogHistogram => {
  const histogram = new LogHistogram();
  for (const value of values) histogram.observe(value);
  return histogram;
};
const around = (us: number, count: number, random: () => number): LogHistogram =>
  times(...Array.from({ length: count }, () => us * (0.7 + 0.6 * random())));

t.test('a histogram gives quantiles to within a tenth, and adds up', async (t) => {
  const random = seeded(3);
  const values = Array.from({ length: 20_000 }, () => 60 * Math.exp(8 * random()));
  const sorted = [...values].sort((a, b) => a - b);
  const halves = [times(...values.slice(0, 7_000)), times(...values.slice(7_000))];
  const whole = LogHistogram.of(...halves.map((half) => half.counts()));
  t.equal(whole.count, values.length);
  for (const share of [0.01, 0.25, 0.5, 0.95, 0.99]) {
    const exact = sorted[Math.floor(share * sorted.length)] ?? 0;
    const found = whole.quantile(share) ?? 0;
    t.ok(Math.abs(found / exact - 1) < 0.1, `p${share * 100}: ${found} of ${exact}`);
    const interval = whole.quantileInterval(share, 3);
    t.ok(interval !== null && interval.low <= found && found <= interval.high);
  }
  t.equal(new LogHistogram().quantile(0.5), null);
  t.equal(LogHistogram.of(whole.counts()).count, values.length);
});

t.test('service time: reads that caches answered are not timed, and it says so', async (t) => {
  const random = seeded(13);
  const mirrored = {
    primary: around(4_000, 12, random),
    shadow: around(4_100, 12, random),
    remembered: 4_988,
    late: 0,
  };
  t.match(
    checkServiceTime(
      { lane: 'shadow', mirrored },
      { quantile: 0.95, ratio_max: 1.5, allowance_ms: 1, samples_min: 20 },
    ),
    {
      verdict: 'undecided',
      why: /12 mirrored requests .* 20 of each are needed; 4988 more were remembered by a cache/,
    },
  );
});

const MANY = { quantile: 0.95, ratio_max: 1.5, allowance_ms: 1, samples_min: 100 };

t.test('service time: reads that came too late fail nothing, and do not let a version pass', async (t) => {
  const random = seeded(19);
  const seen = (us: number, late: number) => ({
    lane: 'shadow' as const,
    mirrored: {
      primary: around(4_000, 1_000, random),
      shadow: around(us, 1_000, random),
      remembered: 0,
      late,
    },
  });
  t.match(checkServiceTime(seen(4_000, 20), MANY), { verdict: 'successful', why: /, 20 came too late\)/ });
  t.match(checkServiceTime(seen(4_000, 200), MANY), {
    verdict: 'undecided',
    why: /with those that came too late it is not within it/,
    figures: { after_late: 200 },
  });
  t.equal(checkServiceTime(seen(12_000, 200), MANY).verdict, 'failed', 'those that came are slow enough');
});

const served = (old: LogHistogram, fresh: LogHistogram) => {
  const before = { total: old };
  return { lane: 'served' as const, before, earlier: before, after: { total: fresh } };
};

t.test('service time: within the ratio or the allowance it passes, beyond both it fails', async (t) => {
  const random = seeded(5);
  const old = around(4_000, 2_000, random);
  const verdict = (fresh: LogHistogram, more = {}) =>
    checkServiceTime(served(old, fresh), { ...MANY, ...more }).verdict;
  t.equal(verdict(around(4_100, 2_000, random)), 'successful');
  t.equal(verdict(around(12_000, 2_000, random)), 'failed');
  t.equal(verdict(around(12_000, 2_000, random), { allowance_ms: 50 }), 'successful', 'fast enough');
  t.equal(verdict(around(4_100, 50, random)), 'undecided', 'too few');
  t.equal(verdict(around(900_000, 25, random)), 'failed', 'few, but beyond doubt');
  t.equal(verdict(new LogHistogram()), 'undecided');
  const seen = { ...served(old, around(4_100, 2_000, random)), before: { total: times(4_000) } };
  t.equal(
    checkServiceTime(seen, MANY).verdict,
    'successful',
    'a straggler does not stand for the old version',
  );
});

t.test(
  'service time: with nothing of the old version to compare with, no slowness is a failure',
  async (t) => {
    const random = seeded(17);
    const slow = around(900_000, 2_000, random);
    t.match(checkServiceTime(served(new LogHistogram(), slow), MANY), {
      verdict: 'undecided',
      why: /2000 served requests of the new version and 0 of the old one were timed, 100 of each/,
    });
    t.match(
      checkServiceTime(served(times(4_000, 4_100), slow), MANY),
      { verdict: 'undecided' },
      'nor are two stragglers something to compare with',
    );
    t.equal(checkServiceTime(served(around(4_000, 40, random), slow), MANY).verdict, 'failed');
  },
);

t.test('service time: an equal version fails in hardly any of a thousand seeded looks', async (t) => {
  const random = seeded(11);
  let failed = 0;
  for (let look = 0; look < 1_000; look++) {
    const found = checkServiceTime(served(around(3_000, 120, random), around(3_000, 120, random)), {
      ...MANY,
      ratio_max: 1,
    });
    if (found.verdict === 'failed') failed++;
  }
  t.ok(failed <= 5, `${failed} of 1000`);
});

t.test('error rate: an equal version is not failed by chance, an outage is seen at once', async (t) => {
  const options = { increase_max: 0.01, samples_min: 200 };
  const of = ([answered, failed]: readonly [number, number]) => ({ answered, failed, causes: failed });
  const check = (
    before: readonly [number, number],
    after: readonly [number, number],
    earlier: readonly [number, number] = before,
  ) => checkErrorRate({ before: of(before), after: of(after), earlier: of(earlier) }, options).verdict;
  t.equal(check([10_000, 2], [300, 0]), 'successful');
  t.equal(check([10_000, 2], [300, 150]), 'failed');
  t.equal(check([10_000, 2], [0, 12]), 'failed', 'twelve of twelve');
  t.equal(check([10_000, 2], [40, 0]), 'undecided', 'too few');
  t.equal(check([10_000, 2], [0, 0]), 'undecided');
  t.equal(check([0, 0], [300, 0]), 'successful', 'the old one serves no longer');
  t.equal(check([0, 1], [180, 120], [9_990, 10]), 'failed', 'a straggler does not stand for the old version');
  t.equal(check([0, 0], [285, 15], [9_500, 500]), 'successful', 'what always fails is not the new version');
  const random = seeded(7);
  let failed = 0;
  for (let look = 0; look < 2_000; look++) {
    const failures = Array.from({ length: 400 }, () => random()).filter((value) => value < 0.02).length;
    if (check([9_800, 200], [400 - failures, failures]) === 'failed') failed++;
  }
  t.ok(failed <= 5, `${failed} of 2000 looks at an equal version`);
});
