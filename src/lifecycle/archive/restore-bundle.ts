import { createWriteStream } from 'node:fs';
import { lstat, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { SwitchyardError } from '../../errors.js';
import { realFolderInside } from '../../files/inside.js';
import {
  createTemporaryFolder,
  doomedName,
  publishFolder,
  reapTemporaryFolders,
} from '../../files/publish.js';
import { bundleFolder } from '../../index/bundle-folder.js';
import { MANIFEST_FILE } from '../../index/file-names.js';
import type { Bundle } from '../../index/manifest.js';
import { readBundle } from '../../index/read-bundle.js';
import { verifyBundle } from '../../index/verify-bundle.js';
import type { Digest } from '../../vocabulary.js';
import type { ArchiveEvents } from './archive.js';
import { type ArchiveManifest, corruptArchive } from './archive-manifest.js';
import { runArchiveThread } from './archive-thread.js';
import { type ArchivePlace, addressOf, checkedPieces, filesOf, readArchive } from './read-archive.js';

const isRows = (file: string): boolean => file.endsWith('.parquet');

/**
 * Rebuilds the bundle that was archived, to the byte: the same digest, the same answers. Published like any build, once
 * all of it was verified; a damaged one in its place gives way. Errors: CORRUPT_ARCHIVE naming the file,
 * ARCHIVE_UNAVAILABLE, DISK_FULL, INVALID_ARGUMENT when a link leads out of `bundlesFolder`; the signal's reason. After any
 * of them nothing is left behind.
 */
export async function restoreBundle(
  place: ArchivePlace,
  bundlesFolder: string,
  events: ArchiveEvents,
  signal: AbortSignal,
): Promise<Bundle> {
  const { manifest, bundle } = await readArchive(place);
  const { corpus, version, build } = manifest;
  const final = bundleFolder(bundlesFolder, corpus, version, build as Digest);
  const parent = await folderInside(bundlesFolder, manifest);
  await reapTemporaryFolders(parent);
  const temporary = await createTemporaryFolder(parent);
  try {
    const rows = path.join(temporary, 'rows');
    // By its own name: a bundle is verified in a folder that is called after its digest.
    const rebuilt = path.join(temporary, path.basename(final));
    await mkdir(rows);
    await mkdir(rebuilt);
    await writeFile(path.join(rebuilt, MANIFEST_FILE), bundle.bytes, { flag: 'wx' });
    for (const [file, content] of filesOf(manifest)) {
      await pipeline(
        checkedPieces(place, file, content),
        createWriteStream(path.join(isRows(file) ? rows : rebuilt, file), { flags: 'wx' }),
        { signal },
      );
      events.onFile?.(file);
    }
    await runArchiveThread(
      {
        kind: 'restore',
        archiveFolder: rows,
        parts: Object.keys(manifest.files).filter(isRows).sort(),
        manifest: bundle.manifest,
        folder: rebuilt,
      },
      { onRows: (done) => events.onRows?.(done, manifest.row_count) },
      signal,
    );
    await verifyRebuilt(rebuilt, place, signal);
    const sound = await soundOrSetAside(final, signal);
    if (sound !== null) return sound;
    if ((await publishFolder(rebuilt, final)) === 'published') return await readBundle(final);
    return await verified(final, signal);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

/** Where the builds of the version lie; no link may lead elsewhere. */
async function folderInside(root: string, { corpus, version }: ArchiveManifest): Promise<string> {
  const parent = path.join(root, corpus, version);
  await realFolderInside(root, path.dirname(parent));
  await mkdir(parent, { recursive: true });
  await realFolderInside(root, parent);
  return parent;
}

async function verified(folder: string, signal: AbortSignal): Promise<Bundle> {
  const bundle = await readBundle(folder);
  await verifyBundle(bundle, { signal });
  return bundle;
}

async function verifyRebuilt(rebuilt: string, place: ArchivePlace, signal: AbortSignal): Promise<void> {
  try {
    await verified(rebuilt, signal);
  } catch (error) {
    if (!isDamage(error)) throw error;
    const { file = MANIFEST_FILE } = error.details;
    throw corruptArchive(
      addressOf(place),
      String(file),
      'what was rebuilt from it is no sound bundle',
      error,
    );
  }
}

/** What lies there already stays when it is sound; null: there is nothing, or nothing any more. */
async function soundOrSetAside(final: string, signal: AbortSignal): Promise<Bundle | null> {
  if ((await lstat(final).catch(() => null)) === null) return null;
  try {
    return await verified(final, signal);
  } catch (error) {
    if (!isDamage(error)) throw error;
    const doomed = doomedName(path.dirname(final));
    await rename(final, doomed);
    await rm(doomed, { recursive: true, force: true });
    return null;
  }
}

/** CORRUPT_BUNDLE, or no bundle at all in a folder that is there. */
const isDamage = (error: unknown): error is SwitchyardError =>
  error instanceof SwitchyardError && (error.reason === 'CORRUPT_BUNDLE' || error.reason === 'UNKNOWN_BUILD');
