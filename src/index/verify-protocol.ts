import type { ErrorFrame } from '../errors.js';
import type { FileIdentity } from './file-identity.js';
import type { BundleFile } from './manifest.js';

export interface VerifyWorkerData {
  readonly folder: string;
  readonly files: Readonly<Record<string, BundleFile>>;
  /** Files to hash; the others are left alone, but for ids.bin and index.usearch, which opening reads anyway. */
  readonly hash: 'all' | 'ids';
  /** Filled with ids.bin, so that what is used is what was hashed; null when the caller has no use for it. */
  readonly ids: SharedArrayBuffer | null;
  readonly rowCount: number;
  readonly documentCount: number;
  /** One Int32; anything but 0 means stop at the next block. */
  readonly cancel: SharedArrayBuffer;
}

export type Identities = Readonly<Record<string, FileIdentity>>;

export type FromVerifyWorker =
  | { readonly kind: 'verified'; readonly identities: Identities }
  | { readonly kind: 'failed'; readonly error: ErrorFrame }
  | { readonly kind: 'stopped' };
