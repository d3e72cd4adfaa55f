import { randomBytes } from 'node:crypto';
import { readFile, readlink, stat, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { sha256Hex } from './hash.js';
import { isSameProcess, startTicksOf } from './process-identity.js';

/** Between two signs of life. */
const BEAT_MS = 15_000;
/**
 * An owner in another pid space is dead when it gave no sign of life for so long. A network file system may show a time that
 * is a minute old, and the clocks of two hosts may differ by what is left.
 */
export const SILENT_MS_MAX = 120_000;
const TOKEN = /^(\d+)-(\d+|x)-([0-9a-f]{12})-([0-9a-f]{12})$/;

/**
 * Whose a file or folder is, where processes share a disk. A pid alone names nobody: in a container every run has the same
 * one, and across containers and hosts it says nothing at all.
 */
export interface Owner {
  readonly pid: number;
  /** Start of the process in clock ticks since boot, from /proc; null where there is no /proc. */
  readonly startTicks: string | null;
  /** Where that pid means something: one boot of one machine, one pid namespace, one host name. */
  readonly space: string;
  /** Of this ownership alone. */
  readonly nonce: string;
}

/** Ownerships of this process that have not ended. */
const own = new Set<string>();
let spaceOfThisProcess: Promise<string> | null = null;

export const ownSpace = (): Promise<string> => {
  spaceOfThisProcess ??= readSpace();
  return spaceOfThisProcess;
};

async function readSpace(): Promise<string> {
  const boot = await absentAsEmpty(readFile('/proc/sys/kernel/random/boot_id', 'utf8'));
  const pids = await absentAsEmpty(readlink('/proc/self/ns/pid'));
  return sha256Hex(`${boot.trim()}\n${pids}\n${hostname()}`).slice(0, 12);
}

/** A system without /proc, or one that shows less of it: what is left tells machines apart. */
async function absentAsEmpty(read: Promise<string>): Promise<string> {
  try {
    return await read;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'EACCES' || code === 'EPERM') return '';
    throw error;
  }
}

/** This process as the owner of one file or folder. */
export class Ownership {
  readonly owner: Owner;
  #beat: NodeJS.Timeout | null = null;

  private constructor(owner: Owner) {
    this.owner = owner;
    own.add(owner.nonce);
  }

  static async begin(): Promise<Ownership> {
    const nonce = randomBytes(6).toString('hex');
    const startTicks = await startTicksOf(process.pid);
    return new Ownership({ pid: process.pid, startTicks, space: await ownSpace(), nonce });
  }

  /** For a file's name: letters, digits and dashes. */
  get token(): string {
    const { pid, startTicks, space, nonce } = this.owner;
    return `${pid}-${startTicks ?? 'x'}-${space}-${nonce}`;
  }

  /**
   * Touches the file or folder from now on, for those who cannot see this process, until it is gone (the ownership ends with
   * it), is somebody else's, or `end()`.
   */
  beat(
    file: string,
    isOurs: () => Promise<boolean> = () => Promise.resolve(true),
    everyMs: number = BEAT_MS,
  ): void {
    this.#beat ??= setInterval(() => {
      void touched(file, isOurs).then((isThere) => {
        if (!isThere) this.end();
      });
    }, everyMs).unref();
  }

  end(): void {
    if (this.#beat !== null) clearInterval(this.#beat);
    this.#beat = null;
    own.delete(this.owner.nonce);
  }
}

/** False when there is nothing left to keep. A beat that failed for another reason is made up for by the next. */
async function touched(file: string, isOurs: () => Promise<boolean>): Promise<boolean> {
  try {
    if (!(await isOurs())) return false;
    const now = new Date();
    await utimes(file, now, now);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ENOENT';
  }
  return true;
}

/** Null when it is no token of this program. */
export function parseToken(token: string): Owner | null {
  const [, pid, ticks, space, nonce] = TOKEN.exec(token) ?? [];
  if (pid === undefined || ticks === undefined || space === undefined || nonce === undefined) return null;
  return { pid: Number(pid), startTicks: ticks === 'x' ? null : ticks, space, nonce };
}

/**
 * Whether the owner of a file or folder is alive: by its pid and start where that means something here, else by its last
 * sign of life. Null is an owner of whom no more is known than that file.
 */
export async function isLiving(owner: Owner | null, file: string): Promise<boolean> {
  if (owner === null || owner.space !== (await ownSpace())) return (await silentMs(file)) < SILENT_MS_MAX;
  if (owner.pid === process.pid) return own.has(owner.nonce);
  return isSameProcess(owner.pid, owner.startTicks);
}

/**
 * Since the last sign of life; infinite when the file is gone. The clock may have been set since this process began: of the
 * two times that it may be, the earlier one counts, so a jump kills nobody.
 */
export async function silentMs(file: string): Promise<number> {
  try {
    const { mtimeMs } = await stat(file);
    return Math.min(Date.now(), performance.timeOrigin + performance.now()) - mtimeMs;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return Number.POSITIVE_INFINITY;
    throw error;
  }
}
