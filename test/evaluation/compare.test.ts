import t from 'tap';
import { SeededRandom } from '../../src/index/seeded-random.js';
import { meanInterval } from '../../src/lifecycle/evaluation/bootstrap.js';
import {
  compareEvaluations,
  gateConfidence,
  queriesNeeded,
  queriesNeededForEquivalence,
  type ScoredVersion,
  verdictOf,
} from '../../src/lifecycle/evaluation/compare.js';
import { normalCdf, normalQuantile } from '../../src/lifecycle/evaluation/normal.js';

const refused = (reason: string) => ({ name: 'SwitchyardError', reason });

/** A version whose queries have these nDCGs, and nothing else of interest. */
const scored = (ndcg: readonly number[], judged = 1, golden = 'g'): ScoredVersion => ({
  goldenSetId: golden,
  k: 10,
  depth: 100,
  gain: 'graded',
  scores: new Map(ndcg.map((value, at) => [`q${at}`, { recall: 0, mrr: 0, ndcg: value, map: 0, judged }])),
});

/** Scores whose differences have exactly this mean and standard deviation. */
function pair(count: number, difference: number, sd: number, seed = 1): [ScoredVersion, ScoredVersion] {
  const random = new SeededRandom(seed);
  const raw = Array.from({ length: count }, () => random.normal());
  const mean = raw.reduce((sum, value) => sum + value, 0) / count;
  const scale = Math.sqrt(raw.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (count - 1));
  const differences = raw.map((value) => ((value - mean) / scale) * sd + difference);
  return [scored(differences.map(() => 0.5)), scored(differences.map((value) => 0.5 + value))];
}

t.test('the normal distribution is that of the tables', async (t) => {
  for (const [p, z] of [
    [0.8, 0.8416212335729143],
    [0.9, 1.2815515655446004],
    [0.95, 1.6448536269514722],
    [0.975, 1.959963984540054],
    [0.99, 2.3263478740408408],
    [0.001, -3.090232306167813],
  ] as const) {
    t.ok(Math.abs(normalQuantile(p) - z) < 1e-9, `quantile of ${p}`);
    t.ok(Math.abs(normalCdf(z) - p) < 1e-12, `share below ${z}`);
  }
  t.ok(Math.abs(normalCdf(-8) / 6.220960574271786e-16 - 1) < 1e-9, 'far out in the tail');
  t.throws(() => normalQuantile(1), RangeError);
});

t.test('the queries that are needed are those of the tables', async (t) => {
  t.same(
    [0.1, 0.15, 0.2].map((sd) => queriesNeeded(sd, 0.02, 0.9)),
    [155, 348, 619],
    'to see a loss of two points with 80 % power',
  );
  t.equal(queriesNeededForEquivalence(0.1, 0.02, 0.9), 215);
  t.equal(queriesNeeded(0.1, 0.02, gateConfidence(5)), 292, 'with the confidence of five looks');
  t.equal(queriesNeeded(0, 0.02, 0.9), 30, 'never fewer than say anything at all');
});

t.test('the verdict follows from the interval and the margin', async (t) => {
  for (const [low, high, verdict] of [
    [-0.01, 0.01, 'equivalent'],
    [0.001, 0.019, 'equivalent'],
    [-0.019, -0.001, 'equivalent'],
    [0.001, 0.03, 'better'],
    [0.05, 0.09, 'better'],
    [-0.03, -0.001, 'worse'],
    [-0.03, 0.01, 'underpowered'],
    [-0.01, 0.03, 'underpowered'],
    [-0.02, 0.01, 'underpowered'],
    [-0.5, 0.5, 'underpowered'],
  ] as const)
    t.equal(verdictOf({ low, high }, 0.02), verdict, `${low} … ${high}`);
});

