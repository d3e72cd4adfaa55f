import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { SwitchyardError } from '../../errors.js';
import { sha256Hex, summariseFile } from '../../files/hash.js';
import { createTemporaryFolder, publishFolder, reapTemporaryFolders } from '../../files/publish.js';
import { bundleFolder } from '../../index/bundle-folder.js';
import { INDEX_FILE, MANIFEST_FILE } from '../../index/file-names.js';
import type { Bundle } from '../../index/manifest.js';
import { checkManifest } from '../../index/manifest-schema.js';
import { readBundle } from '../../index/read-bundle.js';
import { verifyBundle } from '../../index/verify-bundle.js';
import { packageVersion } from '../../package-root.js';
import type { Digest } from '../../vocabulary.js';
import {
  ARCHIVE_MANIFEST_FILE,
  ARCHIVED_INDEX_FILE,
  type ArchiveManifest,
  BUNDLE_MANIFEST_FILE,
  corruptArchive,
  parseArchiveManifest,
} from './archive-manifest.js';
import { runArchiveThread } from './archive-thread.js';
import type { ArchiveStore, StoredFile } from './store-types.js';

const MANIFEST_BYTES_MAX = 16 << 20;

export interface ArchiveEvents {
  readonly onRows?: (done: number, total: number) => void;
  readonly onFile?: (name: string) => void;
}

export interface WrittenArchive {
  /** Of archive.json: names this very archive. */
  readonly sha256: string;
  readonly manifest: ArchiveManifest;
  /** For another process. */
  readonly uri: string;
  readonly bytes: number;
}

/** Folder of an archive within its store. */
export const archiveName = (corpus: string, version: string, build: string): string =>
  `${corpus}/${version}/${build.slice(0, 16)}`;

/**
 * Writes all of a bundle into a store: rows as Parquet, the graph as it is served, and last the manifest with every
 * file's checksum. A killed run is simply run again: what is there already is not sent again.
 * Errors: CORRUPT_BUNDLE, ARCHIVE_UNAVAILABLE, DISK_FULL; the signal's reason.
 */
