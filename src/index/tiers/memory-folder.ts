import { copyFile, lstat, mkdir, readdir, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SwitchyardError } from '../../errors.js';
import { type FileLock, tryLock } from '../../files/file-lock.js';
import { isLiving, Ownership, parseToken } from '../../files/owner.js';
import type { Bundle } from '../manifest.js';
import type { Placement } from '../placement.js';
import { filesIn, residentBytes, searchedFiles } from '../placement.js';
import { verifyCopies } from '../verify-bundle.js';

/** statfs types whose files are memory: tmpfs, ramfs, hugetlbfs. */
const MEMORY_FILESYSTEMS = new Set([0x01021994, 0x858458f6, 0x958458f6]);
/** Left free on top of a copy: others write there as well. */
export const SPARE_BYTES = 16 << 20;
const LOCK_RETRY_MS = 50;
const HOLDER = /^([0-9a-f]{64})\.(.+)\.holder$/;
const ENTRY = /^([0-9a-f]{64})(?:\.new)?$/;

/** Why a bundle is not held in the folder; it is then kept in the page cache. */
export interface NotHeld {
  readonly notHeld: string;
}

export const isMemoryBacked = async (folder: string): Promise<boolean> =>
  MEMORY_FILESYSTEMS.has((await statfs(folder)).type);

/**
 * Copies of index files in a memory-backed folder, keyed by digest and shared by all processes of one user. Each process
 * that uses a copy has a holder file beside it; the last one to go removes the copy, and what dead processes left is
 * removed by whoever comes next. All of it happens under one lock per digest.
 */
export class MemoryFolder {
  readonly root: string;

  private constructor(root: string) {
    this.root = root;
  }

  /**
   * `parent` must be memory-backed. Makes `switchyard-<uid>` in it, which must be this user's alone.
   * Errors: INVALID_CONFIG.
   */
  static async open(parent: string): Promise<MemoryFolder> {
    const root = path.join(parent, `switchyard-${process.getuid?.() ?? 0}`);
    await mkdir(root, { recursive: true, mode: 0o700 });
    const found = await lstat(root);
    if (!found.isDirectory() || found.uid !== process.getuid?.() || (found.mode & 0o022) !== 0)
      throw new SwitchyardError(
        'INVALID_CONFIG',
        `${root} belongs to somebody else or others may write to it: remove it, or set tiers.memory_dir to another folder`,
      );
    return new MemoryFolder(root);
  }

  /** Removes every copy that no living process holds. Returns how many. */
  async reap(): Promise<number> {
    let removed = 0;
    const digests = new Set((await readdir(this.root)).flatMap((name) => ENTRY.exec(name)?.[1] ?? []));
    for (const digest of digests) {
      const lock = await tryLock(this.#lockOf(digest));
      if ('lockedBy' in lock) continue;
      try {
        if ((await this.#livingHolders(digest)) > 0) continue;
        await this.#remove(digest);
        removed++;
      } finally {
        await lock.release();
      }
    }
    return removed;
  }

  /**
   * A copy of what searches of the bundle read, made or shared; hashed in either case.
   * Errors: CORRUPT_BUNDLE when the bundle's own file is damaged; the signal's reason.
   */
  async hold(
    bundle: Bundle,
    identities: Placement['identities'],
    signal?: AbortSignal,
  ): Promise<Placement | NotHeld> {
    const { digest } = bundle;
    const lock = await this.#lock(digest, signal);
    try {
      await this.#livingHolders(digest);
      const copied = await this.#copy(bundle, signal);
      if ('notHeld' in copied) return copied;
      const ownership = await Ownership.begin();
      const holder = path.join(this.root, `${digest}.${ownership.token}.holder`);
      await writeFile(holder, '');
      ownership.beat(holder);
      return {
        kind: 'memory',
        files: { ...filesIn(bundle.folder), ...copied.files },
        identities: { ...identities, ...copied.identities },
        release: () => this.#release(digest, holder, ownership),
      };
    } finally {
      await lock.release();
    }
  }

  async #copy(
    { digest, folder: source, manifest }: Bundle,
    signal: AbortSignal | undefined,
  ): Promise<Pick<Placement, 'files' | 'identities'> | NotHeld> {
    const names = searchedFiles(manifest);
    const hashes = Object.fromEntries(
      Object.entries(manifest.files).filter(([name]) => names.includes(name)),
    );
    const folder = path.join(this.root, digest);
    const own = filesIn(folder);
    const files = { index: own.index, vectors: names.length > 1 ? own.vectors : filesIn(source).vectors };
    if (await exists(folder)) {
      try {
        return { files, identities: await verifyCopies(folder, hashes, signal) };
      } catch (error) {
        if (!(error instanceof SwitchyardError) || error.reason !== 'CORRUPT_BUNDLE') throw error;
        if ((await this.#livingHolders(digest)) > 0)
          return { notHeld: `the copy in ${this.root} is damaged and another process uses it` };
        await this.#remove(digest);
      }
    }
    const bytes = residentBytes(manifest);
    const { bavail, bsize } = await statfs(this.root);
    if (bavail * bsize < bytes + SPARE_BYTES)
      return { notHeld: `${this.root} has ${bavail * bsize} bytes free, ${bytes + SPARE_BYTES} are needed` };
    const fresh = `${folder}.new`;
    try {
      await rm(fresh, { recursive: true, force: true });
      await mkdir(fresh, { mode: 0o700 });
      for (const name of names) await copyFile(path.join(source, name), path.join(fresh, name));
      await rename(fresh, folder);
      return { files, identities: await verifyCopies(folder, hashes, signal) };
    } catch (error) {
      await this.#remove(digest);
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOSPC' || code === 'EDQUOT') return { notHeld: `${this.root} is full` };
      throw error;
    }
  }

  async #release(digest: string, holder: string, ownership: Ownership): Promise<void> {
    ownership.end();
    const lock = await this.#lock(digest, undefined);
    try {
      await rm(holder, { force: true });
      if ((await this.#livingHolders(digest)) === 0) await this.#remove(digest);
    } finally {
      await lock.release();
    }
  }

  /** How many processes use a copy. Holders of dead ones are removed. */
  async #livingHolders(digest: string): Promise<number> {
    let living = 0;
    for (const name of await readdir(this.root)) {
      const [, of, token] = HOLDER.exec(name) ?? [];
      if (of !== digest || token === undefined) continue;
      const holder = path.join(this.root, name);
      if (await isLiving(parseToken(token), holder)) living++;
      else await rm(holder, { force: true });
    }
    return living;
  }

  async #remove(digest: string): Promise<void> {
    const folder = path.join(this.root, digest);
    await rm(folder, { recursive: true, force: true });
    await rm(`${folder}.new`, { recursive: true, force: true });
  }

  #lockOf(digest: string): string {
    return path.join(this.root, `${digest}.lock`);
  }

  /** Waits while another process copies the same bundle. */
  async #lock(digest: string, signal: AbortSignal | undefined): Promise<FileLock> {
    for (;;) {
      signal?.throwIfAborted();
      const lock = await tryLock(this.#lockOf(digest));
      if (!('lockedBy' in lock)) return lock;
      await sleep(LOCK_RETRY_MS);
    }
  }
}

async function exists(folder: string): Promise<boolean> {
  try {
    await stat(folder);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
