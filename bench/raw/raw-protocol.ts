import type { LatencyUs } from '../load/load-protocol.js';

/** What usearch alone is asked to do: the same file, parameters and queries as the gateway's search workers. */
export interface RawSetup {
  readonly indexFile: string;
  readonly dimensions: number;
  readonly connectivity: number;
  readonly expansionAdd: number;
  readonly expansionSearch: number;
  readonly topK: number;
  readonly workers: number;
  readonly queries: readonly Float32Array[];
  /** Per query the true nearest rows. */
  readonly truth: readonly Uint32Array[];
}

/** `closed`: every worker searches without a pause. `open`: Poisson arrivals, taken by whichever worker is free. */
export type RawRun = { readonly seconds: number; readonly from: number } & (
  | { readonly kind: 'closed' }
  | { readonly kind: 'open'; readonly perSecond: number; readonly seed: number }
);

export interface RawTimes {
  readonly queries: number;
  readonly wallMs: number;
  readonly perSecond: number;
  /** From the moment a query was due (`open`) or begun (`closed`). */
  readonly latencyUs: LatencyUs;
}

export type ToRaw =
  | { readonly kind: 'setup'; readonly setup: RawSetup }
  | { readonly kind: 'run'; readonly run: RawRun }
  /** How right the answers of the last run were: asked apart, so that it is in nobody's CPU time. */
  | { readonly kind: 'judge' };
export type FromRaw =
  | { readonly kind: 'ready' }
  | { readonly kind: 'result'; readonly result: RawTimes }
  | { readonly kind: 'judged'; readonly recall: number }
  | { readonly kind: 'failed'; readonly message: string };

/** One run as a worker hears it. */
export interface RawTask {
  /** Counts the queries taken, for all workers. */
  readonly taken: SharedArrayBuffer;
  readonly from: number;
  /** On the clock of `process.hrtime`, which all threads share. */
  readonly startMs: number;
  readonly endMs: number;
  /** When each query is due, ms from the start; null: at once. */
  readonly dueMs: Float64Array | null;
}

export interface RawTaskResult {
  readonly latenciesUs: Float64Array;
}

/** Of a worker's answers in its last run. */
export interface RawJudged {
  readonly found: number;
  readonly expected: number;
}

/** Null: end. */
export type ToRawWorker = RawTask | 'judge' | null;
