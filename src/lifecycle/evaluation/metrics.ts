import type { QueryScores } from '../../registry/evaluations.js';
import type { Gain } from '../../registry/schema.js';

/** Ranks that MRR, nDCG and judged look at. */
export const CUTOFF = 10;

/** Document id → grade; above 0 is relevant. */
export type Judgements = ReadonlyMap<string, number>;

export interface MetricOptions {
  /** Of recall@k. */
  readonly k: number;
  readonly gain: Gain;
}

/**
 * One query's scores, each from 0 to 1. `ranked`: document ids, best first, none twice; `deep`: the same query's longer
 * answer, for MAP. A query has at least one relevant document.
 */
export function scoreQuery(
  ranked: readonly string[],
  deep: readonly string[],
  judgements: Judgements,
  { k, gain }: MetricOptions,
): QueryScores {
  return {
    recall: recallAt(ranked, judgements, k),
    mrr: reciprocalRankAt(ranked, judgements, CUTOFF),
    ndcg: ndcgAt(ranked, judgements, CUTOFF, gain),
    map: averagePrecision(deep, judgements),
    judged: judgedAt(ranked, judgements, CUTOFF),
  };
}

/** Share of the relevant documents that are among the first k. */
export function recallAt(ranked: readonly string[], judgements: Judgements, k: number): number {
  const found = ranked.slice(0, k).filter((id) => isRelevant(judgements, id)).length;
  return over(found, relevantCount(judgements));
}

/** One over the rank of the first relevant document among the first `cutoff`, or 0. */
export function reciprocalRankAt(ranked: readonly string[], judgements: Judgements, cutoff: number): number {
  const at = ranked.slice(0, cutoff).findIndex((id) => isRelevant(judgements, id));
  return at < 0 ? 0 : 1 / (at + 1);
}

/**
 * Discounted gain over that of the best possible order of all judged documents: gain = grade (binary: 1), discount
 * log2(rank + 1), as trec_eval's ndcg_cut has it. Grades of 0 and below gain nothing.
 */
export function ndcgAt(
  ranked: readonly string[],
  judgements: Judgements,
  cutoff: number,
  gain: Gain,
): number {
  const gainOf = (grade: number): number => (grade <= 0 ? 0 : gain === 'binary' ? 1 : grade);
  const gained = ranked.slice(0, cutoff).map((id) => gainOf(judgements.get(id) ?? 0));
  const ideal = [...judgements.values()].map(gainOf).sort((a, b) => b - a);
  return over(discounted(gained), discounted(ideal.slice(0, cutoff)));
}

/** Mean, over all relevant documents, of the precision at the rank of each; 0 for those that are not in the answer. */
export function averagePrecision(ranked: readonly string[], judgements: Judgements): number {
  let found = 0;
  let sum = 0;
  for (const [at, id] of ranked.entries()) {
    if (!isRelevant(judgements, id)) continue;
    found++;
    sum += found / (at + 1);
  }
  return over(sum, relevantCount(judgements));
}

/** Share of the first `cutoff` documents that were judged at all; 1 for an empty answer, which hides none. */
export function judgedAt(ranked: readonly string[], judgements: Judgements, cutoff: number): number {
  const seen = ranked.slice(0, cutoff);
  return seen.length === 0 ? 1 : seen.filter((id) => judgements.has(id)).length / seen.length;
}

const isRelevant = (judgements: Judgements, id: string): boolean => (judgements.get(id) ?? 0) > 0;

function relevantCount(judgements: Judgements): number {
  let count = 0;
  for (const grade of judgements.values()) if (grade > 0) count++;
  return count;
}

const discounted = (gains: readonly number[]): number =>
  gains.reduce((sum, gain, at) => sum + gain / Math.log2(at + 2), 0);

const over = (part: number, whole: number): number => (whole === 0 ? 0 : part / whole);
