import { readFile } from 'node:fs/promises';
import { filesIn, residentBytes, searchedPaths } from '../../index/placement.js';
import type { ProcessIndex } from '../../index/process/process-index.js';
import type { OpenIndexReport } from '../../index/search-pool.js';
import { warm } from '../../index/tiers/dram-tier.js';
import type { Logger } from '../../telemetry/log.js';
import type { Engines } from './engines.js';

type WatchedEngines = Pick<Engines, 'pool' | 'ssdPool' | 'processes'>;

const LOOK_INTERVAL_MS = 10_000;
/** Fewer major faults between two looks are the odd page that nobody needed before. */
const FAULTS_WORTH_WARMING = 16;

/**
 * Looks every ten seconds at how much of each mapped index is in memory, and reads indexes of tier dram that live in the
 * page cache again when their searches had to wait for the disk: the kernel gave their pages to somebody else.
 */
export class TierWatch {
  /** How often indexes were read again. */
  warmings = 0;
  readonly #engines: WatchedEngines;
  readonly #log: Pick<Logger, 'warn'>;
  readonly #timer: NodeJS.Timeout;
  #mapped: ReadonlyMap<string, number> = new Map();
  #mappedByShadows: ReadonlyMap<ProcessIndex, number> = new Map();
  #faultsBefore = 0;
  #looking: Promise<void> | null = null;

  constructor(engines: WatchedEngines, log: Pick<Logger, 'warn'>, intervalMs = LOOK_INTERVAL_MS) {
    this.#engines = engines;
    this.#log = log;
    this.#timer = setInterval(() => {
      this.#looking ??= this.look()
        .catch((error: unknown) => log.warn({ err: error }, 'memory of the indexes could not be looked at'))
        .finally(() => {
          this.#looking = null;
        });
    }, intervalMs);
    this.#timer.unref();
  }

  /** Bytes in memory: of a copy all of it, of a mapped file what this process touched and the kernel kept. */
  residentBytes({ placement, bundle, files }: OpenIndexReport): number {
    if (placement === 'memory') return residentBytes(bundle.manifest);
    return this.#mapped.get(files.index) ?? 0;
  }

  /** Bytes of a shadow's index that its process mapped and the kernel kept. */
  shadowResidentBytes(shadow: ProcessIndex): number {
    return this.#mappedByShadows.get(shadow) ?? 0;
  }

  async look(): Promise<void> {
    const { pool, ssdPool, processes } = this.#engines;
    const faults = pool.majorFaults();
    // A worker that was restarted counts from zero.
    const risen = Math.max(0, faults - this.#faultsBefore);
    this.#faultsBefore = faults;
    const cached = pool.openIndexes().filter(({ placement }) => placement === 'page_cache');
    if (risen >= FAULTS_WORTH_WARMING && cached.length > 0) {
      this.warmings++;
      this.#log.warn(
        { majorFaults: risen, indexes: cached.length },
        'searches of tier dram waited for the disk: memory is short; reading their indexes again',
      );
      for (const { files, bundle } of cached) await warm(searchedPaths(files, bundle.manifest));
    }
    // The kernel walks every page to tell, and holds up who maps memory meanwhile: not for copies, which are whole.
    const isAnyMapped = [...pool.openIndexes(), ...ssdPool.openIndexes()].some(
      ({ placement }) => placement !== 'memory',
    );
    this.#mapped = isAnyMapped ? await mappedResidentBytes('self') : new Map();
    const byShadows = new Map<ProcessIndex, number>();
    for (const shadow of processes.indexes) {
      if (shadow.state.kind !== 'ready') continue;
      const mapped = await mappedResidentBytes(shadow.state.pid);
      byShadows.set(shadow, mapped.get(filesIn(shadow.bundle.folder).index) ?? 0);
    }
    this.#mappedByShadows = byShadows;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }
}

/** Errors of a process that ended meanwhile, or that may not be looked into, and of a system without /proc. */
const UNSEEN = ['ENOENT', 'ESRCH', 'EACCES', 'EPERM'];

/** Of every file mapped into a process, the largest of its mappings: each worker has one. Empty where it is unseen. */
async function mappedResidentBytes(pid: number | 'self'): Promise<ReadonlyMap<string, number>> {
  let smaps: string;
  try {
    smaps = await readFile(`/proc/${pid}/smaps`, 'latin1');
  } catch (error) {
    if (UNSEEN.includes((error as NodeJS.ErrnoException).code ?? '')) return new Map();
    throw error;
  }
  const found = new Map<string, number>();
  let file: string | null = null;
  for (const line of smaps.split('\n')) {
    const header = /^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+\s*(.*)$/.exec(line);
    if (header !== null) file = header[1]?.startsWith('/') === true ? decodePath(header[1]) : null;
    else if (file !== null && line.startsWith('Rss:'))
      found.set(file, Math.max(found.get(file) ?? 0, Number.parseInt(line.slice(4), 10) * 1024));
  }
  return found;
}

const decodePath = (latin1: string): string => Buffer.from(latin1, 'latin1').toString('utf8');
