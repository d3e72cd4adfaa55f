import { SwitchyardError } from '../../errors.js';

/** One refusal is made for all who are refused within it. */
const REFUSAL_MS = 100;
const RETRY_AFTER_MS_MAX = 5_000;

/**
 * Made once for all who are refused together: under overload there are many, and each must be cheap. They are asked to
 * stay away for longer the more of them there are for each that was let in.
 */
export class Refusals {
  readonly #what: string;
  readonly #kind: string;
  readonly #limit: () => number;
  readonly #nowMs: () => number;
  #current: SwitchyardError | null = null;
  #untilMs = 0;
  #entered = 0;
  #refused = 0;

  /** `what`: the requests, for messages; `kind`: as metrics name them; `limit`: how many may be in flight now. */
  constructor(what: string, kind: string, limit: () => number, nowMs: () => number) {
    this.#what = what;
    this.#kind = kind;
    this.#limit = limit;
    this.#nowMs = nowMs;
  }

  entered(weight: number): void {
    this.#entered += weight;
  }

  next(): SwitchyardError {
    this.#refused++;
    const nowMs = this.#nowMs();
    if (this.#current !== null && nowMs < this.#untilMs) return this.#current;
    const excess = this.#refused / Math.max(1, this.#entered);
    const retryAfterMs = Math.min(RETRY_AFTER_MS_MAX, Math.ceil(REFUSAL_MS * (1 + excess)));
    const limit = this.#limit();
    this.#entered = 0;
    this.#refused = 0;
    this.#untilMs = nowMs + REFUSAL_MS;
    this.#current = new SwitchyardError(
      'OVERLOADED',
      `as many ${this.#what} are in flight as are answered in time (${limit}): try again in ${retryAfterMs} ms, or ask another replica`,
      { details: { kind: this.#kind, limit: String(limit) }, retryAfterMs },
    );
    return this.#current;
  }
}
