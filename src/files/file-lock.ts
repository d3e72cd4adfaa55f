import { randomBytes } from 'node:crypto';
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { isSameProcess, startTicksOf } from './process-identity.js';

const ATTEMPTS_MAX = 50;
const RETRY_MS = 10;
/** Locks this process holds: in a container every run has the same pid, so the pid alone does not tell. */
const ownLocks = new Set<string>();

interface Owner {
  readonly pid: number;
  /** Start of the process in clock ticks since boot, from /proc; null where there is no /proc. */
  readonly startTicks: string | null;
  readonly nonce: string;
}

export interface FileLock {
  /** False when another process took the lock over, which it does only from a dead owner. */
  isHeld(): Promise<boolean>;
  release(): Promise<void>;
}

/** Who has it; null when that could not be told. */
export interface LockedBy {
  readonly lockedBy: number | null;
}

/**
 * Tries to take a lock, which is a file with its owner's pid, start time and a nonce; it appears whole (link), and the
 * lock of a dead owner is replaced in one step (rename) by the one taker that holds a second, short-lived lock: between
 * reading a stale lock and replacing it nobody else can put a live one there. Its folder must exist.
 */
export async function tryLock(lock: string): Promise<FileLock | LockedBy> {
  const nonce = randomBytes(12).toString('hex');
  const owner: Owner = { pid: process.pid, startTicks: await startTicksOf(process.pid), nonce };
  const content = JSON.stringify(owner);
  const draft = `${lock}.${nonce}`;
  await writeFile(draft, content);
  ownLocks.add(nonce);
  let isTaken = false;
  try {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      if (await linked(draft, lock)) isTaken = true;
      else {
        const found = await readOrNull(lock);
        if (found === null) continue;
        const other = parseOwner(found);
        if (other !== null && (await isRunning(other))) return { lockedBy: other.pid };
        isTaken = await replacedStale(lock, found, draft);
      }
      if (isTaken) return heldLock(lock, nonce, content);
      await sleep(RETRY_MS);
    }
    return { lockedBy: null };
  } finally {
    if (!isTaken) ownLocks.delete(nonce);
    await rm(draft, { force: true });
  }
}

function heldLock(lock: string, nonce: string, content: string): FileLock {
  const isHeld = async (): Promise<boolean> => (await readOrNull(lock)) === content;
  return {
    isHeld,
    async release() {
      if (await isHeld()) await rm(lock, { force: true });
      ownLocks.delete(nonce);
    },
  };
}

/** False when another taker is at it, or was quicker: look again. */
async function replacedStale(lock: string, stale: string, draft: string): Promise<boolean> {
  const takeover = `${lock}.takeover`;
  if (!(await linked(draft, takeover))) {
    const other = await readOrNull(takeover);
    const owner = other === null ? null : parseOwner(other);
    if (other !== null && (owner === null || !(await isRunning(owner)))) await rm(takeover, { force: true });
    return false;
  }
  const replacement = `${draft}.new`;
  try {
    if ((await readOrNull(lock)) !== stale) return false;
    if (!(await linked(draft, replacement))) return false;
    await rename(replacement, lock);
    return true;
  } finally {
    await rm(replacement, { force: true });
    await rm(takeover, { force: true });
  }
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function readOrNull(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** Null when it is no lock of ours: the rest of a crash of the machine, as good as dead. */
function parseOwner(text: string): Owner | null {
  let value: Partial<Owner> | null;
  try {
    value = JSON.parse(text) as Partial<Owner> | null;
  } catch {
    return null;
  }
  const { pid, startTicks, nonce } = value ?? {};
  if (!Number.isSafeInteger(pid) || (pid as number) <= 0 || typeof nonce !== 'string') return null;
  return { pid: pid as number, startTicks: typeof startTicks === 'string' ? startTicks : null, nonce };
}

const isRunning = async (owner: Owner): Promise<boolean> =>
  owner.pid === process.pid ? ownLocks.has(owner.nonce) : isSameProcess(owner.pid, owner.startTicks);
