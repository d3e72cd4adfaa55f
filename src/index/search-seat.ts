import { Worker } from 'node:worker_threads';
import { errorFromFrame, SwitchyardError } from '../errors.js';
import { Slots } from '../process/slots.js';
import type {
  FromSearchWorker,
  OpenMessage,
  SearchMessage,
  SearchWorkerData,
  ToSearchWorker,
} from './search-protocol.js';

const RESTART_DELAY_MIN_MS = 50;
const RESTART_DELAY_MAX_MS = 5_000;

export interface SearchLog {
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}

type Answers = Extract<FromSearchWorker, { kind: 'answers' }>;

/** What was handed over together. */
export interface Group<T> {
  readonly queries: readonly T[];
  readonly isLive: boolean;
}

export interface SeatEvents<T> {
  answered(group: Group<T>, answers: Answers): void;
  /** The worker died with these in work, or with none. */
  lost(groups: readonly Group<T>[]): void;
  /** It went down, or came back. */
  changed(isReady: boolean): void;
}

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Life of the worker in a seat. `ended` is for good. */
type SeatState =
  | { readonly kind: 'running'; readonly worker: Worker; readonly reopening: Set<number> }
  | { readonly kind: 'down'; readonly restart: NodeJS.Timeout }
  | { readonly kind: 'ended' };

/** One place in a pool: a search worker, what it has open, what it is busy with, and its restarts. */
export class SearchSeat<T> {
  readonly #events: SeatEvents<T>;
  readonly #log: SearchLog | undefined;
  readonly #open = new Map<number, OpenMessage>();
  readonly #groups = new Slots<Group<T>>();
  readonly #opening = new Map<number, Waiter>();
  readonly #closing = new Map<number, Waiter>();
  readonly #threadId = new SharedArrayBuffer(4);
  #state: SeatState;
  #crashesInARow = 0;
  #onEnded: (() => void) | null = null;

  constructor(events: SeatEvents<T>, log: SearchLog | undefined) {
    this.#events = events;
    this.#log = log;
    this.#state = this.#start();
  }

  get isReady(): boolean {
    return this.#state.kind === 'running' && this.#state.reopening.size === 0;
  }

  /** The system's id of the worker's thread; 0 before it runs, and where the system has none. */
  get threadId(): number {
    return new Int32Array(this.#threadId)[0] ?? 0;
  }

  get groupCount(): number {
    return this.#groups.size;
  }

  /** Live queries handed over and not answered. */
  get liveCount(): number {
    let count = 0;
    for (const { isLive, queries } of this.#groups) if (isLive) count += queries.length;
    return count;
  }

  get groups(): Iterable<Group<T>> {
    return this.#groups;
  }

  get hasBackgroundGroup(): boolean {
    for (const group of this.#groups) if (!group.isLive) return true;
    return false;
  }

  hand(group: Group<T>, message: Omit<SearchMessage, 'kind' | 'group'>): void {
    this.#post({ kind: 'search', group: this.#groups.add(group), ...message });
  }

  open(message: OpenMessage): Promise<void> {
    if (!this.isReady) return Promise.reject(restarting());
    return new Promise((resolve, reject) => {
      this.#opening.set(message.index, { resolve, reject });
      this.#open.set(message.index, message);
      this.#post(message);
    });
  }

  /** Resolves when the worker unmapped the files, or died, which unmaps them as well. */
  close(index: number): Promise<void> {
    this.#open.delete(index);
    if (this.#state.kind !== 'running') return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#closing.set(index, { resolve, reject });
      this.#post({ kind: 'close', index });
    });
  }

  /** Lets the worker finish the native call it is in; terminating it there could abort the process. */
  async end(): Promise<void> {
    const state = this.#state;
    if (state.kind === 'ended') return;
    if (state.kind === 'down') {
      clearTimeout(state.restart);
      this.#state = { kind: 'ended' };
      return;
    }
    const ended = new Promise<void>((resolve) => {
      this.#onEnded = resolve;
    });
    this.#post({ kind: 'end' });
    await ended;
  }

  #post(message: ToSearchWorker): void {
    if (this.#state.kind === 'running') this.#state.worker.postMessage(message);
  }

  #start(): SeatState {
    const worker = new Worker(new URL('./search-worker.js', import.meta.url), {
      name: 'switchyard-search',
      workerData: { threadId: this.#threadId } satisfies SearchWorkerData,
    });
    worker.on('message', (message: FromSearchWorker) => this.#receive(message));
    let cause: unknown;
    worker.on('error', (error) => {
      cause = error;
    });
    worker.on('exit', (exitCode) => this.#exited(exitCode, cause));
    return { kind: 'running', worker, reopening: new Set(this.#open.keys()) };
  }

  #restart(): void {
    this.#state = this.#start();
    for (const message of this.#open.values()) this.#post(message);
    this.#log?.info({ indexes: this.#open.size }, 'search worker restarted');
    if (this.isReady) this.#events.changed(true);
  }

  #receive(message: FromSearchWorker): void {
    switch (message.kind) {
      case 'answers': {
        const group = this.#groups.take(message.group);
        this.#crashesInARow = 0;
        if (group !== undefined) this.#events.answered(group, message);
        break;
      }
      case 'opened':
        this.#opening.get(message.index)?.resolve();
        this.#settled(message.index);
        break;
      case 'open_failed': {
        const error = errorFromFrame(message.error);
        this.#log?.warn(
          { reason: error.reason, err: error.message },
          'search worker could not open an index',
        );
        this.#open.delete(message.index);
        this.#opening.get(message.index)?.reject(error);
        this.#settled(message.index);
        break;
      }
      case 'closed':
        this.#closing.get(message.index)?.resolve();
        this.#closing.delete(message.index);
        break;
      default:
        message satisfies never;
    }
  }

  #settled(index: number): void {
    this.#opening.delete(index);
    if (this.#state.kind !== 'running' || !this.#state.reopening.delete(index)) return;
    if (this.isReady) this.#events.changed(true);
  }

  #exited(exitCode: number, cause: unknown): void {
    const groups = this.#groups.takeAll();
    for (const waiter of this.#opening.values()) waiter.reject(restarting());
    this.#opening.clear();
    for (const waiter of this.#closing.values()) waiter.resolve();
    this.#closing.clear();
    if (this.#onEnded !== null) {
      this.#state = { kind: 'ended' };
      this.#events.lost(groups);
      this.#onEnded();
      return;
    }
    const delayMs = Math.min(RESTART_DELAY_MIN_MS * 2 ** this.#crashesInARow++, RESTART_DELAY_MAX_MS);
    this.#state = { kind: 'down', restart: setTimeout(() => this.#restart(), delayMs) };
    this.#log?.warn({ exitCode, err: cause, retryInMs: delayMs }, 'search worker died');
    this.#events.changed(false);
    this.#events.lost(groups);
  }
}

export const restarting = (): SwitchyardError =>
  new SwitchyardError('INDEX_UNAVAILABLE', 'a search worker is restarting: try again');
