import t from 'tap';
import { SHAPES } from '../../bench/data/paired-differences.js';
import {
  binomialInterval,
  confidenceOf,
  DEFAULT_LOOKS,
  gateOf,
  MANY_LOOKS,
  PLANS,
  type Simulation,
  simulateLooks,
  simulateMigrations,
  uncorrected,
} from '../../bench/statistics.js';
import { SeededRandom } from '../../src/index/seeded-random.js';
import {
  FALSE_PROMOTION_MAX,
  POWER,
  queriesNeeded,
  queriesNeededForEquivalence,
  verdictOf,
} from '../../src/lifecycle/evaluation/compare.js';
import { checkGolden } from '../../src/lifecycle/migration/analyses/golden.js';
import type { GoldenFinding } from '../../src/lifecycle/migration/ports.js';

t.setTimeout(300_000);

const MARGIN = 0.02;
const simulation = (seed: number): Simulation => ({
  random: new SeededRandom(seed),
  shape: 'normal',
  queries: queriesNeeded(0.1, MARGIN, 0.9),
  trueDifference: -MARGIN,
  sd: 0.1,
  confidence: 0.9,
  trials: 300,
  resamples: 400,
});

/** The bench `statistics` at a size for every day; its full size is in docs/performance.md. */
t.test('a version that lost the margin is promoted in at most one migration of twenty', async (t) => {
  const cases = [
    ...SHAPES.map((shape) => ({ plan: 'default', looks: DEFAULT_LOOKS, shape })),
    { plan: 'many', looks: MANY_LOOKS, shape: 'skewed' },
  ] as const;
  for (const { plan, looks, shape } of cases) {
    const { any, promoted } = await simulateMigrations({ ...simulation(11), shape }, looks);
    const said = `${plan} plan, ${shape}: ${promoted.happened} of ${promoted.trials}`;
    t.ok(promoted.happened / promoted.trials <= FALSE_PROMOTION_MAX, said);
    // Any look of several is enough only where nobody heeds a gate that failed: sparse differences are just beyond then.
    if (shape !== 'sparse')
      t.ok(any.happened / any.trials <= FALSE_PROMOTION_MAX, `${said}; at any look ${any.happened}`);
  }
  const { any } = await simulateMigrations(simulation(12), { planned: 5, askedFor: 0 }, uncorrected);
  t.ok(
    binomialInterval(any).low > FALSE_PROMOTION_MAX,
    `five looks that nobody corrects promote it in ${any.happened} of ${any.trials}: the simulation can fail`,
  );
});

t.test('looks are simulated with the confidence that they have in a migration', (t) => {
  t.equal(DEFAULT_LOOKS.planned, 1, 'the plan that ships has one golden gate');
  const confidences = ({ planned }: typeof MANY_LOOKS, taken: readonly number[]): readonly string[] =>
    taken.map((count) => confidenceOf({ planned, askedFor: 0 }, count).toFixed(5));
  t.same(confidences(DEFAULT_LOOKS, [0, 1, 2]), ['0.97500', '0.98750', '0.99375']);
  t.same(confidences(MANY_LOOKS, [0, 4, 5, 6]), ['0.99500', '0.99500', '0.98750', '0.99375']);
  t.end();
});

t.test('the simulation decides as the golden check of an analysis does', (t) => {
  const ends = [-0.05, -0.021, -0.02, -0.019, -0.001, 0, 0.001, 0.019, 0.02, 0.021, 0.05];
  const seen = new Set<string>();
  for (const low of ends)
    for (const high of ends.filter((end) => end >= low)) {
      const finding = {
        metric: 'ndcg@10',
        verdict: verdictOf({ low, high }, MARGIN),
        is_non_inferior: low > -MARGIN,
        low,
        high,
        margin: MARGIN,
        baseline: 0.4,
        candidate: 0.4,
        query_count: 100,
        queries_needed: 348,
      } as GoldenFinding;
      const gate = gateOf({ low, high });
      seen.add(gate);
      t.equal(gate, checkGolden(finding, 'docs').verdict, `${low} … ${high}`);
    }
  t.same(seen, new Set(['failed', 'inconclusive', 'successful']));
  t.end();
});

t.test('the computed numbers of queries have the power that they were computed for', async (t) => {
  for (const confidence of [0.9, ...PLANS.map((looks) => confidenceOf(looks, 0))]) {
    const base = { ...simulation(13), confidence, queries: queriesNeeded(0.1, MARGIN, confidence) };
    const seen = await simulateLooks(base, ({ high }) => high < 0);
    const ruledOut = await simulateLooks({ ...base, trueDifference: 0 }, ({ low }) => low > -MARGIN);
    const queries = queriesNeededForEquivalence(0.1, MARGIN, confidence);
    const alike = { ...base, trueDifference: 0, queries };
    const equivalent = await simulateLooks(alike, (found) => verdictOf(found, MARGIN) === 'equivalent');
    for (const [what, share] of Object.entries({ seen, ruledOut, equivalent })) {
      const { low, high } = binomialInterval(share, 0.999);
      const said = `${what} at ${confidence}: ${share.happened} of ${share.trials}, ${low} … ${high}`;
      t.ok(low <= POWER && high >= POWER, said);
    }
  }
  const half = await simulateLooks({ ...simulation(13), queries: 60 }, ({ high }) => high < 0);
  t.ok(binomialInterval(half).high < POWER, `${half.happened} of ${half.trials} with too few queries`);
});

t.test('the interval of a share is that of the textbooks', async (t) => {
  const { low, high } = binomialInterval({ happened: 10, trials: 100 });
  t.ok(Math.abs(low - 0.0552) < 1e-4 && Math.abs(high - 0.1744) < 1e-4, `${low} … ${high}`);
  t.equal(binomialInterval({ happened: 0, trials: 10 }).low, 0);
});
