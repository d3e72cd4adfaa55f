import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { SwitchyardError } from '../errors.js';
import { isLiving, Ownership, parseToken } from './owner.js';

/**
 * Publishing a folder (invariant 4): everything is written under a temporary name beside its final place, fsynced,
 * and renamed. A reader sees the whole folder or none.
 */
const TEMPORARY_PREFIX = '.tmp-';
/** Of what only waits to be deleted. */
const DOOMED_PREFIX = `${TEMPORARY_PREFIX}0-`;

/** A fresh temporary folder inside `parent`; its name says whose it is, so that left-overs can be told apart. */
export async function createTemporaryFolder(parent: string): Promise<string> {
  const ownership = await Ownership.begin();
  const folder = path.join(parent, `${TEMPORARY_PREFIX}${ownership.token}`);
  await mkdir(folder, { recursive: true });
  ownership.beat(folder);
  return folder;
}

/** A name inside `parent` for what is to be deleted: whoever comes by may do it. */
export const doomedName = (parent: string): string =>
  path.join(parent, `${DOOMED_PREFIX}${randomBytes(6).toString('hex')}`);

/** Fsyncs every file of `temporary`, renames it to `final`, fsyncs the parent. An existing `final` is kept as it is. */
export async function publishFolder(temporary: string, final: string): Promise<'published' | 'existed'> {
  for (const entry of await readdir(temporary)) await fsyncPath(path.join(temporary, entry));
  await fsyncPath(temporary);
  await mkdir(path.dirname(final), { recursive: true });
  try {
    await rename(temporary, final);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw asDiskError(error, final);
    await rm(temporary, { recursive: true, force: true });
    return 'existed';
  }
  await fsyncPath(path.dirname(final));
  return 'published';
}

/** Removes temporary folders whose owner is gone: what a kill -9 left behind. Returns what was removed. */
export async function reapTemporaryFolders(parent: string): Promise<string[]> {
  const removed: string[] = [];
  let entries: string[];
  try {
    entries = await readdir(parent);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return removed;
    throw error;
  }
  for (const entry of entries) {
    if (!entry.startsWith(TEMPORARY_PREFIX)) continue;
    const folder = path.join(parent, entry);
    const owner = parseToken(entry.slice(TEMPORARY_PREFIX.length));
    if (!entry.startsWith(DOOMED_PREFIX) && (await isLiving(owner, folder))) continue;
    await rm(folder, { recursive: true, force: true });
    removed.push(entry);
  }
  return removed;
}

/** ENOSPC and EDQUOT as DISK_FULL; anything else unchanged. */
export function asDiskError(error: unknown, file: string): unknown {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error;
  return new SwitchyardError(
    'DISK_FULL',
    `no space left to write ${path.basename(file)}: free some or choose another var_dir`,
    {
      cause: error,
    },
  );
}

async function fsyncPath(file: string): Promise<void> {
  const handle = await open(file, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
