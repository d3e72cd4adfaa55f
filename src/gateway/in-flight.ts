import { SwitchyardError } from '../errors.js';

interface Entry {
  settle(error: SwitchyardError): void;
}

/**
 * The requests that are being answered: each ends at its deadline whatever happens below, and a drain can wait
 * for all of them or end what is left.
 */
export class InFlight {
  readonly #entries = new Set<Entry>();
  #idleWaiters: (() => void)[] = [];

  get count(): number {
    return this.#entries.size;
  }

  /** The result of `start`, or DEADLINE_EXCEEDED. A deadline that has passed already starts nothing. */
  run<T>(deadlineAtMs: number, start: () => Promise<T>): Promise<T> {
    const remainingMs = deadlineAtMs - performance.now();
    if (remainingMs <= 0) return Promise.reject(deadlineExceeded());
    return new Promise<T>((resolve, reject) => {
      const work = start();
      const entry: Entry = {
        settle: (error) => {
          this.#end(entry, timer);
          reject(error);
        },
      };
      const timer = setTimeout(() => entry.settle(deadlineExceeded()), remainingMs);
      this.#entries.add(entry);
      work.then(
        (value) => {
          this.#end(entry, timer);
          resolve(value);
        },
        (error: unknown) => {
          this.#end(entry, timer);
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
    for (const entry of [...this.#entries]) entry.settle(error);
  }

  #end(entry: Entry, timer: NodeJS.Timeout): void {
    clearTimeout(timer);
    this.#entries.delete(entry);
    if (this.#entries.size > 0) return;
    const waiters = this.#idleWaiters;
    this.#idleWaiters = [];
    for (const wake of waiters) wake();
  }
}

const deadlineExceeded = (): SwitchyardError =>
  new SwitchyardError('DEADLINE_EXCEEDED', 'the deadline passed before there was an answer');
