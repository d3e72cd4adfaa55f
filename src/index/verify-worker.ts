import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import path from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { errorToFrame } from '../errors.js';
import { type FileIdentity, identifyDescriptor, isSameFile } from './file-identity.js';
import { IDS_FILE, INDEX_FILE } from './file-names.js';
import { IdTable } from './ids-file.js';
import type { BundleFile } from './manifest.js';
import { corruptBundle } from './read-bundle.js';
import type { FromVerifyWorker, VerifyWorkerData } from './verify-protocol.js';

/**
 * Entry of the verifying thread: reads every file of a bundle once, front to back. That hashes them, loads the ids,
 * and leaves index.usearch, which is read last, in the page cache (the prefault of an opening).
 */
const BLOCK_BYTES = 4 << 20;

class Cancelled extends Error {}

function verify(data: VerifyWorkerData): FromVerifyWorker {
  const identities: Record<string, FileIdentity> = {};
  const names = Object.keys(data.files).sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
  for (const name of names) {
    const isHashed = data.hash === 'all' || name === IDS_FILE;
    const isRead = isHashed || name === INDEX_FILE;
    identities[name] = isRead ? readWhole(data, name, isHashed) : identify(data, name);
  }
  if (data.ids !== null) {
    const defect = IdTable.findDefect(data.ids, data.rowCount, data.documentCount);
    if (defect !== null) throw corruptBundle(data.folder, IDS_FILE, defect);
  }
  return { kind: 'verified', identities };
}

const rank = (name: string): number => (name === INDEX_FILE ? 1 : 0);

function identify(data: VerifyWorkerData, name: string): FileIdentity {
  return withDescriptor(data, name, identifyDescriptor);
}

function withDescriptor<T>(data: VerifyWorkerData, name: string, use: (descriptor: number) => T): T {
  let descriptor: number;
  try {
    descriptor = openSync(path.join(data.folder, name), 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw corruptBundle(data.folder, name, 'it is missing');
  }
  try {
    return use(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function readWhole(data: VerifyWorkerData, name: string, isHashed: boolean): FileIdentity {
  return withDescriptor(data, name, (descriptor) => {
    const before = identifyDescriptor(descriptor);
    const expected = data.files[name] as BundleFile;
    if (Number(before.bytes) !== expected.bytes)
      throw corruptBundle(
        data.folder,
        name,
        `it has ${before.bytes} bytes, the manifest says ${expected.bytes}`,
      );
    const ids = name === IDS_FILE && data.ids !== null ? new Uint8Array(data.ids) : null;
    const sha256 = readBlocks(data, descriptor, isHashed, ids);
    if (isHashed && sha256 !== expected.sha256)
      throw corruptBundle(
        data.folder,
        name,
        `its SHA-256 is ${sha256.slice(0, 16)}…, the manifest says ${expected.sha256.slice(0, 16)}…`,
      );
    if (!isSameFile(before, identifyDescriptor(descriptor)))
      throw corruptBundle(data.folder, name, 'it was changed while it was read');
    return before;
  });
}

function readBlocks(
  data: VerifyWorkerData,
  descriptor: number,
  isHashed: boolean,
  copy: Uint8Array | null,
): string {
  const cancel = new Int32Array(data.cancel);
  const hash = createHash('sha256');
  const block = new Uint8Array(BLOCK_BYTES);
  let position = 0;
  for (;;) {
    if (Atomics.load(cancel, 0) !== 0) throw new Cancelled();
    const read = readSync(descriptor, block, 0, block.length, position);
    if (read === 0) return hash.digest('hex');
    const bytes = block.subarray(0, read);
    if (isHashed) hash.update(bytes);
    if (copy !== null && position + read <= copy.length) copy.set(bytes, position);
    position += read;
  }
}

function run(port: NonNullable<typeof parentPort>, data: VerifyWorkerData): void {
  let message: FromVerifyWorker;
  try {
    message = verify(data);
  } catch (error) {
    message =
      error instanceof Cancelled ? { kind: 'stopped' } : { kind: 'failed', error: errorToFrame(error) };
  }
  port.postMessage(message);
}

if (parentPort !== null) run(parentPort, workerData as VerifyWorkerData);