t.test('two versions are compared query by query', async (t) => {
  const verdict = async (count: number, difference: number, sd: number) =>
    (await compareEvaluations(...pair(count, difference, sd))).verdict;
  t.equal(await verdict(225, 0.1, 0.2), 'better');
  t.equal(await verdict(225, -0.1, 0.2), 'worse');
  t.equal(await verdict(225, 0, 0.05), 'equivalent');
  t.equal(await verdict(225, 0, 0.3), 'underpowered');
  t.equal(await verdict(20, 0.3, 0.05), 'underpowered', 'too few queries say nothing');

  const found = await compareEvaluations(...pair(225, 0, 0.3));
  t.match(found, {
    queryCount: 225,
    metric: 'ndcg',
    confidence: 0.9,
    marginAbsolute: 0.02,
    isNonInferior: false,
  });
  t.ok(Math.abs(found.pairedSd - 0.3) < 1e-12);
  t.equal(found.queriesNeeded, queriesNeeded(found.pairedSd, 0.02, 0.9));
  t.ok(found.queriesNeeded > 1_000);
  // Of nearly normal differences the interval is nearly that of the normal distribution.
  const half = (1.645 * 0.3) / Math.sqrt(225);
  t.ok(Math.abs(found.interval.low + half) < half * 0.1, `${found.interval.low} beside ${-half}`);
  t.ok(Math.abs(found.interval.high - half) < half * 0.1, `${found.interval.high} beside ${half}`);
  t.equal(found.worst.length, 10);
  const losses = found.worst.map((one) => one.candidate - one.baseline);
  t.same(
    losses,
    [...losses].sort((a, b) => a - b),
    'the greatest loss first',
  );
});

t.test('the same scores and seed give the same interval, in whatever order they were stored', async (t) => {
  const [baseline, candidate] = pair(120, 0.01, 0.15);
  const turned = (version: ScoredVersion): ScoredVersion => ({
    ...version,
    scores: new Map([...version.scores].reverse()),
  });
  const first = await compareEvaluations(baseline, candidate);
  t.same(await compareEvaluations(turned(baseline), turned(candidate)), first);
  const other = await compareEvaluations(baseline, candidate, { seed: 2 });
  t.not(other.interval.low, first.interval.low);
  const back = await compareEvaluations(candidate, baseline);
  t.ok(Math.abs(back.interval.low + first.interval.high) < 0.002, 'turned round it is turned round');
});

t.test('a set that few queries tell apart gives no endless interval', async (t) => {
  const values = Array.from({ length: 225 }, (_, at) => (at % 75 === 0 ? -0.1 : 0));
  const { low, high } = await meanInterval(values, { confidence: 0.9, resamples: 2_000, seed: 1 });
  t.ok(low > -0.01 && high < 0.01, `${low} … ${high}`);
  const alike = await compareEvaluations(scored(Array(60).fill(0.4)), scored(Array(60).fill(0.4)));
  t.equal(alike.verdict, 'equivalent');
  t.match(alike.warnings, [/no query tells the two apart/]);
});

t.test('judged@10 that is much lower is warned of', async (t) => {
  const [baseline, candidate] = pair(100, 0, 0.1);
  const lower: ScoredVersion = {
    ...candidate,
    scores: new Map([...candidate.scores].map(([id, scores]) => [id, { ...scores, judged: 0.6 }])),
  };
  const found = await compareEvaluations(baseline, lower);
  t.match(found.judgedAt10, { baseline: 1 });
  t.match(found.warnings, [/judged@10 is 100 % .* 60 % .* candidate looks worse than it is/]);
  t.same((await compareEvaluations(baseline, candidate)).warnings, []);
});

t.test('what was not measured alike is not compared', async (t) => {
  const one = scored([0.1, 0.2]);
  await t.rejects(compareEvaluations(one, scored([0.1, 0.2], 1, 'other')), refused('INVALID_ARGUMENT'));
  await t.rejects(compareEvaluations(one, { ...one, gain: 'binary' }), refused('INVALID_ARGUMENT'));
  await t.rejects(compareEvaluations(one, scored([0.1])), refused('INVALID_ARGUMENT'));
  for (const wrong of [{ marginAbsolute: 0 }, { confidence: 1 }, { resamples: 3 }, { seed: 0.5 }])
    await t.rejects(compareEvaluations(one, one, wrong), refused('INVALID_ARGUMENT'));
});

t.test('the looks of a migration share its error', async (t) => {
  t.equal(gateConfidence(1), 0.95);
  t.ok(Math.abs(gateConfidence(5) - 0.99) < 1e-12);
  for (const looks of [1, 2, 7]) {
    const perLook = (1 - gateConfidence(looks)) / 2;
    t.ok(Math.abs(perLook * looks - 0.025) < 1e-12, `${looks} looks of ${perLook}`);
  }
  t.throws(() => gateConfidence(0), refused('INVALID_ARGUMENT'));
});
