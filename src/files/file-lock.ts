import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { isLiving, type Owner, Ownership, ownSpace } from './owner.js';

const ATTEMPTS_MAX = 50;
const RETRY_MS = 10;

/** What a lock file says. */
interface Holder extends Owner {
  /** For people. */
  readonly host: string;
}

export interface FileLock {
  /** False when another process took the lock over, which it does only from a dead owner. */
  isHeld(): Promise<boolean>;
  release(): Promise<void>;
}

/** Who has it; null when that could not be told. */
export interface LockedBy {
  readonly lockedBy: LockOwner | null;
}

export interface LockOwner {
  readonly pid: number;
  /** Where that pid is to be looked for; null for this machine or container. */
  readonly host: string | null;
}

/** For messages: who holds a lock. */
export const lockOwnerName = (owner: LockOwner | null): string =>
  owner === null
    ? 'another process'
    : `process ${owner.pid}${owner.host === null ? '' : ` of another container or host (${owner.host})`}`;

/**
 * Tries to take a lock, which is a file that says whose it is and is touched while it is held; it appears whole (link), and
 * the lock of a dead owner is replaced in one step (rename) by the one taker that holds a second, short-lived lock: between
 * reading a stale lock and replacing it nobody else can put a live one there. Its folder must exist.
 */
export async function tryLock(lock: string): Promise<FileLock | LockedBy> {
  const ownership = await Ownership.begin();
  const holder: Holder = { ...ownership.owner, host: hostname() };
  const content = JSON.stringify(holder);
  const draft = `${lock}.${holder.nonce}`;
  await writeFile(draft, content);
  let isTaken = false;
  try {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      if (await linked(draft, lock)) isTaken = true;
      else {
        const found = await readOrNull(lock);
        if (found === null) continue;
        const other = await parseHolder(found);
        if (other !== null && (await isLiving(other, lock)))
          return {
            lockedBy: { pid: other.pid, host: other.space === holder.space ? null : other.host },
          };
        isTaken = await replacedStale(lock, found, draft);
      }
      if (isTaken) return heldLock(lock, ownership, content);
      await sleep(RETRY_MS);
    }
    return { lockedBy: null };
  } finally {
    if (!isTaken) ownership.end();
    await rm(draft, { force: true });
  }
}

function heldLock(lock: string, ownership: Ownership, content: string): FileLock {
  const isHeld = async (): Promise<boolean> => (await readOrNull(lock)) === content;
  ownership.beat(lock, isHeld);
  return {
    isHeld,
    async release() {
      if (await isHeld()) await rm(lock, { force: true });
      ownership.end();
    },
  };
}

/** False when another taker is at it, or was quicker: look again. */
async function replacedStale(lock: string, stale: string, draft: string): Promise<boolean> {
  const takeover = `${lock}.takeover`;
  if (!(await linked(draft, takeover))) {
    const other = await readOrNull(takeover);
    const owner = other === null ? null : await parseHolder(other);
    if (other !== null && (owner === null || !(await isLiving(owner, takeover))))
      await rm(takeover, { force: true });
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
async function parseHolder(text: string): Promise<Holder | null> {
  let value: Partial<Holder> | null;
  try {
    value = JSON.parse(text) as Partial<Holder> | null;
  } catch {
    return null;
  }
  const { pid, startTicks, nonce, space, host } = value ?? {};
  if (!Number.isSafeInteger(pid) || (pid as number) <= 0 || typeof nonce !== 'string') return null;
  return {
    pid: pid as number,
    startTicks: typeof startTicks === 'string' ? startTicks : null,
    nonce,
    // Older releases wrote none, and judged every pid as one of this machine.
    space: typeof space === 'string' ? space : await ownSpace(),
    host: typeof host === 'string' ? host : '',
  };
}
