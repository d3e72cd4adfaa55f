import type { Bundle } from './manifest.js';
import type { IndexAnswer, IndexQuery, SearchIndex } from './search-index.js';
import { type PoolOpenOptions, SearchPool, type SearchPoolOptions } from './search-pool.js';

export type OpenIndexOptions = SearchPoolOptions & PoolOpenOptions;

/** An index with a pool of its own, which ends with it. */
export interface PooledIndex extends SearchIndex {
  readonly pool: SearchPool;
}

/** Opens a bundle on a pool of its own; several indexes share workers through `SearchPool.open`. */
export async function openIndex(bundle: Bundle, options: OpenIndexOptions): Promise<PooledIndex> {
  const pool = new SearchPool(options);
  try {
    const index = await pool.open(bundle, options);
    return {
      pool,
      bundle: index.bundle,
      get unavailable() {
        return index.unavailable;
      },
      search: (query: IndexQuery): Promise<IndexAnswer> => index.search(query),
      close: () => pool.close(),
    };
  } catch (error) {
    await pool.close();
    throw error;
  }
}
