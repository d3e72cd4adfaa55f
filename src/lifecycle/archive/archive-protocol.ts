import type { ErrorFrame } from '../../errors.js';
import type { BundleManifest } from '../../index/manifest.js';

/** What the archiving thread is told. Parquet is compressed and read there: nothing of it holds up the event loop. */
export type ArchiveJob =
  | { readonly kind: 'write'; readonly bundleFolder: string; readonly folder: string }
  | {
      /** The files of a bundle but its index, from the Parquet files of an archive. */
      readonly kind: 'restore';
      readonly archiveFolder: string;
      readonly parts: readonly string[];
      readonly manifest: BundleManifest;
      readonly folder: string;
    };

export interface ArchiveThreadData {
  readonly job: ArchiveJob;
  /** One Int32; anything but 0 means stop at the next step. */
  readonly cancel: SharedArrayBuffer;
}

export type FromArchiveThread =
  /** A file is whole; the next one is written once the answer `next` came. */
  | {
      readonly kind: 'file';
      readonly name: string;
      readonly bytes: number;
      readonly sha256: string;
      readonly rows: number;
    }
  | { readonly kind: 'progress'; readonly rowsDone: number }
  | { readonly kind: 'finished' }
  | { readonly kind: 'failed'; readonly error: ErrorFrame }
  | { readonly kind: 'stopped' };
