import { SwitchyardError } from '../errors.js';
import { LaneDelays, type QueueTimeLimits } from '../process/controlled-delay.js';
import { LANES, type Lane } from '../vocabulary.js';
import { packQueries, unpackAnswers } from './group-codec.js';
import { LaneQueues } from './lane-queues.js';
import { LocalIndex, type PendingQuery } from './local-index.js';
import type { Bundle } from './manifest.js';
import { type Place, type PlacementKind, placeOnDisk, type SearchFiles } from './placement.js';
import { type Group, restarting, type SearchLog, SearchSeat } from './search-seat.js';
import { majorFaultsOfThread } from './thread-faults.js';
import { loadVerified, type Verification } from './verify-bundle.js';

/** Queries handed over in one message. A message hop costs a fifth of a search, so this is the largest lever. */
const GROUP_SIZE_MAX = 16;
/** Groups of the shadow and bulk lanes are small, and one per worker, so that a live query waits for few of them. */
const BACKGROUND_GROUP_SIZE_MAX = 4;
/** One in work and one that waits, so that a worker never idles between groups. */
const GROUPS_PER_WORKER = 2;
/** Live queries per worker, in work and waiting, above which the pool is behind. */
const LIVE_PER_WORKER_WHEN_BEHIND = 2;
/** How often expired queries are looked for, waiting and in work. */
const SWEEP_INTERVAL_MS = 20;

export interface SearchPoolOptions {
  readonly workers: number;
  /** Queries that may wait in each lane; more are refused with QUEUE_FULL. */
  readonly queueLengthMax: number;
  /** When who waits is refused with OVERLOADED. Default: never for that. */
  readonly queueTime?: QueueTimeLimits | null;
  readonly log?: SearchLog;
  /** Where indexes are searched. Default: where they were published. */
  readonly place?: Place;
  /** Count major page faults per index that has no copy in memory: two reads of /proc per search, 3 µs each. */
  readonly countFaults?: boolean;
}

/** An open index as metrics and watches see it. */
export interface OpenIndexReport {
  readonly bundle: Bundle;
  readonly placement: PlacementKind;
  readonly files: SearchFiles;
  /** Since it was opened; null where they are not counted: of a copy in memory there are none. */
  readonly majorFaults: number | null;
}

/** Running totals since the pool was made, and what is open now. Read them at scrape time. */
export interface SearchCounters {
  openIndexes: number;
  openBytes: number;
  searches: number;
  failures: number;
  expired: number;
  refused: number;
  /** Waited too long in a queue that stands. */
  shed: number;
  groups: number;
  workerDeaths: number;
}

/** What the registry says about the model of a bundle; `dimensions` are the model's full ones. */
export interface ExpectedModel {
  readonly fingerprint: string;
  readonly dimensions: number;
  readonly metric: string;
}

export interface PoolOpenOptions {
  readonly expected: ExpectedModel;
  /** Of `verifyBundle`, to spare hashing the files twice. */
  readonly verification?: Verification;
  readonly signal?: AbortSignal;
}

/** Worker threads that serve any number of indexes, with one queue per lane before them. */
export class SearchPool {
  readonly counters: SearchCounters = {
    openIndexes: 0,
    openBytes: 0,
    searches: 0,
    failures: 0,
    expired: 0,
    refused: 0,
    shed: 0,
    groups: 0,
    workerDeaths: 0,
  };
  readonly #options: SearchPoolOptions;
  /** Started with the first index that passes its verification. */
  #seats: readonly SearchSeat<PendingQuery>[] = [];
  readonly #queues: LaneQueues<PendingQuery>;
  readonly #delays: LaneDelays;
  readonly #indexes = new Map<LocalIndex, () => OpenIndexReport>();
  #nextIndex = 0;
  #flushScheduled = false;
  #sweep: NodeJS.Timeout | null = null;
  #closed: Promise<void> | null = null;

  constructor(options: SearchPoolOptions) {
    const { workers, queueLengthMax } = options;
    if (!Number.isInteger(workers) || workers < 1 || workers > 256)
      throw new SwitchyardError(
        'INVALID_CONFIG',
        `search workers ${workers} must be an integer from 1 to 256`,
      );
    if (!Number.isInteger(queueLengthMax) || queueLengthMax < 1)
      throw new SwitchyardError('INVALID_CONFIG', `queueLengthMax ${queueLengthMax} must be an integer >= 1`);
    this.#options = options;
    this.#queues = new LaneQueues(queueLengthMax);
    this.#delays = new LaneDelays(options.queueTime ?? null);
  }

