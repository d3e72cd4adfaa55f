import type { Metric } from '../vocabulary.js';
import { exactDistance, normOf } from './distances.js';
import { type ExactHits, exactNearestRows } from './exact-search.js';
import type { RowHits } from './graph.js';
import { SeededRandom } from './seeded-random.js';
import type { VectorsFile } from './vectors-file.js';

export const RECALL_DEPTH = 10;
/** Noise added to a sampled row, relative to its norm: a row that searches for itself flatters the index. */
const NOISE = 0.1;
/** float32 sums of another order differ by this much; equal texts have equal vectors, and either row is right. */
const TIE_TOLERANCE = 1e-5;

export interface RecallSample {
  readonly sampleCount: number;
  readonly seed: number;
}

export interface RecallTarget {
  readonly metric: Metric;
  readonly vectors: VectorsFile;
  search(query: Float32Array, count: number): RowHits;
}

/**
 * Share of the exact ten nearest rows that the index returns, over slightly perturbed rows of its own, rounded to
 * four decimals. A returned row counts when it is as near as the tenth exact one, so ties do not depend on luck.
 */
export function measureRecall(
  target: RecallTarget,
  sample: RecallSample,
  threads: number,
  beforeStep: (rowsDone: number) => void,
): { readonly value: number; readonly sampleCount: number } {
  const { vectors, metric } = target;
  const sampleCount = Math.min(sample.sampleCount, vectors.rowCount);
  const queries = perturbedRows(vectors, sampleCount, new SeededRandom(sample.seed));
  const exact = exactNearestRows(vectors, metric, queries, RECALL_DEPTH, threads, beforeStep);
  const value = recallAgainst(target, queries, exact, () => beforeStep(vectors.rowCount));
  return { value: Math.round(value * 10_000) / 10_000, sampleCount };
}

/** Share of the exact rows, or of ones as near as the last of them, that the index returns. `queries`: n × dimensions. */
export function recallAgainst(
  target: RecallTarget,
  queries: Float32Array,
  exact: ExactHits,
  beforeQuery: () => void,
): number {
  const { vectors, metric } = target;
  const queryCount = queries.length / vectors.dimensions;
  let found = 0;
  for (let i = 0; i < queryCount; i++) {
    beforeQuery();
    const query = queries.slice(i * vectors.dimensions, (i + 1) * vectors.dimensions);
    const norm = normOf(query);
    const farthest = exact.distances[(i + 1) * exact.count - 1] as number;
    const limit = farthest + TIE_TOLERANCE * (1 + Math.abs(farthest));
    const truth = new Set(exact.rows.subarray(i * exact.count, (i + 1) * exact.count));
    for (const row of target.search(query, exact.count).rows)
      if (truth.has(row) || exactDistance(metric, query, norm, vectors.row(row), 0) <= limit) found++;
  }
  return found / (queryCount * exact.count);
}

export function perturbedRows(vectors: VectorsFile, sampleCount: number, random: SeededRandom): Float32Array {
  const { dimensions } = vectors;
  const queries = new Float32Array(sampleCount * dimensions);
  for (let i = 0; i < sampleCount; i++) {
    const row = vectors.row(random.below(vectors.rowCount));
    const deviation = (NOISE * normOf(row)) / Math.sqrt(dimensions);
    for (let d = 0; d < dimensions; d++)
      queries[i * dimensions + d] = (row[d] as number) + deviation * random.normal();
  }
  return queries;
}
