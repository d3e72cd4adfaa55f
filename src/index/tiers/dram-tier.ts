import { open } from 'node:fs/promises';
import { SwitchyardError } from '../../errors.js';
import type { Bundle } from '../manifest.js';
import { type Place, type Placement, placeOnDisk, residentBytes, searchedPaths } from '../placement.js';
import { MemoryBudget } from './memory-budget.js';
import { isMemoryBacked, MemoryFolder } from './memory-folder.js';
import { autoMemoryDir } from './memory-mounts.js';

const READ_BYTES = 4 << 20;

export interface DramTierOptions {
  /** `auto`: a tmpfs with huge pages, else /dev/shm where it is memory; `none`: the page cache; or a folder on a tmpfs. */
  readonly memoryDir: string;
  readonly bytesMax: number;
  /** What `auto` looks into. Default: /proc/mounts. */
  readonly mountsFile?: string;
  readonly log?: DramLog;
}

export interface DramLog {
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}

/**
 * The `dram` tier of a process: within a budget, copies in a memory-backed folder, and where that is too small the page
 * cache, warmed.
 */
export class DramTier {
  readonly budget: MemoryBudget;
  readonly #options: DramTierOptions;
  #folder: Promise<MemoryFolder | null> | null = null;

  constructor(options: DramTierOptions) {
    this.#options = options;
    this.budget = new MemoryBudget(options.bytesMax);
  }

  /** The folder that copies lie in, swept of what dead processes left; null for the page cache. Errors: INVALID_CONFIG. */
  folder(): Promise<MemoryFolder | null> {
    this.#folder ??= this.#openFolder();
    return this.#folder;
  }

  /** For a `SearchPool`. Errors: MEMORY_BUDGET, INVALID_CONFIG, and those of `MemoryFolder.hold`. */
  readonly place: Place = async (bundle, identities, signal) => {
    const release = this.budget.take(claimOf(bundle));
    try {
      const placed = await this.#placeHeld(bundle, identities, signal);
      return {
        ...placed,
        release: async () => {
          try {
            await placed.release();
          } finally {
            release();
          }
        },
      };
    } catch (error) {
      release();
      throw error;
    }
  };

  async #placeHeld(
    bundle: Bundle,
    identities: Placement['identities'],
    signal: AbortSignal | undefined,
  ): Promise<Placement> {
    const folder = await this.folder();
    const held =
      folder === null ? { notHeld: 'no memory folder' } : await folder.hold(bundle, identities, signal);
    if (!('notHeld' in held)) return held;
    if (folder !== null)
      this.#options.log?.warn(
        { bundle: bundle.folder, why: held.notHeld },
        'a dram target is kept in the page cache instead of the memory folder',
      );
    const placed = await placeOnDisk(bundle, identities, signal);
    await warm(searchedPaths(placed.files, bundle.manifest));
    return { ...placed, kind: 'page_cache' };
  }

  async #openFolder(): Promise<MemoryFolder | null> {
    const { memoryDir, log } = this.#options;
    if (memoryDir === 'none') return null;
    const parent = memoryDir === 'auto' ? await autoMemoryDir(this.#options.mountsFile) : memoryDir;
    if (!(await isMemoryFolder(parent))) {
      if (memoryDir === 'auto') return null;
      throw new SwitchyardError(
        'INVALID_CONFIG',
        `tiers.memory_dir ${memoryDir} is not a folder of a memory filesystem (tmpfs): mount one there, or use auto or none`,
      );
    }
    const folder = await MemoryFolder.open(parent);
    const removed = await folder.reap();
    if (removed > 0)
      log?.info({ removed, folder: folder.root }, 'removed index copies that dead processes left');
    return folder;
  }
}

export const claimOf = ({ digest, manifest }: Bundle) => ({
  digest,
  bytes: residentBytes(manifest),
  name: `${manifest.corpus}/${manifest.version}`,
});

async function isMemoryFolder(folder: string): Promise<boolean> {
  try {
    return await isMemoryBacked(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** Reads the searched files through the page cache, in order; what is there already is only looked at. */
export async function warm(files: readonly string[]): Promise<void> {
  const block = new Uint8Array(READ_BYTES);
  for (const file of files) {
    const handle = await open(file, 'r');
    try {
      while ((await handle.read(block, 0, block.length)).bytesRead > 0);
    } finally {
      await handle.close();
    }
  }
}
