import { REASONS, SwitchyardError, toSwitchyardError } from '../errors.js';
import type { Timers } from '../process/timers.js';

type Outcome<T> = { readonly value: T } | { readonly error: SwitchyardError };

export interface Flown<T> {
  readonly value: T;
  /** Whether somebody else did the work. */
  readonly joined: boolean;
}

/** A caller waits for the work of others so often, then does its own. */
const JOINS_MAX = 2;

/**
 * Concurrent calls of one key do their work once. Every caller keeps its own deadline, and shares a failure only when
 * the same work would fail for it as well; where the leader failed for reasons of its own, another takes the lead. All
 * for whom one flight is too late get one and the same error: whoever counts errors counts what hung once.
 */
export class SingleFlight<T> {
  readonly #timers: Timers;
  readonly #flights = new Flights<T>();
  #joined = 0;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  /** Calls that waited for another's work. */
  get joined(): number {
    return this.#joined;
  }

  get inFlight(): number {
    return this.#flights.size;
  }

  /** `work` begins before this returns, unless it is under way already. Errors: those of the work; DEADLINE_EXCEEDED. */
  async run(key: string, deadlineAtMs: number, work: () => Promise<T>): Promise<Flown<T>> {
    for (let joins = 0; joins < JOINS_MAX; joins++) {
      const flight = this.#flights.get(key);
      if (flight === undefined) return { value: unwrap(await this.#lead(key, work)), joined: false };
      this.#joined++;
      const outcome = await this.#inTime(flight, deadlineAtMs);
      if ('value' in outcome) return { value: outcome.value, joined: true };
      if (isShared(outcome.error)) throw outcome.error;
    }
    return { value: await work(), joined: false };
  }

  #lead(key: string, work: () => Promise<T>): Promise<Outcome<T>> {
    const outcome: Promise<Outcome<T>> = settled(work).then((settledAs) => {
      this.#flights.delete(key);
      return settledAs;
    });
    this.#flights.add(key, outcome);
    return outcome;
  }

  #inTime(flight: Flight<T>, deadlineAtMs: number): Promise<Outcome<T>> {
    if (deadlineAtMs === Number.POSITIVE_INFINITY) return flight.outcome;
    return new Promise((resolve, reject) => {
      const cancel = this.#timers.after(deadlineAtMs - this.#timers.nowMs(), () => {
        flight.late ??= tooLate();
        reject(flight.late);
      });
      void flight.outcome.then((outcome) => {
        cancel();
        resolve(outcome);
      });
    });
  }
}

interface Flight<T> {
  readonly key: string;
  readonly outcome: Promise<Outcome<T>>;
  /** What those are told whose deadline passes while they wait for it; null while there was nobody. */
  late: SwitchyardError | null;
  after: Flight<T> | null;
}

/** A power of two. */
const BUCKETS = 1024;

/** Flights by key, which is a digest: short lists, for the reason that LinkedList is there instead of Set. */
class Flights<T> {
  readonly #buckets = new Array<Flight<T> | null>(BUCKETS).fill(null);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(key: string): Flight<T> | undefined {
    for (let at = this.#buckets[bucketOf(key)] ?? null; at !== null; at = at.after)
      if (at.key === key) return at;
    return undefined;
  }

  /** There must be none of this key. */
  add(key: string, outcome: Promise<Outcome<T>>): void {
    const bucket = bucketOf(key);
    this.#buckets[bucket] = { key, outcome, late: null, after: this.#buckets[bucket] ?? null };
    this.#size++;
  }

  delete(key: string): void {
    const bucket = bucketOf(key);
    let before: Flight<T> | null = null;
    for (let at = this.#buckets[bucket] ?? null; at !== null; before = at, at = at.after) {
      if (at.key !== key) continue;
      if (before === null) this.#buckets[bucket] = at.after;
      else before.after = at.after;
      at.after = null;
      this.#size--;
      return;
    }
  }
}

/** Of the last two characters, which of a digest are as good as any. */
const bucketOf = (key: string): number =>
  ((key.charCodeAt(key.length - 1) << 5) ^ key.charCodeAt(key.length - 2)) & (BUCKETS - 1);

const tooLate = (): SwitchyardError =>
  new SwitchyardError('DEADLINE_EXCEEDED', 'the deadline passed while the same query was under way');

/** What would fail for everybody: the request itself, or a queue that has no room for one more. */
const isShared = ({ reason }: SwitchyardError): boolean =>
  reason === 'QUEUE_FULL' || REASONS[reason].retry === 'never';

async function settled<T>(work: () => Promise<T>): Promise<Outcome<T>> {
  try {
    return { value: await work() };
  } catch (thrown) {
    return { error: toSwitchyardError(thrown) };
  }
}

function unwrap<T>(outcome: Outcome<T>): T {
  if ('value' in outcome) return outcome.value;
  throw outcome.error;
}
