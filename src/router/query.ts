import type { Hit } from '../index/search-index.js';
import type { Span } from '../telemetry/trace.js';
import type { Digest, Fingerprint, InputRole, Priority, Revision, Tier } from '../vocabulary.js';

export type QueryInput =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'vector'; readonly values: Float32Array };

/** One search as the faces hand it down: shapes checked, limits not yet exceeded, no wire types left. */
export interface SearchCall {
  readonly corpus: string;
  readonly query: QueryInput;
  readonly topK: number;
  /** name@version or fingerprint; null when absent. Required with a vector (MODEL_REQUIRED). */
  readonly model: string | null;
  /** Pins a corpus version; null when absent. */
  readonly corpusVersion: string | null;
  readonly affinityKey: string | null;
  readonly withDocument: boolean;
  /** Neither answered from a cache nor remembered in one. */
  readonly bypassCache: boolean;
  /** The lane it takes in the encoder and the search workers. */
  readonly priority: Priority;
  /** `performance.now()` after which the answer is worthless. */
  readonly deadlineAtMs: number;
  /** Absent where the request is not traced. */
  readonly trace?: Span;
}

export type ResultCacheUse = 'HIT' | 'MISS' | 'BYPASS';

export interface ServedBy {
  readonly corpusVersion: string;
  readonly build: Digest;
  readonly model: string;
  readonly fingerprint: Fingerprint;
  readonly routeRevision: Revision;
  readonly tier: Tier;
  /** HIT: neither encoded nor searched. MISS: it was, for this call or for an equal one at the same time. */
  readonly resultCache: ResultCacheUse;
}

export interface SearchOutcome {
  readonly queryId: string;
  readonly hits: readonly Hit[];
  /** The same hits as bytes of `repeated Hit hits = 2` of SearchResponse, where they are encoded already. */
  readonly hitsWire?: Buffer;
  readonly servedBy: ServedBy;
  readonly degraded: readonly string[];
  readonly timings: {
    readonly queueUs: number;
    readonly encodeUs: number;
    readonly searchUs: number;
    readonly totalUs: number;
  };
}

export interface EmbedCall {
  readonly model: string;
  readonly text: string;
  readonly role: InputRole;
  readonly priority: Priority;
  readonly deadlineAtMs: number;
  readonly trace?: Span;
}

export interface EmbedOutcome {
  readonly model: string;
  readonly fingerprint: Fingerprint;
  readonly values: Float32Array;
  readonly tokenCount: number;
  readonly truncated: boolean;
  /** Time in the encoder's queue; 0 where the vector was remembered. */
  readonly queueUs: number;
}

/** What the faces call. Every failure is a SwitchyardError. */
export interface QueryService {
  search(call: SearchCall): Promise<SearchOutcome>;
  /** Every call is answered or has its error; all read one route snapshot (invariant 2). All calls name one corpus. */
  batchSearch(calls: readonly SearchCall[]): Promise<readonly (SearchOutcome | Error)[]>;
  embed(call: EmbedCall): Promise<EmbedOutcome>;
  /** Per corpus: can it answer now; and what is worse than it should be. Feeds health and /readyz. */
  health(): QueryHealth;
}

export interface QueryHealth {
  readonly ready: boolean;
  readonly corpora: readonly {
    readonly corpus: string;
    readonly serving: boolean;
    readonly why: string | null;
  }[];
  readonly degraded: readonly string[];
}
