import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { SwitchyardError } from '../errors.js';

/**
 * Publishing a folder (invariant 4): everything is written under a temporary name beside its final place, fsynced,
 * and renamed. A reader sees the whole folder or none.
 */
const TEMPORARY_PREFIX = '.tmp-';
/** This process's own: in a container every run has the same pid, so the pid alone does not tell left-overs apart. */
const ownFolders = new Set<string>();

/** A fresh temporary folder inside `parent`; its name carries the owner's pid so left-overs can be told apart. */
export async function createTemporaryFolder(parent: string): Promise<string> {
  const folder = path.join(parent, `${TEMPORARY_PREFIX}${process.pid}-${randomBytes(6).toString('hex')}`);
  ownFolders.add(path.basename(folder));
  await mkdir(folder, { recursive: true });
  return folder;
}

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

/** Removes temporary folders whose process is gone: what a kill -9 left behind. Returns what was removed. */
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
    const pid = Number(entry.slice(TEMPORARY_PREFIX.length).split('-')[0]);
    const inUse =
      pid === process.pid ? ownFolders.has(entry) : Number.isSafeInteger(pid) && pid > 0 && isAlive(pid);
    if (inUse) continue;
    await rm(path.join(parent, entry), { recursive: true, force: true });
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

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
