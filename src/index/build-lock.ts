import { randomBytes } from 'node:crypto';
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SwitchyardError } from '../errors.js';
import { isAlive } from '../files/publish.js';

const LOCK_FILE = '.build.lock';
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

export interface BuildLock {
  /** Errors: BUILD_LOCKED when another process took the lock over, which it does only from a dead owner. */
  assertHeld(): Promise<void>;
  release(): Promise<void>;
}

/**
 * One build at a time per corpus version. The lock is a file with its owner's pid, start time and a nonce; it
 * appears whole (link), and the lock of a dead owner is replaced in one step (rename) by the one taker that holds a
 * second, short-lived lock: between reading a stale lock and replacing it nobody else can put a live one there.
 */
export async function acquireBuildLock(versionFolder: string): Promise<BuildLock> {
  const lock = path.join(versionFolder, LOCK_FILE);
  const nonce = randomBytes(12).toString('hex');
  const owner: Owner = { pid: process.pid, startTicks: await startTicksOf(process.pid), nonce };
  const content = JSON.stringify(owner);
  const draft = `${lock}.${nonce}`;
  await writeFile(draft, content);
  ownLocks.add(nonce);
  try {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      if (await linked(draft, lock)) return heldLock(lock, nonce, content);
      const found = await readOrNull(lock);
      if (found === null) continue;
      const other = parseOwner(found);
      if (other !== null && (await isRunning(other))) throw locked(versionFolder, other.pid);
      if (await replacedStale(lock, found, draft)) return heldLock(lock, nonce, content);
      await sleep(RETRY_MS);
    }
    throw locked(versionFolder, null);
  } catch (error) {
    ownLocks.delete(nonce);
    throw error;
  } finally {
    await rm(draft, { force: true });
  }
}

function heldLock(lock: string, nonce: string, content: string): BuildLock {
  const isHeld = async (): Promise<boolean> => (await readOrNull(lock)) === content;
  return {
    async assertHeld() {
      if (!(await isHeld())) throw locked(path.dirname(lock), null);
    },
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

async function isRunning(owner: Owner): Promise<boolean> {
  if (owner.pid === process.pid) return ownLocks.has(owner.nonce);
  if (!isAlive(owner.pid)) return false;
  const now = await startTicksOf(owner.pid);
  return now === null || owner.startTicks === null || now === owner.startTicks;
}

async function startTicksOf(pid: number): Promise<string | null> {
  const stat = await readOrNull(`/proc/${pid}/stat`);
  // The command name, in brackets, may hold spaces and brackets; field 22 counts from after the last one.
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
}

function locked(versionFolder: string, pid: number | null): SwitchyardError {
  const version = path.basename(versionFolder);
  const corpus = path.basename(path.dirname(versionFolder));
  return new SwitchyardError(
    'BUILD_LOCKED',
    `${corpus}/${version} is being built by ${pid === null ? 'another process' : `process ${pid}`}: wait for it or stop it`,
    { details: { corpus, version, ...(pid === null ? {} : { pid: String(pid) }) } },
  );
}
