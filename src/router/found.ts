import type { Hit } from '../index/search-index.js';
import type { Fingerprint, QueryVector } from '../vocabulary.js';
import type { EncodedHits } from './encoded-hits.js';
import type { ResultCacheUse } from './query.js';

/** What one encode and search gave. */
export interface Run {
  readonly hits: readonly Hit[];
  readonly vector: QueryVector;
  readonly queueUs: number;
  readonly encodeUs: number;
  readonly searchUs: number;
}

/** The answer of one build to one question. */
export interface ResultEntry {
  readonly fingerprint: Fingerprint;
  readonly hits: EncodedHits;
}

/** What one run of a query found, for all who asked the same at that time. */
export interface FoundResult {
  readonly entry: ResultEntry;
  /** Null when it came from the cache. */
  readonly run: Run | null;
}

/** What an answer is made of, wherever it comes from. */
export interface Found {
  readonly use: ResultCacheUse;
  readonly fingerprint: Fingerprint;
  /** Null for a text that was not encoded. */
  readonly vector: QueryVector | null;
  readonly hits: readonly Hit[] | EncodedHits;
  readonly queueUs: number;
  readonly encodeUs: number;
  readonly searchUs: number;
}

/** `hits`: the run's own, encoded where they are already. */
export function ran(run: Run, use: ResultCacheUse, hits: readonly Hit[] | EncodedHits = run.hits): Found {
  const { vector, queueUs, encodeUs, searchUs } = run;
  return { use, fingerprint: vector.fingerprint, vector, hits, queueUs, encodeUs, searchUs };
}

export const remembered = ({ fingerprint, hits }: ResultEntry): Found => ({
  use: 'HIT',
  fingerprint,
  vector: null,
  hits,
  queueUs: 0,
  encodeUs: 0,
  searchUs: 0,
});
