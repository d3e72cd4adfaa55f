import { chmod, mkdir, open, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SwitchyardError } from '../../errors.js';
import { isLiving, Ownership, ownSpace, parseToken } from '../../files/owner.js';

/** Often, so that a dead one is told from a living one within seconds: the server must not be started beside another. */
const BEAT_MS = 1_000;
const WATCH_MS = 6_000;
const LOOK_MS = 250;

/**
 * The processes that use the embedded server of a folder, each with a file in `<var_dir>/postgres/users`. Its socket and the
 * pid in `postmaster.pid` mean something on one machine and in one container only; from elsewhere the server would look dead,
 * and a second one over the same data would destroy it. So whoever sees a living user elsewhere is refused.
 */
export class ServerUse {
  readonly #file: string;
  readonly #ownership: Ownership;

  private constructor(file: string, ownership: Ownership) {
    this.#file = file;
    this.#ownership = ownership;
  }

  /** Errors: REGISTRY_UNAVAILABLE while a process of another container or host uses the folder. */
  static async begin(varDir: string): Promise<ServerUse> {
    const folder = path.join(varDir, 'postgres', 'users');
    // As /tmp is: root and the server's own user may both be here.
    if ((await mkdir(folder, { recursive: true })) !== undefined) await chmod(folder, 0o1777);
    const ownership = await Ownership.begin();
    const use = new ServerUse(path.join(folder, ownership.token), ownership);
    await writeFile(use.#file, '');
    ownership.beat(use.#file, undefined, BEAT_MS);
    try {
      if (await isUsedElsewhere(folder))
        throw new SwitchyardError(
          'REGISTRY_UNAVAILABLE',
          `the embedded PostgreSQL of ${varDir} is used by a process of another container or host, and serves one alone: set DATABASE_URL for all of them, or give each a var_dir of its own`,
        );
      return use;
    } catch (error) {
      await use.end();
      throw error;
    }
  }

  async end(): Promise<void> {
    this.#ownership.end();
    await rm(this.#file, { force: true });
  }
}

/** What is dead beyond doubt is removed; what may be is watched until it moves or has not. */
async function isUsedElsewhere(folder: string): Promise<boolean> {
  const here = await ownSpace();
  const doubtful = new Map<string, number>();
  for (const name of await readdir(folder)) {
    const owner = parseToken(name);
    const file = path.join(folder, name);
    if (!(await isLiving(owner, file))) await removed(file);
    else if (owner?.space !== here) doubtful.set(file, await touchedAtMs(file));
  }
  const end = performance.now() + (doubtful.size === 0 ? 0 : WATCH_MS);
  while (performance.now() < end) {
    await sleep(LOOK_MS);
    for (const [file, atMs] of doubtful) {
      const nowMs = await touchedAtMs(file);
      if (Number.isNaN(nowMs)) doubtful.delete(file);
      else if (nowMs !== atMs) return true;
    }
    if (doubtful.size === 0) return false;
  }
  return false;
}

async function removed(file: string): Promise<void> {
  try {
    await rm(file, { force: true });
  } catch (error) {
    // Another user's: theirs to remove.
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EPERM' && code !== 'EACCES') throw error;
  }
}

/** NaN when it is gone. Opened, since a network file system may answer a bare look from memory. */
async function touchedAtMs(file: string): Promise<number> {
  try {
    const handle = await open(file, 'r');
    try {
      return (await handle.stat()).mtimeMs;
    } finally {
      await handle.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return Number.NaN;
    throw error;
  }
}
