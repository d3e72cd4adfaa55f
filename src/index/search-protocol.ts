import type { ErrorFrame } from '../errors.js';
import type { SearchFiles } from './placement.js';
import type { SearchableManifest } from './row-searcher.js';
import type { Identities } from './verify-protocol.js';

/** Messages between the event loop and a search worker. One message carries a group of queries, one its answers. */
export interface OpenMessage {
  readonly kind: 'open';
  /** Number of the index within its pool. */
  readonly index: number;
  readonly folder: string;
  /** Where index.usearch and vectors.f32 are read from; in the folder, or copies in memory. */
  readonly files: SearchFiles;
  readonly manifest: SearchableManifest;
  /** ids.bin, shared. */
  readonly ids: SharedArrayBuffer;
  /** Of the files that were hashed; anything else is refused. */
  readonly identities: Identities;
  readonly hasDocuments: boolean;
  /** One BigInt64 that all workers add this index's major page faults to; null where they are not counted. */
  readonly majorFaults: SharedArrayBuffer | null;
}

export interface SearchWorkerData {
  /** One Int32 for the worker's thread id of the system, by which /proc counts its page faults. */
  readonly threadId: SharedArrayBuffer;
}

/** Numbers per query in `SearchMessage.queries`: index, top k, with document, deadline, length of its vector. */
export const QUERY_FIELDS = 5;

export interface SearchMessage {
  readonly kind: 'search';
  readonly group: number;
  /** QUERY_FIELDS numbers per query. The deadline is in ms of `monotonicMs`, the clock all threads share. */
  readonly queries: Float64Array;
  /** The vectors one after another. */
  readonly vectors: Float32Array;
}

export type ToSearchWorker =
  | OpenMessage
  | SearchMessage
  | { readonly kind: 'close'; readonly index: number }
  | { readonly kind: 'end' };

export const ANSWERED = 0;
export const EXPIRED = 1;
export const FAILED = 2;

export type FromSearchWorker =
  | { readonly kind: 'opened'; readonly index: number }
  | { readonly kind: 'open_failed'; readonly index: number; readonly error: ErrorFrame }
  | { readonly kind: 'closed'; readonly index: number }
  | {
      readonly kind: 'answers';
      readonly group: number;
      /** Per query: outcome, number of hits n, search time in µs, n row numbers, n distances as float32 bits. */
      readonly packed: Uint32Array;
      /** Lines of documents.jsonl of the queries that asked for them, in order; null when none did. */
      readonly documents: readonly (string | null)[] | null;
      /** Errors of the FAILED queries, in order; null when there are none. */
      readonly errors: readonly ErrorFrame[] | null;
    };

/** Milliseconds of the system's monotonic clock. `performance.now()` starts anew in every thread, this does not. */
export function monotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e3 + nanoseconds / 1e6;
}
