import type { EmbeddingCache } from './embedding-cache.js';
import type { ResultCache } from './result-cache.js';

/** The caches of a gateway; null where one is off. */
export interface QueryCaches {
  readonly embeddings: EmbeddingCache | null;
  readonly results: ResultCache | null;
}

export const NO_CACHES: QueryCaches = Object.freeze({ embeddings: null, results: null });
