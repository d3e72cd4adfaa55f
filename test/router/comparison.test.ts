import fc from 'fast-check';
import t, { type Test } from 'tap';
import {
  compareAnswers,
  type RankedAnswer,
  rankBiasedOverlap,
  scoreQuantiles,
} from '../../src/router/comparison.js';
import {
  type ComparedPair,
  ComparisonRecorder,
  DEFAULT_RECORDER,
  type RecorderOptions,
} from '../../src/router/comparison-recorder.js';
import { Distribution } from '../../src/router/distribution.js';
import { buildOf, fingerprintOf } from './small-engines.js';

const answer = (ids: string, scores: readonly number[] = [], serviceUs = 0): RankedAnswer => ({
  ids: [...ids],
  scores,
  serviceUs,
});
const near = (t: Test, found: number, wanted: number) =>
  t.ok(Math.abs(found - wanted) < 1e-12, `${found} is ${wanted}`);

t.test('metrics of small answers are what the definitions give by hand', async (t) => {
  const same = compareAnswers(3, answer('abc'), answer('abc'));
  t.match(same, { overlap: 1, jaccard: 1, rbo: 1, top1Match: true, primaryUnderfill: 0, shadowUnderfill: 0 });

  // Common: a, c. Depths 1..3: 0/1, 1/2 (a), 2/3 (a, c).
  const turned = compareAnswers(3, answer('abc'), answer('cad'));
  near(t, turned.overlap, 2 / 3);
  near(t, turned.jaccard, 2 / 4);
  near(t, turned.rbo, (0 + 0.9 * (1 / 2) + 0.81 * (2 / 3)) / (1 + 0.9 + 0.81));
  t.equal(turned.top1Match, false);

  // Depths 1..4: 1, 1, 2/3, 2/4: the shorter list has nothing more to share.
  const short = compareAnswers(4, answer('abcd'), answer('ab'));
  near(t, short.rbo, (1 + 0.9 + 0.81 * (2 / 3) + 0.729 * (2 / 4)) / (1 + 0.9 + 0.81 + 0.729));
  t.match(short, { overlap: 0.5, jaccard: 0.5, top1Match: true, primaryUnderfill: 0, shadowUnderfill: 2 });

  t.match(compareAnswers(2, answer('ab'), answer('cd')), {
    overlap: 0,
    jaccard: 0,
    rbo: 0,
    top1Match: false,
  });
});

t.test('two empty answers are identical, and an empty one has nothing of another', async (t) => {
  t.match(compareAnswers(5, answer(''), answer('')), {
    overlap: 1,
    jaccard: 1,
    rbo: 1,
    top1Match: true,
    primaryUnderfill: 5,
    shadowUnderfill: 5,
    primaryScores: null,
  });
  t.match(compareAnswers(5, answer('a'), answer('')), { overlap: 0, jaccard: 0, rbo: 0, top1Match: false });
});

t.test('only the first k count, and service times are compared without queueing', async (t) => {
  const compared = compareAnswers(2, answer('abX', [3, 2, 1], 100), answer('abYZ', [9, 8, 7, 6], 250));
  t.match(compared, { overlap: 1, rbo: 1, shadowUnderfill: 0, serviceDeltaUs: 150 });
  t.same(compared.shadowScores, { min: 8, p25: 8.25, median: 8.5, p75: 8.75, max: 9 });
});

t.test('score quantiles interpolate between ranks and do not sort their input', async (t) => {
  const scores = [4, 1, 3, 2, 5];
  t.same(scoreQuantiles(scores), { min: 1, p25: 2, median: 3, p75: 4, max: 5 });
  t.same(scores, [4, 1, 3, 2, 5]);
  t.same(scoreQuantiles([7]), { min: 7, p25: 7, median: 7, p75: 7, max: 7 });
  t.equal(scoreQuantiles([]), null);
});

/** Definition read literally, depth by depth. */
function rboByDefinition(left: readonly string[], right: readonly string[], p: number): number {
  const depth = Math.max(left.length, right.length);
  if (depth === 0) return 1;
  let sum = 0;
  let norm = 0;
  for (let d = 1; d <= depth; d++) {
    const shared = left.slice(0, d).filter((id) => right.slice(0, d).includes(id)).length;
    sum += p ** (d - 1) * (shared / d);
    norm += p ** (d - 1);
  }
  return sum / norm;
}

t.test('RBO equals its definition, is symmetric, within 0..1, and 1 only for equal lists', async () => {
  const list = fc.uniqueArray(fc.constantFrom(...'abcdefghijkl'), { maxLength: 10 });
  fc.assert(
    fc.property(list, list, (left, right) => {
      const rbo = rankBiasedOverlap(left, right, 0.9);
      const isEqual = left.length === right.length && left.every((id, at) => id === right[at]);
      return (
        Math.abs(rbo - rboByDefinition(left, right, 0.9)) < 1e-12 &&
        rbo === rankBiasedOverlap(right, left, 0.9) &&
        rbo >= 0 &&
        (isEqual ? rbo === 1 : rbo < 1)
      );
    }),
    { numRuns: 2000, seed: 4 },
  );
});

