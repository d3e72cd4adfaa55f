import type { ErrorFrame } from '../../errors.js';
import type { Metric, Quantization } from '../../vocabulary.js';

export interface TuneFormat {
  readonly quantization: Quantization;
  /** Of the graph; fewer than the vectors have for a truncated build. */
  readonly dimensions: number;
}

/** What one format with one search expansion gives on a corpus. Times are of one thread, with everything in memory. */
export interface TuneRow extends TuneFormat {
  readonly rescored: boolean;
  readonly expansionSearch: number;
  readonly recallAt10: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** index.usearch. */
  readonly indexBytesPerRow: number;
  /** What tier dram holds: with the whole vectors where hits are rescored. */
  readonly dramBytesPerRow: number;
  readonly buildMs: number;
}

export interface TuneWorkerData {
  /** vectors.f32 of a verified bundle. */
  readonly vectors: string;
  readonly rowCount: number;
  readonly dimensions: number;
  readonly metric: Metric;
  readonly connectivity: number;
  readonly expansionAdd: number;
  readonly formats: readonly TuneFormat[];
  readonly expansions: readonly number[];
  /** Rows of the indexes that are measured, at most. */
  readonly rowsMax: number;
  /** n × dimensions; null: so many rows are held out of the indexes and searched for. */
  readonly queries: Float32Array | null;
  readonly heldOutCount: number;
  readonly seed: number;
  readonly threads: number;
  /** Empty and the caller's to remove. */
  readonly folder: string;
  /** One Int32; anything but 0 means stop at the next step. */
  readonly cancel: SharedArrayBuffer;
}

export type FromTuneWorker =
  | { readonly kind: 'started'; readonly rowCount: number; readonly queryCount: number }
  | { readonly kind: 'progress'; readonly format: number; readonly rowsDone: number }
  | { readonly kind: 'measured'; readonly row: TuneRow }
  /** The format does not go with these vectors. */
  | { readonly kind: 'left_out'; readonly format: TuneFormat; readonly why: string }
  | { readonly kind: 'finished' }
  | { readonly kind: 'stopped' }
  | { readonly kind: 'failed'; readonly error: ErrorFrame };
