import type { ErrorFrame } from '../errors.js';
import type { Compaction } from './compaction.js';
import type { BundleFile } from './manifest.js';
import type { RecallSample } from './recall.js';
import type { SearchableManifest } from './row-searcher.js';

/** Messages between the event loop that reads the corpus and the thread that writes the bundle. */
export interface BuildWorkerData {
  readonly folder: string;
  readonly manifest: Omit<SearchableManifest, 'row_count' | 'document_count'>;
  readonly threads: number;
  readonly recall: RecallSample;
  readonly storeDocuments: boolean;
  readonly storeProvenance: boolean;
  /** One Int32; anything but 0 means stop at the next step. */
  readonly cancel: SharedArrayBuffer;
}

export interface BuildBlock {
  readonly kind: 'block';
  readonly firstRow: number;
  /** Written now and linked in at the end, when it is known where its rows come to lie. */
  readonly isDeferred: boolean;
  /** rows × dimensions; transferred. */
  readonly vectors: Float32Array<ArrayBuffer>;
  /** Lines of documents.jsonl; empty without stored documents. */
  readonly documents: Uint8Array<ArrayBuffer>;
  /** Records of provenance.bin; empty where none are stored. */
  readonly provenance: Uint8Array<ArrayBuffer>;
}

export type ToBuildWorker =
  | BuildBlock
  | {
      readonly kind: 'finish';
      readonly rowCount: number;
      readonly documentCount: number;
      /** ids.bin in order. */
      readonly ids: readonly Uint8Array[];
      /** documents.offsets, of all rows that were linked in; null without stored documents. */
      readonly documentOffsets: Uint8Array | null;
      /** Rows that were linked in as they came: the first ones. */
      readonly linkedCount: number;
      /** Of rows that were taken out again; null where there are none. */
      readonly compaction: Compaction | null;
    }
  | { readonly kind: 'stop' };

export interface BuiltFiles {
  readonly files: Readonly<Record<string, BundleFile>>;
  readonly recall: { readonly value: number; readonly sampleCount: number };
  readonly unreachableCount: number;
}

export type FromBuildWorker =
  | { readonly kind: 'added'; readonly rowsDone: number }
  | { readonly kind: 'progress'; readonly phase: 'save' | 'recall'; readonly rowsDone: number }
  | ({ readonly kind: 'finished' } & BuiltFiles)
  | { readonly kind: 'failed'; readonly error: ErrorFrame }
  | { readonly kind: 'stopped' };
