import { access, constants, readFile, stat, statfs } from 'node:fs/promises';
import { isMemoryBacked } from './memory-folder.js';

export const SHARED_MEMORY = '/dev/shm';
const MOUNTS = '/proc/mounts';
/** Whole files get huge pages with these; `advise` would need a word from whoever maps them, which usearch does not give. */
const HUGE = ['huge=always', 'huge=within_size'];
const OTHERS_MAY_WRITE = 0o002;
const STICKY = 0o1000;

/** Where a tmpfs with huge pages is mounted that is not read-only, by the text of /proc/mounts. */
export function hugeMounts(mounts: string): readonly string[] {
  const byPlace = new Map<string, boolean>();
  for (const line of mounts.split('\n')) {
    const [, at, type, options] = line.split(' ');
    if (at === undefined || options === undefined) continue;
    const words = options.split(',');
    const isHuge = type === 'tmpfs' && words.includes('rw') && HUGE.some((huge) => words.includes(huge));
    // What is mounted later covers what was there before.
    byPlace.set(unescaped(at), isHuge);
  }
  return [...byPlace].flatMap(([at, isHuge]) => (isHuge ? [at] : []));
}

/** `memory_dir: auto`: of the writable mounts with huge pages the one with the most room; else /dev/shm, where it is memory. */
export async function autoMemoryDir(mountsFile: string = MOUNTS): Promise<string> {
  let best = { folder: SHARED_MEMORY, free: -1 };
  for (const folder of hugeMounts(await readMounts(mountsFile))) {
    if (!(await isUsable(folder))) continue;
    const { bavail, bsize } = await statfs(folder);
    const free = bavail * bsize;
    if (free > best.free) best = { folder, free };
  }
  return best.folder;
}

/** One where nobody else could exchange the copies: that of its owner alone, or with the sticky bit as /dev/shm has it. */
async function isUsable(folder: string): Promise<boolean> {
  try {
    await access(folder, constants.W_OK | constants.X_OK);
    const { mode } = await stat(folder);
    return ((mode & OTHERS_MAY_WRITE) === 0 || (mode & STICKY) !== 0) && (await isMemoryBacked(folder));
  } catch {
    // Whatever is wrong with a mount that nobody asked for: it is not taken.
    return false;
  }
}

async function readMounts(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

/** The kernel writes blanks and backslashes in octal. */
const unescaped = (place: string): string =>
  place.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
