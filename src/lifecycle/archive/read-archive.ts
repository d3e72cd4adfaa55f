import { createHash } from 'node:crypto';
import { sha256Hex } from '../../files/hash.js';
import type { BundleManifest } from '../../index/manifest.js';
import { checkManifest } from '../../index/manifest-schema.js';
import {
  ARCHIVE_MANIFEST_FILE,
  type ArchiveManifest,
  BUNDLE_MANIFEST_FILE,
  contradiction,
  corruptArchive,
  parseArchiveManifest,
} from './archive-manifest.js';
import { archiveName } from './archive-name.js';
import type { ArchiveStore, StoredFile } from './store-types.js';

const MANIFEST_BYTES_MAX = 16 << 20;

/** Where an archive lies, and which one must lie there. */
export interface ArchivePlace {
  readonly store: ArchiveStore;
  /** Within its store: see `archiveName`. */
  readonly name: string;
  /** Of its archive.json, as it was recorded; null: it is recorded nowhere. */
  readonly sha256: string | null;
}

export interface ReadArchive {
  readonly manifest: ArchiveManifest;
  /** Of archive.json. */
  readonly sha256: string;
  /** Its manifest, to the byte, and what it says. */
  readonly bundle: { readonly bytes: Buffer; readonly manifest: BundleManifest };
}

/** For a person: where it is. */
export const addressOf = ({ store, name }: ArchivePlace): string => `${store.uri}/${name}`;

/**
 * What an archive says of itself and of its bundle: one that is of another name than its place, is not the recorded one,
 * or does not agree with its bundle's manifest is refused before anything else of it is read.
 * Errors: CORRUPT_ARCHIVE naming the file, ARCHIVE_UNAVAILABLE.
 */
export async function readArchive(place: ArchivePlace): Promise<ReadArchive> {
  const address = addressOf(place);
  const refuse = (file: string, what: string) => corruptArchive(address, file, what);
  const pieces = await place.store.read(`${place.name}/${ARCHIVE_MANIFEST_FILE}`);
  if (pieces === null)
    throw refuse(ARCHIVE_MANIFEST_FILE, 'it is missing: there is no archive, or it was never finished');
  const text = await whole(pieces, address, ARCHIVE_MANIFEST_FILE);
  const manifest = parseArchiveManifest(text, address);
  const own = archiveName(manifest.corpus, manifest.version, manifest.build);
  if (own !== place.name)
    throw refuse(ARCHIVE_MANIFEST_FILE, `it is that of ${own}, copied or moved here, or it was altered`);
  const sha256 = sha256Hex(text);
  if (place.sha256 !== null && place.sha256 !== sha256)
    throw refuse(ARCHIVE_MANIFEST_FILE, 'it is not the one that was recorded');
  const bytes = await whole(
    checkedPieces(place, BUNDLE_MANIFEST_FILE, manifest.files[BUNDLE_MANIFEST_FILE] as StoredFile),
    address,
    BUNDLE_MANIFEST_FILE,
  );
  const bundle = bundleManifest(bytes);
  if (typeof bundle === 'string') throw refuse(BUNDLE_MANIFEST_FILE, bundle);
  const field = contradiction(manifest, bundle);
  if (field !== null)
    throw refuse(ARCHIVE_MANIFEST_FILE, `its ${field} is another one than in ${BUNDLE_MANIFEST_FILE}`);
  return { manifest, sha256, bundle: { bytes, manifest: bundle } };
}

/**
 * Reads every byte of an archive where it lies, and compares it with its manifest.
 * Errors: CORRUPT_ARCHIVE naming the file, ARCHIVE_UNAVAILABLE; the signal's reason.
 */
export async function verifyArchiveIn(place: ArchivePlace, signal: AbortSignal): Promise<ReadArchive> {
  const read = await readArchive(place);
  for (const [file, content] of filesOf(read.manifest))
    for await (const _piece of checkedPieces(place, file, content)) signal.throwIfAborted();
  return read;
}

/** All but the bundle's manifest, which is read first. */
export const filesOf = ({ files }: ArchiveManifest): [string, StoredFile][] =>
  Object.entries(files).filter(([file]) => file !== BUNDLE_MANIFEST_FILE);

/** The pieces of a file, which fails when it is another one: at its end, or as soon as it is too long. */
export async function* checkedPieces(
  { store, name }: Pick<ArchivePlace, 'store' | 'name'>,
  file: string,
  { bytes, sha256 }: StoredFile,
): AsyncGenerator<Uint8Array> {
  const refuse = (what: string) => corruptArchive(`${store.uri}/${name}`, file, what);
  const pieces = await store.read(`${name}/${file}`);
  if (pieces === null) throw refuse('it is missing');
  const hash = createHash('sha256');
  let read = 0;
  for await (const piece of pieces) {
    hash.update(piece);
    read += piece.length;
    if (read > bytes) throw refuse(`it has more than the ${bytes} bytes that ${ARCHIVE_MANIFEST_FILE} says`);
    yield piece;
  }
  if (read !== bytes) throw refuse(`it has ${read} bytes, ${ARCHIVE_MANIFEST_FILE} says ${bytes}`);
  if (hash.digest('hex') !== sha256) throw refuse('its SHA-256 is another one');
}

async function whole(pieces: AsyncIterable<Uint8Array>, address: string, file: string): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of pieces) {
    bytes += piece.length;
    if (bytes > MANIFEST_BYTES_MAX) throw corruptArchive(address, file, 'it is too long');
    parts.push(piece);
  }
  return Buffer.concat(parts);
}

function bundleManifest(bytes: Buffer): BundleManifest | string {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return 'it is not JSON';
  }
  return checkManifest(value);
}
