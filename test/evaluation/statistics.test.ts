import t from 'tap';
import {
  binomialInterval,
  LOOKS,
  type Simulation,
  simulateLooks,
  simulateMigrations,
} from '../../bench/statistics.js';
import { SeededRandom } from '../../src/index/seeded-random.js';
import {
  FALSE_PROMOTION_MAX,
  gateConfidence,
  POWER,
  queriesNeeded,
  queriesNeededForEquivalence,
  verdictOf,
} from '../../src/lifecycle/evaluation/compare.js';

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
  for (const shape of ['normal', 'skewed'] as const) {
    const corrected = { ...simulation(11), shape, confidence: gateConfidence(LOOKS) };
    const { any, all } = await simulateMigrations(corrected, LOOKS);
    t.ok(any.happened / any.trials <= FALSE_PROMOTION_MAX, `${shape}: ${any.happened} of ${any.trials}`);
    t.equal(all.happened, 0, 'and in none where every look must pass');
  }
  const { any } = await simulateMigrations(simulation(12), LOOKS);
  t.ok(
    binomialInterval(any).low > FALSE_PROMOTION_MAX,
    `five looks that nobody corrects promote it in ${any.happened} of ${any.trials}: the simulation can fail`,
  );
});

t.test('the computed numbers of queries have the power that they were computed for', async (t) => {
  const base = simulation(13);
  const seen = await simulateLooks(base, ({ high }) => high < 0);
  const ruledOut = await simulateLooks({ ...base, trueDifference: 0 }, ({ low }) => low > -MARGIN);
  const alike = { ...base, trueDifference: 0, queries: queriesNeededForEquivalence(0.1, MARGIN, 0.9) };
  const equivalent = await simulateLooks(alike, (found) => verdictOf(found, MARGIN) === 'equivalent');
  for (const [what, share] of Object.entries({ seen, ruledOut, equivalent })) {
    const { low, high } = binomialInterval(share);
    t.ok(low <= POWER && high >= POWER, `${what}: ${share.happened} of ${share.trials}, ${low} … ${high}`);
  }
  const half = await simulateLooks({ ...base, queries: 60 }, ({ high }) => high < 0);
  t.ok(binomialInterval(half).high < POWER, `${half.happened} of ${half.trials} with too few queries`);
});

t.test('the interval of a share is that of the textbooks', async (t) => {
  const { low, high } = binomialInterval({ happened: 10, trials: 100 });
  t.ok(Math.abs(low - 0.0552) < 1e-4 && Math.abs(high - 0.1744) < 1e-4, `${low} … ${high}`);
  t.equal(binomialInterval({ happened: 0, trials: 10 }).low, 0);
});
