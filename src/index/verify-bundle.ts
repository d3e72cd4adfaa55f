import { Worker } from 'node:worker_threads';
import { errorFromFrame, SwitchyardError } from '../errors.js';
import type { Digest } from '../vocabulary.js';
import { IDS_FILE } from './file-names.js';
import type { Bundle, BundleManifest } from './manifest.js';
import { readBundle } from './read-bundle.js';
import type { FromVerifyWorker, Identities, VerifyWorkerData } from './verify-protocol.js';

/** A verification is worth this long; after that the files are hashed again. */
const VERIFICATION_AGE_MAX_MS = 60_000;

/** Proof that this process hashed all files of a bundle. Only `verifyBundle` makes one that counts. */
export interface Verification {
  readonly digest: Digest;
}

interface VerifiedFiles {
  readonly folder: string;
  readonly identities: Identities;
  readonly madeAtMs: number;
}

const verified = new WeakMap<Verification, VerifiedFiles>();

/**
 * Hashes every file of a bundle on a thread of its own. Errors: CORRUPT_BUNDLE with the file's name and what differs;
 * the signal's reason when it was aborted.
 */
export async function verifyBundle(
  bundle: Bundle,
  options: { readonly signal?: AbortSignal } = {},
): Promise<Verification> {
  const current = await readAgain(bundle);
  const identities = await runThread(current, 'all', null, options.signal);
  const verification: Verification = Object.freeze({ digest: current.digest });
  verified.set(verification, { folder: current.folder, identities, madeAtMs: performance.now() });
  return verification;
}

export interface LoadedFiles {
  readonly bundle: Bundle;
  readonly ids: SharedArrayBuffer;
  readonly identities: Identities;
}

/**
 * What an opening needs: files verified (now, or by a verification of the last minute and the same files), ids in
 * shared memory, index.usearch in the page cache.
 */
export async function loadVerified(
  given: Bundle,
  verification: Verification | undefined,
  signal: AbortSignal | undefined,
): Promise<LoadedFiles> {
  const bundle = await readAgain(given);
  const earlier = verification === undefined ? undefined : verified.get(verification);
  const isFresh =
    earlier !== undefined &&
    verification?.digest === bundle.digest &&
    earlier.folder === bundle.folder &&
    performance.now() - earlier.madeAtMs < VERIFICATION_AGE_MAX_MS;
  const ids = new SharedArrayBuffer(bundle.manifest.files[IDS_FILE]?.bytes ?? 0);
  const identities = await runThread(bundle, isFresh ? 'ids' : 'all', ids, signal);
  // The workers compare with the identities of the hashed files, so a file replaced since is refused there.
  return { bundle, ids, identities: isFresh ? earlier.identities : identities };
}

/** Hashes files of a bundle that lie elsewhere, copies in memory say. Errors: CORRUPT_BUNDLE with the file's name. */
export function verifyCopies(
  folder: string,
  files: BundleManifest['files'],
  signal: AbortSignal | undefined,
): Promise<Identities> {
  return runThread({ folder, manifest: { files, row_count: 0, document_count: 0 } }, 'all', null, signal);
}

/** The caller's object is only a claim: the folder decides. */
async function readAgain(bundle: Bundle): Promise<Bundle> {
  const current = await readBundle(bundle.folder);
  if (current.digest !== bundle.digest)
    throw new SwitchyardError(
      'CORRUPT_BUNDLE',
      `manifest.json in ${bundle.folder} changed since it was read`,
      {
        details: { file: 'manifest.json' },
      },
    );
  return current;
}

function runThread(
  bundle: {
    readonly folder: string;
    readonly manifest: Pick<BundleManifest, 'files' | 'row_count' | 'document_count'>;
  },
  hash: VerifyWorkerData['hash'],
  ids: SharedArrayBuffer | null,
  signal: AbortSignal | undefined,
): Promise<Identities> {
  signal?.throwIfAborted();
  const cancel = new SharedArrayBuffer(4);
  const { manifest, folder } = bundle;
  const worker = new Worker(new URL('./verify-worker.js', import.meta.url), {
    workerData: {
      folder,
      files: manifest.files,
      hash,
      ids,
      rowCount: manifest.row_count,
      documentCount: manifest.document_count,
      cancel,
    } satisfies VerifyWorkerData,
    name: 'switchyard-verify',
  });
  const onAbort = (): void => {
    Atomics.store(new Int32Array(cancel), 0, 1);
  };
  signal?.addEventListener('abort', onAbort, { once: true });
  return new Promise<Identities>((resolve, reject) => {
    let outcome: FromVerifyWorker | null = null;
    let crash: unknown;
    worker.on('message', (message: FromVerifyWorker) => {
      outcome = message;
    });
    worker.on('error', (cause) => {
      crash = cause;
    });
    worker.on('exit', () => {
      signal?.removeEventListener('abort', onAbort);
      switch (outcome?.kind) {
        case 'verified':
          resolve(outcome.identities);
          break;
        case 'failed':
          reject(errorFromFrame(outcome.error));
          break;
        case 'stopped':
          reject(signal?.reason);
          break;
        default:
          reject(new SwitchyardError('INTERNAL', 'the verifying thread ended early', { cause: crash }));
      }
    });
  });
}
