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
 * the same work would fail for it as well; where the leader failed for reasons of its own, another takes the lead.
 */
export class SingleFlight<T> {
  readonly #timers: Timers;
  readonly #flights = new Map<string, Promise<Outcome<T>>>();
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
    const flight = settled(work).then((outcome) => {
      this.#flights.delete(key);
      return outcome;
    });
    this.#flights.set(key, flight);
    return flight;
  }

  #inTime(flight: Promise<Outcome<T>>, deadlineAtMs: number): Promise<Outcome<T>> {
    if (deadlineAtMs === Number.POSITIVE_INFINITY) return flight;
    return new Promise((resolve, reject) => {
      const cancel = this.#timers.after(deadlineAtMs - this.#timers.nowMs(), () =>
        reject(
          new SwitchyardError('DEADLINE_EXCEEDED', 'the deadline passed while the same query was under way'),
        ),
      );
      void flight.then((outcome) => {
        cancel();
        resolve(outcome);
      });
    });
  }
}

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
