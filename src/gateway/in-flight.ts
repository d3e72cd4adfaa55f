import { SwitchyardError } from '../errors.js';
import { LinkedList, type Place } from '../process/linked-list.js';

/** Deadlines that fall together are looked at together. */
const SWEEP_MS_MIN = 1;
/** Longest delay setTimeout honours; a deadline beyond it is looked at again. */
const SWEEP_MS_MAX = 2 ** 31 - 1;

interface Entry {
  readonly deadlineAtMs: number;
  readonly reject: (error: unknown) => void;
}

/**
 * The requests that are being answered: each ends at its deadline whatever happens below, and a drain can wait
 * for all of them or end what is left. One timer, for the earliest deadline, serves them all: most requests are
 * answered long before, and a timer of each one's own would cost as much as all the rest of this.
 */
export class InFlight {
  readonly #entries = new LinkedList<Entry>();
  #idleWaiters: (() => void)[] = [];
  #sweep: NodeJS.Timeout | null = null;
  #sweepAtMs = Number.POSITIVE_INFINITY;

  get count(): number {
    return this.#entries.size;
  }

  /** The result of `start`, or DEADLINE_EXCEEDED. `nowMs`: by `performance.now()`, which the caller looked at already. */
  run<Argument, T>(
    deadlineAtMs: number,
    nowMs: number,
    start: (argument: Argument) => Promise<T>,
    argument: Argument,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const work = start(argument);
      const entry = this.#entries.add({ deadlineAtMs, reject });
      if (deadlineAtMs < this.#sweepAtMs) this.#sweepAt(deadlineAtMs, nowMs);
      work.then(
        (value) => {
          this.#end(entry);
          resolve(value);
        },
        (error: unknown) => {
          this.#end(entry);
          reject(error);
        },
      );
    });
  }

  /** True when nothing is in flight; false when `capMs` passed first. */
  idle(capMs: number): Promise<boolean> {
    if (this.#entries.size === 0) return Promise.resolve(true);
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), capMs);
      this.#idleWaiters.push(() => {
        clearTimeout(timer);
        resolve(true);
      });
    });
  }

  /** Answers everything that is left with SHUTTING_DOWN. */
  abort(): void {
    const error = new SwitchyardError(
      'SHUTTING_DOWN',
      'the gateway is shutting down and its drain period is over: try another replica',
    );
    for (const entry of this.#entries.places()) {
      this.#end(entry);
      entry.value.reject(error);
    }
  }

  #sweepAt(atMs: number, nowMs: number): void {
    if (this.#sweep !== null) clearTimeout(this.#sweep);
    this.#sweepAtMs = atMs;
    const delayMs = Math.min(Math.max(atMs - nowMs, SWEEP_MS_MIN), SWEEP_MS_MAX);
    this.#sweep = setTimeout(() => this.#endExpired(), delayMs);
    // Requests hold the process by their connections; a timer of requests long answered must not.
    this.#sweep.unref();
  }

  #endExpired(): void {
    this.#sweep = null;
    this.#sweepAtMs = Number.POSITIVE_INFINITY;
    const nowMs = performance.now();
    let earliestMs = Number.POSITIVE_INFINITY;
    for (const entry of this.#entries.places()) {
      const { deadlineAtMs, reject } = entry.value;
      if (deadlineAtMs > nowMs) {
        if (deadlineAtMs < earliestMs) earliestMs = deadlineAtMs;
        continue;
      }
      this.#end(entry);
      reject(deadlineExceeded());
    }
    if (earliestMs < this.#sweepAtMs) this.#sweepAt(earliestMs, nowMs);
  }

  #end(entry: Place<Entry>): void {
    if (!this.#entries.remove(entry) || this.#entries.size > 0) return;
    const waiters = this.#idleWaiters;
    this.#idleWaiters = [];
    for (const wake of waiters) wake();
  }
}

export const deadlineExceeded = (): SwitchyardError =>
  new SwitchyardError('DEADLINE_EXCEEDED', 'the deadline passed before there was an answer');
