import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { sha256Hex, summariseFile } from '../../files/hash.js';
import { createTemporaryFolder, reapTemporaryFolders } from '../../files/publish.js';
import { INDEX_FILE, MANIFEST_FILE } from '../../index/file-names.js';
import type { Bundle } from '../../index/manifest.js';
import { verifyBundle } from '../../index/verify-bundle.js';
import { packageVersion } from '../../package-root.js';
import {
  ARCHIVE_MANIFEST_FILE,
  ARCHIVED_INDEX_FILE,
  type ArchiveManifest,
  BUNDLE_MANIFEST_FILE,
} from './archive-manifest.js';
import { archiveName } from './archive-name.js';
import { runArchiveThread } from './archive-thread.js';
import type { ArchiveStore, StoredFile } from './store-types.js';

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

/**
 * Writes all of a bundle into a store: rows as Parquet, the graph as it is served, and last the manifest with every
 * file's checksum. A killed run is simply run again: what is there already is not sent again. `readBack`: it is read to know
 * that, after a verification that failed. Errors: CORRUPT_BUNDLE, ARCHIVE_UNAVAILABLE, DISK_FULL; the signal's reason.
 */
export async function archiveBundle(
  bundle: Bundle,
  store: ArchiveStore,
  events: ArchiveEvents,
  signal: AbortSignal,
  readBack = false,
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
      await store.put(`${name}/${file}`, from, content, readBack);
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
    await store.put(`${name}/${ARCHIVE_MANIFEST_FILE}`, file, content, readBack);
    const bytes = Object.values(files).reduce((sum, { bytes }) => sum + bytes, content.bytes);
    return { sha256: content.sha256, manifest: written, uri: `${store.uri}/${name}`, bytes };
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}
