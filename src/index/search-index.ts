import type { SwitchyardError } from '../errors.js';
import type { Lane, QueryVector } from '../vocabulary.js';
import type { Bundle } from './manifest.js';

export interface IndexQuery {
  /** Must carry the fingerprint of the bundle's model, else FINGERPRINT_MISMATCH (invariant 1). */
  readonly vector: QueryVector;
  /** Documents wanted, 1..1000. Fewer come back only when the build has fewer documents. */
  readonly topK: number;
  readonly lane: Lane;
  /** `performance.now()` of this process after which the answer is worthless; Infinity for none. */
  readonly deadlineAtMs: number;
  readonly withDocument: boolean;
}

export interface StoredDocument {
  readonly title?: string;
  readonly text?: string;
  readonly attributes?: Readonly<Record<string, unknown>>;
}

export interface Hit {
  readonly id: string;
  /** The best chunk of the document, from 0. */
  readonly chunk: number;
  /** Larger is better for every metric: cosine similarity, inner product, minus squared distance for l2. */
  readonly score: number;
  /** The metric's own: 1 − cosine, 1 − inner product, squared distance. */
  readonly distance: number;
  readonly document: StoredDocument | null;
}

export interface IndexAnswer {
  /** One hit per document, best first; equal scores in order of row number. */
  readonly hits: readonly Hit[];
  readonly queueUs: number;
  readonly searchUs: number;
}

/**
 * Anything that searches vectors of one fingerprint: a bundle on search workers today, an external engine later.
 */
export interface SearchIndex {
  readonly bundle: Bundle;
  /** Why it cannot be searched now, as the error of a search; null when it can. It comes back by itself, unless closed. */
  readonly unavailable: SwitchyardError | null;
  /** Errors: FINGERPRINT_MISMATCH, DIMENSION_MISMATCH, NON_FINITE_VECTOR, ZERO_VECTOR, DEADLINE_EXCEEDED, QUEUE_FULL, INDEX_UNAVAILABLE, INTERNAL. */
  search(query: IndexQuery): Promise<IndexAnswer>;
  /** Unmaps the files after the last search that was accepted. */
  close(): Promise<void>;
}
