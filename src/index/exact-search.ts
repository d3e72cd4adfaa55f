import type { Metric } from '../vocabulary.js';
import { USEARCH_METRICS } from './formats.js';
import { exactBlock } from './graph.js';
import { measureNorm, scaleToUnit } from './vector-check.js';
import type { VectorsFile } from './vectors-file.js';

export interface ExactHits {
  /** queries × count, row-major, nearest first. */
  readonly rows: Uint32Array;
  readonly distances: Float32Array;
  readonly count: number;
}

/**
 * The exact nearest `count` rows (at most rowCount) of each query, streamed from vectors.f32 in blocks, so memory
 * stays flat. The ground truth of every recall figure. `beforeBlock` is called with the rows done so far.
 */
export function exactNearestRows(
  vectors: VectorsFile,
  metric: Metric,
  queries: Float32Array,
  wanted: number,
  threads: number,
  beforeBlock: (rowsDone: number) => void,
): ExactHits {
  const { dimensions } = vectors;
  const count = Math.min(wanted, vectors.rowCount);
  const queryCount = queries.length / dimensions;
  // The inner product of unit vectors is their cosine, and takes a third less time than measuring it.
  const isCosine = metric === 'cosine';
  const asked = isCosine ? toUnit(queries.slice(), dimensions) : queries;
  const kernel = isCosine ? 'ip' : USEARCH_METRICS[metric];
  const rows = new Uint32Array(queryCount * count);
  const distances = new Float32Array(queryCount * count).fill(Number.POSITIVE_INFINITY);
  for (const { firstRow, values } of vectors.blocks(count)) {
    beforeBlock(firstRow);
    const here = Math.min(count, values.length / dimensions);
    const block = isCosine ? toUnit(values, dimensions) : values;
    const found = exactBlock(block, asked, dimensions, here, kernel, threads);
    for (let query = 0; query < queryCount; query++)
      for (let i = 0; i < here; i++) {
        const distance = found.distances[query * here + i] as number;
        const row = firstRow + Number(found.keys[query * here + i]);
        if (!insert(rows, distances, query * count, count, row, distance)) break;
      }
  }
  return { rows, distances, count };
}

/** In place. */
function toUnit(vectors: Float32Array, dimensions: number): Float32Array {
  for (let offset = 0; offset < vectors.length; offset += dimensions)
    scaleToUnit(vectors, offset, dimensions, measureNorm(vectors, offset, dimensions));
  return vectors;
}

/** Into a sorted stretch of `count`; false when it was too far to enter. Equal distances keep the earlier one. */
function insert(
  rows: Uint32Array,
  distances: Float32Array,
  start: number,
  count: number,
  row: number,
  distance: number,
): boolean {
  let at = start + count - 1;
  if (!(distance < (distances[at] as number))) return false;
  while (at > start && distance < (distances[at - 1] as number)) {
    distances[at] = distances[at - 1] as number;
    rows[at] = rows[at - 1] as number;
    at--;
  }
  distances[at] = distance;
  rows[at] = row;
  return true;
}
