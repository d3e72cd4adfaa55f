import { SwitchyardError } from '../../errors.js';

/** A burst of up to this many seconds' worth of requests is taken at once. */
const BURST_S = 1;

export interface QuotaLimits {
  readonly requestsPerS: number | null;
  readonly concurrencyMax: number | null;
}

/**
 * What one key, with those that it was rotated from, may use up in this process: a bucket of requests that fills steadily, and requests open at once. A batch
 * is paid for after it was read, so it can leave the bucket in debt, which the next requests wait for.
 */
export class Quota {
  readonly #limits: QuotaLimits;
  readonly #now: () => number;
  #tokens: number;
  #filledAtMs: number;
  #open = 0;

  /** `now`: a monotonic clock in milliseconds. */
  constructor(limits: QuotaLimits, now: () => number) {
    this.#limits = limits;
    this.#now = now;
    this.#tokens = bucketSize(limits.requestsPerS);
    this.#filledAtMs = now();
  }

  get open(): number {
    return this.#open;
  }

  /** Takes a request in; each that was must `leave`. Errors: QUOTA_EXCEEDED, saying when to come back. */
  enter(): void {
    const { requestsPerS, concurrencyMax } = this.#limits;
    if (concurrencyMax !== null && this.#open >= concurrencyMax)
      throw exceeded(
        'concurrency',
        concurrencyMax,
        `the key has ${this.#open} requests open, its limit is ${concurrencyMax}: wait for one to end`,
        1_000,
      );
    if (requestsPerS !== null) {
      this.#fill(requestsPerS);
      if (this.#tokens < 1)
        throw exceeded(
          'requests_per_s',
          requestsPerS,
          `the key sends more than its ${requestsPerS} requests a second: slow down`,
          Math.ceil(((1 - this.#tokens) / requestsPerS) * 1_000),
        );
      this.#tokens -= 1;
    }
    this.#open += 1;
  }

  leave(): void {
    this.#open -= 1;
  }

  /** What a request turned out to hold beyond the one that `enter` counted. */
  charge(more: number): void {
    if (this.#limits.requestsPerS !== null) this.#tokens -= more;
  }

  #fill(requestsPerS: number): void {
    const nowMs = this.#now();
    const gained = ((nowMs - this.#filledAtMs) / 1_000) * requestsPerS;
    this.#filledAtMs = nowMs;
    this.#tokens = Math.min(bucketSize(requestsPerS), this.#tokens + gained);
  }
}

const bucketSize = (requestsPerS: number | null): number => Math.max(1, (requestsPerS ?? 0) * BURST_S);

const exceeded = (limit: string, max: number, message: string, retryAfterMs: number): SwitchyardError =>
  new SwitchyardError('QUOTA_EXCEEDED', message, { details: { limit, max: String(max) }, retryAfterMs });
