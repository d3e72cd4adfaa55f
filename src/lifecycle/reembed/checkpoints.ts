import { existsSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { SwitchyardError, toSwitchyardError } from '../../errors.js';
import { type FileLock, lockOwnerName, tryLock } from '../../files/file-lock.js';
import { sha256Hex } from '../../files/hash.js';
import type { Logger } from '../../telemetry/log.js';
import { type CheckpointFooter, CheckpointWriter, takeBegun, verifyCheckpoint } from './checkpoint-file.js';

/** What a run embeds. Checkpoints of another plan are of no use to it. */
export interface ReembedPlan {
  readonly format: 1;
  readonly corpus: string;
  readonly version: string;
  readonly fingerprint: string;
  readonly documentTemplate: string;
  readonly textNormalisation: string;
  readonly chunking: { readonly tokensMax: number; readonly overlapTokens: number } | null;
  readonly dimensions: number;
  readonly source: {
    readonly kind: string;
    readonly name: string;
    /** Of what the snapshot is read from. */
    readonly sha256: string;
    /** Where a feed's snapshot ends; null for a source that brings no versions. */
    readonly snapshot: { readonly offset: number; readonly changes: number } | null;
  };
  /** Documents of one checkpoint. */
  readonly interval: number;
}

const PLAN_FILE = 'plan.json';
const LOCK_FILE = '.lock';
const NAME = /^(?:snapshot|changes)-\d{6}\.ckpt$/;

export const snapshotName = (interval: number): string =>
  `snapshot-${String(interval).padStart(6, '0')}.ckpt`;
export const changesName = (number: number): string => `changes-${String(number).padStart(6, '0')}.ckpt`;

/** Beside the version's bundles: the same disk, and gone with them. */
export const checkpointsFolder = (bundlesFolder: string, corpus: string, version: string): string =>
  path.join(bundlesFolder, corpus, version, '.checkpoints');

/** The plan of the run that left checkpoints in a folder; null when there are none. */
export async function readPlan(folder: string): Promise<ReembedPlan | null> {
  try {
    return JSON.parse(await readFile(path.join(folder, PLAN_FILE), 'utf8')) as ReembedPlan;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' || error instanceof SyntaxError) return null;
    throw error;
  }
}

/** The checkpoints of one corpus version, held by one process at a time. */
export class Checkpoints {
  readonly folder: string;
  readonly #lock: FileLock;
  readonly #log: Logger;
  #planHash = '';
  /** Checkpoints that were damaged, by name: each is embedded again. */
  readonly damaged: string[] = [];

  private constructor(folder: string, lock: FileLock, log: Logger) {
    this.folder = folder;
    this.#lock = lock;
    this.#log = log;
  }

  /** Errors: BUILD_LOCKED when another process embeds this version. */
  static async open(folder: string, log: Logger): Promise<Checkpoints> {
    await mkdir(folder, { recursive: true });
    const lock = await tryLock(path.join(folder, LOCK_FILE));
    if ('lockedBy' in lock)
      throw new SwitchyardError(
        'BUILD_LOCKED',
        `${path.basename(path.dirname(path.dirname(folder)))}/${path.basename(path.dirname(folder))} is being embedded by ${lockOwnerName(lock.lockedBy)}: wait for it or stop it`,
      );
    return new Checkpoints(folder, lock, log);
  }

  plan(): Promise<ReembedPlan | null> {
    return readPlan(this.folder);
  }

  /** Goes on with this plan: checkpoints of another one are removed. True when there are some to go on with. */
  async adopt(plan: ReembedPlan): Promise<boolean> {
    const text = `${JSON.stringify(plan)}\n`;
    this.#planHash = sha256Hex(text);
    const file = path.join(this.folder, PLAN_FILE);
    if (existsSync(file) && (await readFile(file, 'utf8')) === text) return (await this.#names()).length > 0;
    for (const name of await readdir(this.folder))
      if (name !== LOCK_FILE) await rm(path.join(this.folder, name), { recursive: true, force: true });
    await writeWhole(file, text);
    return false;
  }

  /** The footer of a checkpoint that is whole and of this plan; null when there is none that can be believed. */
  async find(name: string, dimensions: number, signal?: AbortSignal): Promise<CheckpointFooter | null> {
    const file = this.fileOf(name);
    if (!existsSync(file)) return null;
    try {
      const footer = await verifyCheckpoint(file, signal);
      if (footer.plan === this.#planHash && footer.dimensions === dimensions) return footer;
      this.#log.warn({ checkpoint: name }, 'a checkpoint is of another run; it is embedded again');
    } catch (thrown) {
      signal?.throwIfAborted();
      const error = toSwitchyardError(thrown);
      if (error.reason !== 'CORRUPT_CHECKPOINT') throw thrown;
      this.#log.warn({ checkpoint: name }, error.message);
    }
    this.damaged.push(name);
    await rm(file, { force: true });
    return null;
  }

  async begin(name: string): Promise<CheckpointWriter> {
    await this.#assertHeld();
    return CheckpointWriter.begin(this.fileOf(name));
  }

  get planHash(): string {
    return this.#planHash;
  }

  fileOf(name: string): string {
    return path.join(this.folder, name);
  }

  /** Documents that a run which stopped had given to its encoder after its last checkpoint. They are embedded again. */
  async takeUnfinished(): Promise<number> {
    let documents = 0;
    for (const name of await readdir(this.folder)) {
      const file = path.join(this.folder, name);
      documents += await takeBegun(file);
      if (CheckpointWriter.isPartial(name)) await rm(file, { force: true });
    }
    return documents;
  }

  async release(): Promise<void> {
    await this.#lock.release();
  }

  /** After the build was recorded: what it was made of is in its bundle. */
  async remove(): Promise<void> {
    await this.#assertHeld();
    await rm(this.folder, { recursive: true, force: true });
    await this.#lock.release();
  }

  async #names(): Promise<string[]> {
    return (await readdir(this.folder)).filter((name) => NAME.test(name));
  }

  async #assertHeld(): Promise<void> {
    if (await this.#lock.isHeld()) return;
    throw new SwitchyardError(
      'BUILD_LOCKED',
      `another process embeds into ${this.folder}: wait for it or stop it`,
    );
  }
}

/** Whole or not at all, also when the machine stops. */
async function writeWhole(file: string, text: string): Promise<void> {
  const handle = await open(`${file}.new`, 'w');
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${file}.new`, file);
}
