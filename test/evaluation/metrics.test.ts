import fc from 'fast-check';
import t from 'tap';
import {
  averagePrecision,
  judgedAt,
  ndcgAt,
  recallAt,
  reciprocalRankAt,
  scoreQuery,
} from '../../src/lifecycle/evaluation/metrics.js';
import type { Gain } from '../../src/registry/schema.js';

const near = (
  t: { ok(value: unknown, message: string): unknown },
  found: number,
  wanted: number,
  message: string,
): void => {
  t.ok(Math.abs(found - wanted) < 1e-12, `${message}: ${found}, by hand ${wanted}`);
};

t.test('hand-worked cases', async (t) => {
  const judgements = new Map([
    ['a', 3],
    ['b', 2],
    ['c', 0],
    ['d', 1],
    ['e', -1],
  ]);
  const ranked = ['c', 'b', 'x', 'a'];
  near(t, recallAt(ranked, judgements, 10), 2 / 3, 'two of three relevant ones');
  near(t, recallAt(ranked, judgements, 2), 1 / 3, 'one among the first two');
  near(t, reciprocalRankAt(ranked, judgements, 10), 1 / 2, 'the first relevant one is second');
  t.equal(reciprocalRankAt(ranked, judgements, 1), 0);
  // Gains 0, 2, 0, 3 at discounts log2 of 2, 3, 4, 5; at best 3, 2, 1.
  const graded = (2 / Math.log2(3) + 3 / Math.log2(5)) / (3 + 2 / Math.log2(3) + 1 / 2);
  near(t, ndcgAt(ranked, judgements, 10, 'graded'), graded, 'graded');
  const binary = (1 / Math.log2(3) + 1 / Math.log2(5)) / (1 + 1 / Math.log2(3) + 1 / 2);
  near(t, ndcgAt(ranked, judgements, 10, 'binary'), binary, 'binary');
  near(t, averagePrecision(ranked, judgements), (1 / 2 + 2 / 4) / 3, 'precisions 1/2 and 2/4, of three');
  near(t, judgedAt(ranked, judgements, 10), 3 / 4, 'x was never judged');
  t.equal(ndcgAt(['a', 'b', 'd', 'c'], judgements, 10, 'graded'), 1);
  t.equal(ndcgAt([], judgements, 10, 'graded'), 0);
  t.equal(judgedAt([], judgements, 10), 1, 'an empty answer hides nothing');
  t.equal(ndcgAt([...'0123456789', 'a'], judgements, 10, 'graded'), 0, 'the eleventh counts nothing');
});

/** Each figure once more by its definition, rank by rank, with nothing in common with the code it checks. */
function byDefinition(
  ranked: readonly string[],
  grades: Readonly<Record<string, number>>,
  k: number,
  gain: Gain,
) {
  const gradeOf = (id: string): number => Math.max(0, grades[id] ?? 0);
  const gainOf = (id: string): number => (gain === 'binary' ? Math.min(1, gradeOf(id)) : gradeOf(id));
  const relevant = Object.keys(grades).filter((id) => gradeOf(id) > 0);
  let hitsAtK = 0;
  let firstRank = 0;
  let dcg = 0;
  let precisions = 0;
  let judged = 0;
  for (let rank = 1; rank <= ranked.length; rank++) {
    const id = ranked[rank - 1] as string;
    const isHit = relevant.includes(id);
    if (rank <= k && isHit) hitsAtK += 1;
    if (rank <= 10) {
      if (isHit && firstRank === 0) firstRank = rank;
      dcg += gainOf(id) / (Math.log(rank + 1) / Math.LN2);
      if (Object.keys(grades).includes(id)) judged += 1;
    }
    if (isHit) precisions += ranked.slice(0, rank).filter((one) => relevant.includes(one)).length / rank;
  }
  // The best order of all: always the largest that is left.
  let ideal = 0;
  const left = relevant.map(gainOf);
  for (let rank = 1; rank <= 10 && left.length > 0; rank++) {
    const largest = Math.max(...left);
    left.splice(left.indexOf(largest), 1);
    ideal += largest / (Math.log(rank + 1) / Math.LN2);
  }
  const shown = Math.min(10, ranked.length);
  return {
    recall: hitsAtK / relevant.length,
    mrr: firstRank === 0 ? 0 : 1 / firstRank,
    ndcg: dcg / ideal,
    map: precisions / relevant.length,
    judged: shown === 0 ? 1 : judged / shown,
  };
}

t.test('over random rankings and judgements every figure is what its definition gives', async () => {
  const id = fc.integer({ min: 0, max: 40 }).map((number) => `d${number}`);
  fc.assert(
    fc.property(
      fc.uniqueArray(id, { maxLength: 41 }),
      fc
        .dictionary(id, fc.integer({ min: -2, max: 4 }), { minKeys: 1 })
        .filter((grades) => Object.values(grades).some((grade) => grade > 0)),
      fc.integer({ min: 1, max: 30 }),
      fc.constantFrom<Gain>('graded', 'binary'),
      (ranked, grades, k, gain) => {
        const found = scoreQuery(ranked, ranked, new Map(Object.entries(grades)), { k, gain });
        const wanted = byDefinition(ranked, grades, k, gain);
        for (const [name, value] of Object.entries(found)) {
          const other = wanted[name as keyof typeof wanted];
          if (Math.abs(value - other) > 1e-12) throw new Error(`${name}: ${value}, by definition ${other}`);
          if (!(value >= 0 && value <= 1 + 1e-12)) throw new Error(`${name} is ${value}`);
        }
      },
    ),
    { seed: 6, numRuns: 2_000 },
  );
});
