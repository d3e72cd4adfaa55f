import type { RowHits } from './graph.js';
import type { IdTable } from './ids-file.js';
import type { RowSearcher } from './row-searcher.js';

/** Rows fetched per wanted document at first, at most: long documents are rarely all near one query. */
const CHUNKS_PER_DOCUMENT_MAX = 4;
const WIDENING = 4;

/**
 * The best row of each of the nearest `topK` documents. Rows are over-fetched until there are enough documents;
 * where the graph cannot give them (it was asked for everything, or reaches fewer rows than it was asked for),
 * one exact pass does, so that fewer than `topK` come back only when the build has fewer documents.
 */
export function searchDocuments(
  searcher: RowSearcher,
  ids: IdTable,
  query: Float32Array,
  topK: number,
): RowHits {
  const wanted = Math.min(topK, ids.documentCount);
  const oneRowEach = ids.documentCount === ids.rowCount;
  const chunksEach = Math.min(CHUNKS_PER_DOCUMENT_MAX, ids.rowCount / ids.documentCount);
  let count = oneRowEach ? wanted : Math.min(ids.rowCount, Math.ceil(wanted * chunksEach) + 1);
  for (;;) {
    const hits = searcher.search(query, count);
    const best = oneRowEach ? hits : bestRows(hits, ids, wanted);
    if (best.rows.length >= wanted) return best;
    if (hits.rows.length < count || count >= ids.rowCount)
      return exactDocuments(searcher, ids, query, wanted);
    count = Math.min(ids.rowCount, count * WIDENING);
  }
}

/** The first row of each document, up to `wanted` documents. */
function bestRows({ rows, distances }: RowHits, ids: IdTable, wanted: number): RowHits {
  const seen = new Set<number>();
  const bestRow = new Uint32Array(wanted);
  const bestDistance = new Float32Array(wanted);
  for (let i = 0; i < rows.length && seen.size < wanted; i++) {
    const ordinal = ids.ordinals[rows[i] as number] as number;
    if (seen.has(ordinal)) continue;
    bestRow[seen.size] = rows[i] as number;
    bestDistance[seen.size] = distances[i] as number;
    seen.add(ordinal);
  }
  return { rows: bestRow.subarray(0, seen.size), distances: bestDistance.subarray(0, seen.size) };
}

function exactDocuments(searcher: RowSearcher, ids: IdTable, query: Float32Array, wanted: number): RowHits {
  const distances = searcher.scan(query);
  const bestRow = new Int32Array(ids.documentCount).fill(-1);
  for (let row = 0; row < distances.length; row++) {
    const ordinal = ids.ordinals[row] as number;
    const best = bestRow[ordinal] as number;
    if (best < 0 || (distances[row] as number) < (distances[best] as number)) bestRow[ordinal] = row;
  }
  const rows = Uint32Array.from(bestRow)
    .sort((a, b) => (distances[a] as number) - (distances[b] as number) || a - b)
    .slice(0, wanted);
  return { rows, distances: Float32Array.from(rows, (row) => distances[row] as number) };
}