  #start(): void {
    const events = {
      answered: this.#answered.bind(this),
      lost: this.#lost.bind(this),
      changed: this.#changed.bind(this),
    };
    const { workers, log } = this.#options;
    this.#seats = Array.from({ length: workers }, () => new SearchSeat<PendingQuery>(events, log));
  }

  /** Queries that wait now. */
  queueLength(lane: Lane): number {
    return this.#queues.lengthOf(lane);
  }

  /** Workers that can answer now. */
  get workersReady(): number {
    return this.#seats.filter((seat) => seat.isReady).length;
  }

  openIndexes(): readonly OpenIndexReport[] {
    return [...this.#indexes.values()].map((report) => report());
  }

  /** Of all threads that search now. */
  majorFaults(): number {
    return this.#seats.reduce((sum, seat) => sum + majorFaultsOfThread(seat.threadId), 0);
  }

  /** More live queries than every worker has in work and one behind it: nothing else should be asked of the cores. */
  get isBehind(): boolean {
    let live = this.#queues.lengthOf('live');
    for (const seat of this.#seats) live += seat.liveCount;
    return live > LIVE_PER_WORKER_WHEN_BEHIND * this.workersReady;
  }

  /**
   * Verifies the bundle's files (unless that was just done), prefaults index.usearch, and maps it in every worker.
   * Errors: FINGERPRINT_MISMATCH, CORRUPT_BUNDLE with the file's name, UNKNOWN_BUILD, INDEX_UNAVAILABLE.
   */
  async open(given: Bundle, options: PoolOpenOptions): Promise<LocalIndex> {
    if (this.#isClosed()) throw poolClosed();
    // Before gigabytes are hashed, and again below for what the folder really holds.
    checkExpected(given, options.expected);
    const { bundle, ids, identities } = await loadVerified(given, options.verification, options.signal);
    checkExpected(bundle, options.expected);
    if (this.#isClosed()) throw poolClosed();
    if (this.#seats.length === 0) this.#start();
    const { manifest, folder } = bundle;
    const { place = placeOnDisk, countFaults = false } = this.#options;
    const placement = await place(bundle, identities, options.signal);
    const number = this.#nextIndex++;
    const majorFaults = countFaults && placement.kind !== 'memory' ? new SharedArrayBuffer(8) : null;
    const message = {
      kind: 'open',
      index: number,
      folder,
      files: placement.files,
      manifest,
      ids,
      identities: placement.identities,
      hasDocuments: manifest.files['documents.jsonl'] !== undefined,
      majorFaults,
    } as const;
    const opened = await Promise.allSettled(this.#seats.map((seat) => seat.open(message)));
    const failed = opened.find((result) => result.status === 'rejected');
    if (failed !== undefined || options.signal?.aborted === true || this.#isClosed()) {
      await Promise.all(this.#seats.map((seat) => seat.close(number)));
      await placement.release();
      throw failed?.reason ?? options.signal?.reason ?? poolClosed();
    }
    const bytes = Object.values(manifest.files).reduce((sum, file) => sum + file.bytes, 0);
    const index = new LocalIndex(bundle, number, ids, {
      unavailable: () => (this.workersReady === 0 ? restarting() : null),
      submit: (query) => this.#submit(query),
      unmap: async () => {
        await Promise.all(this.#seats.map((seat) => seat.close(number)));
        await placement.release();
        this.#indexes.delete(index);
        this.counters.openIndexes--;
        this.counters.openBytes -= bytes;
      },
    });
    this.#indexes.set(index, () => ({
      bundle,
      placement: placement.kind,
      files: placement.files,
      majorFaults: majorFaults === null ? null : Number(new BigInt64Array(majorFaults)[0]),
    }));
    this.counters.openIndexes++;
    this.counters.openBytes += bytes;
    return index;
  }

  /** Answers what was accepted, unmaps every index, and ends the workers. */
  close(): Promise<void> {
    this.#closed ??= (async () => {
      await Promise.all([...this.#indexes.keys()].map((index) => index.close()));
      await Promise.all(this.#seats.map((seat) => seat.end()));
      if (this.#sweep !== null) clearTimeout(this.#sweep);
    })();
    return this.#closed;
  }

  #isClosed(): boolean {
    return this.#closed !== null;
  }

  #submit(query: PendingQuery): void {
    this.counters.searches++;
    if (this.workersReady === 0) {
      this.#reject(query, restarting());
      return;
    }
    if (!this.#queues.push(query)) {
      this.counters.refused++;
      this.#reject(
        query,
        new SwitchyardError(
          'QUEUE_FULL',
          `${this.#options.queueLengthMax} ${query.lane} searches wait already: send fewer at once, or try again later`,
        ),
      );
      return;
    }
    // After everything that arrived with it was decoded, so that it can share a message.
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    setImmediate(() => {
      this.#flushScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    for (const lane of LANES) while (this.#handOver(lane));
    for (const lane of LANES) if (this.#queues.lengthOf(lane) === 0) this.#delays.emptied(lane);
    if (this.#sweep !== null) return;
    if (this.#queues.isEmpty && this.#seats.every(({ groupCount }) => groupCount === 0)) return;
    this.#sweep = setTimeout(() => {
      this.#sweep = null;
      const nowMs = performance.now();
      // Of a standing queue those go first who would be searched last: they only hold places. Live ones when it is their turn.
      this.#queues.remove((waiting) =>
        waiting.lane === 'live' ? this.#dropsExpired(waiting, nowMs) : this.#drops(waiting, nowMs),
      );
      // A worker that hangs answers nobody, and cannot be ended: its queries end at their deadlines all the same.
      for (const { groups } of this.#seats)
        for (const { queries } of groups) for (const query of queries) this.#dropsExpired(query, nowMs);
      this.#flush();
    }, SWEEP_INTERVAL_MS);
    this.#sweep.unref();
  }

  /** Hands one group of the lane to the least busy worker; false when there is none to hand, or no room. */
  #handOver(lane: Lane): boolean {
    const waiting = this.#queues.lengthOf(lane);
    if (waiting === 0) return false;
    const isLive = lane === 'live';
    let seat: SearchSeat<PendingQuery> | null = null;
    let seats = 0;
    for (const candidate of this.#seats) {
      if (!candidate.isReady || candidate.groupCount >= GROUPS_PER_WORKER) continue;
      if (!isLive && candidate.hasBackgroundGroup) continue;
      seats++;
      if (seat === null || candidate.groupCount < seat.groupCount) seat = candidate;
    }
    if (seat === null) return false;
    // What waits is shared among workers, not among their places: half the messages, and what comes next finds the second place.
    const size = Math.min(isLive ? GROUP_SIZE_MAX : BACKGROUND_GROUP_SIZE_MAX, Math.ceil(waiting / seats));
    const nowMs = performance.now();
    const queries = this.#queues.take(lane, size, (query) => this.#drops(query, nowMs));
    const last = queries.at(-1);
    if (last === undefined) return true;
    this.#delays.began(lane, nowMs - last.queuedAtMs, nowMs);
    this.counters.groups++;
    seat.hand({ queries, isLive }, packQueries(queries));
    return true;
  }

  #answered(group: Group<PendingQuery>, answers: Parameters<typeof unpackAnswers>[1]): void {
    unpackAnswers(group.queries, answers, (query, error) => {
      if (error === null) this.#expire(query);
      else this.#reject(query, error);
    });
    this.#flush();
  }

  /** One death is one failure, which all that it took with it share: it counts once against their target. */
  #lost(groups: readonly Group<PendingQuery>[]): void {
    const error = new SwitchyardError(
      'INDEX_UNAVAILABLE',
      'the search worker died during this search: try again',
    );
    for (const { queries } of groups) for (const query of queries) this.#reject(query, error);
  }

  #changed(isReady: boolean): void {
    if (!isReady) this.counters.workerDeaths++;
    if (this.workersReady === 0) {
      const error = restarting();
      for (const query of this.#queues.remove(() => true)) this.#reject(query, error);
    }
    this.#flush();
  }

  /** Whether the query goes without a search: told so here. */
  #drops(query: PendingQuery, nowMs: number): boolean {
    if (this.#dropsExpired(query, nowMs)) return true;
    if (!this.#delays.isTooLong(query.lane, nowMs - query.queuedAtMs)) return false;
    this.counters.shed++;
    this.#reject(
      query,
      new SwitchyardError(
        'OVERLOADED',
        'the search waited too long in a queue that does not drain: try again later, or ask another replica',
        { details: { queue: 'search', lane: query.lane } },
      ),
    );
    return true;
  }

  #dropsExpired(query: PendingQuery, nowMs: number): boolean {
    if (query.deadlineAtMs > nowMs) return false;
    this.#expire(query);
    return true;
  }

  #expire(query: PendingQuery): void {
    if (query.isOver) return;
    query.isOver = true;
    this.counters.expired++;
    query.reject(
      new SwitchyardError('DEADLINE_EXCEEDED', 'the deadline passed before a worker answered the search'),
    );
  }

  #reject(query: PendingQuery, error: SwitchyardError): void {
    if (query.isOver) return;
    query.isOver = true;
    this.counters.failures++;
    query.reject(error);
  }
}

const poolClosed = (): SwitchyardError =>
  new SwitchyardError('INDEX_UNAVAILABLE', 'the search pool is closed');

/** Errors: FINGERPRINT_MISMATCH naming the field that differs. */
export function checkExpected(bundle: Bundle, expected: ExpectedModel): void {
  const { manifest } = bundle;
  const found: ExpectedModel = {
    fingerprint: manifest.model.fingerprint,
    dimensions: manifest.full_dimensions,
    metric: manifest.metric,
  };
  for (const field of ['fingerprint', 'dimensions', 'metric'] as const)
    if (found[field] !== expected[field])
      throw new SwitchyardError(
        'FINGERPRINT_MISMATCH',
        `the bundle ${manifest.corpus}/${manifest.version} was built with ${field} ${found[field]}, and ${expected[field]} is expected: route it with its own model, or rebuild it`,
        { details: { field, expected: String(expected[field]), found: String(found[field]) } },
      );
}