t.test('a distribution counts what is at most each bound, and does not grow', async (t) => {
  const distribution = new Distribution([0, 0.5, 1]);
  for (const value of [0, 0.2, 0.5, 0.9, 1, 7]) distribution.observe(value);
  t.same(distribution.report(), {
    count: 6,
    sum: 9.6,
    min: 0,
    max: 7,
    buckets: [
      { le: 0, count: 1 },
      { le: 0.5, count: 2 },
      { le: 1, count: 2 },
      { le: Number.POSITIVE_INFINITY, count: 1 },
    ],
  });
  t.match(new Distribution([1]).report(), { count: 0, sum: 0, min: null, max: null });
});

const side = (name: string) => ({
  version: name,
  build: buildOf(name),
  model: `${name}@1`,
  fingerprint: fingerprintOf(name),
});
const pairOf = (shadow: string): ComparedPair => ({
  corpus: 'c',
  kind: 'candidate',
  primary: side('p'),
  shadow: side(shadow),
});
const recorder = (over: Partial<RecorderOptions> = {}) =>
  new ComparisonRecorder({ ...DEFAULT_RECORDER, hashKey: Buffer.from('k'), wallMs: () => 5, ...over });
const half = compareAnswers(2, answer('ab'), answer('ac'));

t.test('the recorder is bounded in pairs, in worst queries and in ids, whatever it is given', async (t) => {
  const record = recorder({ pairsMax: 3, worstQueriesMax: 4, idsMax: 2 });
  for (let at = 0; at < 1000; at++)
    record.record(pairOf(`s${at % 5}`), half, {
      text: `query ${at}`,
      vector: null,
      primaryIds: ['a', 'b', 'c'],
      shadowIds: ['a', 'c', 'd'],
    });
  const reports = record.report('c');
  t.equal(reports.length, 3);
  for (const { worst } of reports) {
    t.ok(worst.length <= 4);
    t.ok(worst.every(({ primaryIds, shadowIds }) => primaryIds.length === 2 && shadowIds.length === 2));
  }
  t.same(record.report('other'), []);
});

t.test('equal answers are no worst query, and a repeated one is one entry', async (t) => {
  const record = recorder();
  const query = { vector: null, primaryIds: ['a', 'b'], shadowIds: ['a', 'c'] };
  record.record(pairOf('s'), compareAnswers(2, answer('ab'), answer('ab')), { ...query, text: 'good' });
  record.record(pairOf('s'), half, { ...query, text: 'bad' });
  record.record(pairOf('s'), half, { ...query, text: 'bad' });
  const [report] = record.report('c');
  t.match(report, { compared: 3, top1Matches: 3, pair: { kind: 'candidate' } });
  t.equal(report?.worst.length, 1);
  t.match(report?.worst[0], { text: null, k: 2, overlap: 0.5, atMs: 5 });
  t.match(report?.worst[0]?.queryHash, /^[0-9a-f]{32}$/);
});

t.test(
  'hashes depend on the key and tell a text from a vector; texts are kept only when configured',
  async (t) => {
    const hashOf = (options: Partial<RecorderOptions>, text: string | null, vector: Float32Array | null) => {
      const record = recorder(options);
      record.record(pairOf('s'), half, { text, vector, primaryIds: [], shadowIds: [] });
      return record.report('c')[0]?.worst[0];
    };
    const plain = hashOf({}, 'owl', null);
    t.equal(hashOf({}, 'owl', new Float32Array(2))?.queryHash, plain?.queryHash);
    t.not(hashOf({ hashKey: Buffer.from('other') }, 'owl', null)?.queryHash, plain?.queryHash);
    t.not(
      hashOf({}, null, new Float32Array([1, 2]))?.queryHash,
      hashOf({}, null, new Float32Array([1, 3]))?.queryHash,
    );
    t.equal(plain?.text, null);
    t.equal(hashOf({ keepTexts: true }, 'owl', null)?.text, 'owl');
  },
);

t.test('worst queries that were persisted come back and compete with new ones', async (t) => {
  const first = recorder({ worstQueriesMax: 2 });
  first.record(pairOf('s'), half, { text: 'a', vector: null, primaryIds: [], shadowIds: [] });
  const saved = first.report('c')[0]?.worst ?? [];
  const second = recorder({ worstQueriesMax: 2 });
  second.restoreWorst(pairOf('s'), saved);
  const none = compareAnswers(2, answer('ab'), answer('xy'));
  for (const text of ['b', 'c'])
    second.record(pairOf('s'), none, { text, vector: null, primaryIds: [], shadowIds: [] });
  t.same(
    second.report('c')[0]?.worst.map(({ rbo }) => rbo),
    [0, 0],
  );
});