export async function archiveBundle(
  bundle: Bundle,
  store: ArchiveStore,
  events: ArchiveEvents,
  signal: AbortSignal,
): Promise<WrittenArchive> {
  const { manifest, digest, folder } = bundle;
  const name = archiveName(manifest.corpus, manifest.version, digest);
  await verifyBundle(bundle, { signal });
  const parent = path.dirname(folder);
  await reapTemporaryFolders(parent);
  const staging = await createTemporaryFolder(parent);
  try {
    const files: Record<string, StoredFile & { readonly rows?: number }> = {};
    const put = async (file: string, from: string, content: StoredFile, rows?: number): Promise<void> => {
      signal.throwIfAborted();
      await store.put(`${name}/${file}`, from, content);
      files[file] = { ...content, ...(rows === undefined ? {} : { rows }) };
      events.onFile?.(file);
    };
    await runArchiveThread(
      { kind: 'write', bundleFolder: folder, folder: staging },
      {
        onRows: (done) => events.onRows?.(done, manifest.row_count),
        onFile: async ({ name: part, bytes, sha256, rows }) => {
          await put(part, path.join(staging, part), { bytes, sha256 }, rows);
          await rm(path.join(staging, part));
        },
      },
      signal,
    );
    const index = manifest.files[INDEX_FILE];
    if (index !== undefined) await put(ARCHIVED_INDEX_FILE, path.join(folder, INDEX_FILE), index);
    const own = path.join(folder, MANIFEST_FILE);
    await put(BUNDLE_MANIFEST_FILE, own, await summariseFile(own));
    const written: ArchiveManifest = {
      format_version: 1,
      corpus: manifest.corpus,
      version: manifest.version,
      build: digest,
      model: manifest.model,
      dimensions: manifest.full_dimensions,
      metric: manifest.metric,
      row_count: manifest.row_count,
      document_count: manifest.document_count,
      watermark: manifest.source.watermark,
      files: Object.fromEntries(Object.entries(files).sort(([a], [b]) => (a < b ? -1 : 1))),
      writer: `switchyard@${packageVersion()}`,
    };
    const text = `${JSON.stringify(written, null, 2)}\n`;
    const file = path.join(staging, ARCHIVE_MANIFEST_FILE);
    await writeFile(file, text);
    const content = { bytes: Buffer.byteLength(text), sha256: sha256Hex(text) };
    await store.put(`${name}/${ARCHIVE_MANIFEST_FILE}`, file, content);
    const bytes = Object.values(files).reduce((sum, { bytes }) => sum + bytes, content.bytes);
    return { sha256: content.sha256, manifest: written, uri: `${store.uri}/${name}`, bytes };
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/** Reads what an archive says of itself. Errors: CORRUPT_ARCHIVE, ARCHIVE_UNAVAILABLE. */
export async function readArchiveManifest(
  store: ArchiveStore,
  name: string,
): Promise<{ readonly manifest: ArchiveManifest; readonly sha256: string }> {
  const place = `${store.uri}/${name}`;
  const pieces = await store.read(`${name}/${ARCHIVE_MANIFEST_FILE}`);
  if (pieces === null)
    throw corruptArchive(
      place,
      ARCHIVE_MANIFEST_FILE,
      'it is missing: there is no archive, or it was never finished',
    );
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of pieces) {
    bytes += piece.length;
    if (bytes > MANIFEST_BYTES_MAX) throw corruptArchive(place, ARCHIVE_MANIFEST_FILE, 'it is too long');
    parts.push(piece);
  }
  const whole = Buffer.concat(parts);
  return { manifest: parseArchiveManifest(whole, place), sha256: sha256Hex(whole) };
}

/**
 * Reads every byte of an archive where it lies, and compares it with its manifest.
 * Errors: CORRUPT_ARCHIVE naming the file, ARCHIVE_UNAVAILABLE; the signal's reason.
 */
export async function verifyArchiveIn(
  store: ArchiveStore,
  name: string,
  signal: AbortSignal,
): Promise<{ readonly manifest: ArchiveManifest; readonly sha256: string }> {
  const read = await readArchiveManifest(store, name);
  for (const [file, content] of Object.entries(read.manifest.files)) {
    for await (const _piece of checkedPieces(store, name, file, content)) signal.throwIfAborted();
  }
  return read;
}

/** The pieces of a file, which fails at its end when it is another one. */
async function* checkedPieces(
  store: ArchiveStore,
  name: string,
  file: string,
  { bytes, sha256 }: StoredFile,
): AsyncGenerator<Uint8Array> {
  const place = `${store.uri}/${name}`;
  const pieces = await store.read(`${name}/${file}`);
  if (pieces === null) throw corruptArchive(place, file, 'it is missing');
  const hash = createHash('sha256');
  let read = 0;
  for await (const piece of pieces) {
    hash.update(piece);
    read += piece.length;
    yield piece;
  }
  if (read !== bytes) throw corruptArchive(place, file, `it has ${read} bytes, the manifest says ${bytes}`);
  if (hash.digest('hex') !== sha256) throw corruptArchive(place, file, 'its SHA-256 is another one');
}

/**
 * Rebuilds the bundle that was archived, to the byte: the same digest, the same answers. Published like any build.
 * Errors: CORRUPT_ARCHIVE naming the file, ARCHIVE_UNAVAILABLE, DISK_FULL; the signal's reason. After any of them nothing
 * is left behind.
 */
export async function restoreBundle(
  store: ArchiveStore,
  name: string,
  bundlesFolder: string,
  events: ArchiveEvents,
  signal: AbortSignal,
): Promise<Bundle> {
  const { manifest } = await readArchiveManifest(store, name);
  const final = bundleFolder(bundlesFolder, manifest.corpus, manifest.version, manifest.build as Digest);
  const parent = path.dirname(final);
  await mkdir(parent, { recursive: true });
  await reapTemporaryFolders(parent);
  const fetched = await createTemporaryFolder(parent);
  const temporary = await createTemporaryFolder(parent);
  try {
    for (const [file, content] of Object.entries(manifest.files)) {
      signal.throwIfAborted();
      await pipeline(
        checkedPieces(store, name, file, content),
        createWriteStream(path.join(folderOf(file, fetched, temporary), file), { flags: 'wx' }),
        { signal },
      );
      events.onFile?.(file);
    }
    await runArchiveThread(
      {
        kind: 'restore',
        archiveFolder: fetched,
        parts: Object.keys(manifest.files)
          .filter((file) => file.endsWith('.parquet'))
          .sort(),
        manifest: await bundleManifest(temporary, manifest, `${store.uri}/${name}`),
        folder: temporary,
      },
      { onRows: (done) => events.onRows?.(done, manifest.row_count) },
      signal,
    );
    await publishFolder(temporary, final);
    const bundle = await readBundle(final);
    await verifyBundle(bundle, { signal });
    return bundle;
  } finally {
    await rm(fetched, { recursive: true, force: true });
    await rm(temporary, { recursive: true, force: true });
  }
}

/** Rows are fetched beside, everything else to where it belongs. */
const folderOf = (file: string, fetched: string, temporary: string): string =>
  file.endsWith('.parquet') ? fetched : temporary;

async function bundleManifest(temporary: string, { build }: ArchiveManifest, place: string) {
  const bytes = await readFile(path.join(temporary, BUNDLE_MANIFEST_FILE));
  if (sha256Hex(bytes) !== build)
    throw corruptArchive(place, BUNDLE_MANIFEST_FILE, 'it is of another build than the archive');
  const manifest = checkManifest(JSON.parse(bytes.toString('utf8')));
  if (typeof manifest === 'string') throw corruptArchive(place, BUNDLE_MANIFEST_FILE, manifest);
  return manifest;
}

/** Splits the address of an archive into its store's and its name. Errors: INVALID_ARGUMENT. */
export function splitArchiveUri(uri: string): { readonly storeUri: string; readonly name: string } {
  const found = /^(.+)\/([^/]+\/[^/]+\/[0-9a-f]{16})\/?$/.exec(uri);
  const [, storeUri, name] = found ?? [];
  if (storeUri === undefined || name === undefined)
    throw new SwitchyardError(
      'INVALID_ARGUMENT',
      `${uri} does not name an archive: expected <place>/<corpus>/<version>/<16 hex of the build>`,
    );
  return { storeUri, name };
}
