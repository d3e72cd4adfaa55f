import { SwitchyardError } from '../../errors.js';
import { MANIFEST_FILE } from '../file-names.js';
import type { Bundle } from '../manifest.js';
import { corruptBundle, readBundle } from '../read-bundle.js';
import { checkExpected, type ExpectedModel } from '../search-pool.js';
import { compileOptions, type IndexProcessOptions, type IndexProcessSettings } from './options.js';
import { ProcessIndex } from './process-index.js';

export interface ProcessOpenOptions {
  readonly expected: ExpectedModel;
  readonly signal?: AbortSignal;
}

/** Running totals, those of closed indexes included, and what is open now. Read them at scrape time. */
export interface IndexProcessCounters {
  readonly openIndexes: number;
  readonly openBytes: number;
  readonly restarts: number;
  readonly searches: number;
  readonly failures: number;
  readonly expired: number;
  readonly refused: number;
}

type Totals = Omit<IndexProcessCounters, 'openIndexes' | 'openBytes'>;
const NOTHING: Totals = { restarts: 0, searches: 0, failures: 0, expired: 0, refused: 0 };

/**
 * The isolated indexes of a gateway, each in a process of its own (docs/decisions/0036): no process before the first
 * is opened, none left after `close`.
 * Errors: INVALID_CONFIG for options outside their limits.
 */
export class IndexProcesses {
  readonly #settings: IndexProcessSettings;
  /** Opening, open and closing ones. */
  readonly #indexes = new Set<ProcessIndex>();
  #before: Totals = NOTHING;
  #closed: Promise<void> | null = null;

  constructor(options: IndexProcessOptions) {
    this.#settings = compileOptions(options);
  }

  /** For metrics and for whoever looks at one of them. */
  get indexes(): readonly ProcessIndex[] {
    return [...this.#indexes];
  }

  get counters(): IndexProcessCounters {
    const open = this.indexes.filter((index) => index.state.kind === 'ready');
    return {
      ...this.indexes.reduce(addTotals, this.#before),
      openIndexes: open.length,
      openBytes: open.reduce((sum, index) => sum + index.bytes, 0),
    };
  }

  /**
   * Starts a process that verifies the bundle's files, prefaults index.usearch, and maps it in its own workers.
   * After a crash it does all of that again; until then searches fail with INDEX_UNAVAILABLE.
   * Errors: FINGERPRINT_MISMATCH, CORRUPT_BUNDLE with the file's name, UNKNOWN_BUILD, INDEX_UNAVAILABLE; the signal's
   * reason when it was aborted.
   */
  async open(given: Bundle, { expected, signal }: ProcessOpenOptions): Promise<ProcessIndex> {
    if (this.#isClosed()) throw processesClosed();
    checkExpected(given, expected);
    // The caller's object is only a claim: the folder decides.
    const bundle = await readBundle(given.folder);
    if (bundle.digest !== given.digest)
      throw corruptBundle(bundle.folder, MANIFEST_FILE, 'it changed since it was read');
    checkExpected(bundle, expected);
    signal?.throwIfAborted();
    if (this.#isClosed()) throw processesClosed();
    const { fingerprint, dimensions, metric } = expected;
    const index = new ProcessIndex(bundle, { fingerprint, dimensions, metric }, this.#settings, () => {
      this.#before = addTotals(this.#before, index);
      this.#indexes.delete(index);
    });
    this.#indexes.add(index);
    const onAbort = (): void => void index.close();
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      await index.opened();
      signal?.throwIfAborted();
      return index;
    } catch (error) {
      await index.close();
      throw signal?.aborted === true ? signal.reason : error;
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** Answers what is in flight, as far as it is answered soon, and ends every process. */
  close(): Promise<void> {
    this.#closed ??= Promise.all([...this.#indexes].map((index) => index.close())).then(() => undefined);
    return this.#closed;
  }

  #isClosed(): boolean {
    return this.#closed !== null;
  }
}

function addTotals(totals: Totals, { restarts, counters }: ProcessIndex): Totals {
  return {
    restarts: totals.restarts + restarts,
    searches: totals.searches + counters.searches,
    failures: totals.failures + counters.failures,
    expired: totals.expired + counters.expired,
    refused: totals.refused + counters.refused,
  };
}

const processesClosed = (): SwitchyardError =>
  new SwitchyardError('INDEX_UNAVAILABLE', 'the index processes are closed');
