import { lstat, readFile } from 'node:fs/promises';
import path from 'node:path';
import { SwitchyardError } from '../errors.js';
import { sha256Hex } from '../files/hash.js';
import { type Digest, digestPrefix } from '../vocabulary.js';
import { INDEX_FILE, MANIFEST_FILE } from './file-names.js';
import { formatOf, vectorBytes } from './formats.js';
import type { Bundle, BundleManifest } from './manifest.js';
import { checkManifest } from './manifest-schema.js';
import { readUsearchHeader, type UsearchHeader } from './usearch-header.js';

const USEARCH_VERSION_MAJOR = 2;

export function corruptBundle(folder: string, file: string, what: string): SwitchyardError {
  return new SwitchyardError('CORRUPT_BUNDLE', `${file} in ${folder}: ${what}; build or fetch it again`, {
    details: { file, folder: path.basename(folder) },
  });
}

/**
 * A bundle as its manifest describes it: schema, digest against the folder's name, sizes of all files, and the header
 * of index.usearch. Cheap; the contents are hashed by `verifyBundle`, and nothing is searched before they were.
 * Errors: CORRUPT_BUNDLE with the file's name, UNKNOWN_BUILD when there is no such folder.
 */
export async function readBundle(folderGiven: string): Promise<Bundle> {
  const folder = path.resolve(folderGiven);
  const bytes = await readManifestBytes(folder);
  const digest = sha256Hex(bytes) as Digest;
  const manifest = parseBundleManifest(folder, bytes);
  if (digestPrefix(digest) !== path.basename(folder))
    throw corruptBundle(
      folder,
      MANIFEST_FILE,
      `its digest starts with ${digestPrefix(digest)}, the folder's name is ${path.basename(folder)}: it was edited or moved`,
    );
  for (const [name, file] of Object.entries(manifest.files)) await checkSize(folder, name, file.bytes);
  await checkIndexHeader(folder, manifest);
  return Object.freeze({ folder, digest, manifest });
}

async function readManifestBytes(folder: string): Promise<Buffer> {
  try {
    return await readFile(path.join(folder, MANIFEST_FILE));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR')
      throw new SwitchyardError('UNKNOWN_BUILD', `there is no bundle in ${folder}`, { cause: error });
    throw error;
  }
}

/** Errors: CORRUPT_BUNDLE. */
export function parseBundleManifest(folder: string, bytes: Uint8Array): BundleManifest {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw corruptBundle(folder, MANIFEST_FILE, 'it is not JSON');
  }
  const manifest = checkManifest(value);
  if (typeof manifest === 'string') throw corruptBundle(folder, MANIFEST_FILE, manifest);
  return manifest;
}

async function checkSize(folder: string, name: string, bytes: number): Promise<void> {
  try {
    const stat = await lstat(path.join(folder, name));
    if (!stat.isFile()) throw corruptBundle(folder, name, 'it is not a plain file');
    if (stat.size !== bytes)
      throw corruptBundle(folder, name, `it has ${stat.size} bytes, the manifest says ${bytes}`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw corruptBundle(folder, name, 'it is missing');
    throw error;
  }
}

/** usearch silently takes metric, dtype, dimensions and connectivity from the file, so the check is ours. */
async function checkIndexHeader(folder: string, manifest: BundleManifest): Promise<void> {
  const header = await readUsearchHeader(path.join(folder, INDEX_FILE));
  if (typeof header === 'string') throw corruptBundle(folder, INDEX_FILE, header);
  const expected: Partial<UsearchHeader> = {
    versionMajor: USEARCH_VERSION_MAJOR,
    rowCount: manifest.row_count,
    vectorBytes: vectorBytes(manifest.quantization, manifest.dimensions),
    metric: formatOf(manifest).usearchMetric,
    quantization: manifest.quantization,
    presentCount: manifest.row_count,
    deletedCount: 0,
    dimensions: manifest.dimensions,
    multi: false,
    graphSize: manifest.row_count,
    connectivity: manifest.connectivity,
  };
  for (const [field, value] of Object.entries(expected) as [keyof UsearchHeader, unknown][])
    if (header[field] !== value)
      throw corruptBundle(
        folder,
        INDEX_FILE,
        `its header says ${field} ${header[field]}, the manifest says ${value}`,
      );
  if (header.entrySlot >= header.rowCount)
    throw corruptBundle(folder, INDEX_FILE, 'its entry point is outside the graph');
}
