/** Fewer requests say little; they are then waited for, for so many intervals. */
const SAMPLES_MIN = 8;
const INTERVALS_MAX = 10;
/** One interval takes away no more than this share, whatever it saw. */
const DECREASE_LEAST = 0.5;

export interface AdaptiveLimitOptions {
  /** Queue time that a request may always have; a limit that gives more is lowered. */
  readonly queueMsTarget: number;
  /** What stands for a queue that had no room: who waits longer is dropped. */
  readonly queueMsMax: number;
  /** CoDel's: long enough that a burst drains within it, so that what is left at its end is a standing queue. */
  readonly intervalMs: number;
  readonly limitMin: number;
  readonly limitMax: number;
}

/**
 * How many requests may be in flight. The signal is CoDel's (Nichols and Jacobson, 2012): the least queue time of an
 * interval, which a burst leaves low and a standing queue does not. The control is AIMD: by the ratio of target and
 * queue time down, by half a square root up, and up only where the limit was what held requests back.
 */
export class AdaptiveLimit {
  readonly #options: AdaptiveLimitOptions;
  readonly #nowMs: () => number;
  #limit: number;
  #startedAtMs: number;
  #samples = 0;
  #queueMsLeast = Number.POSITIVE_INFINITY;
  #inFlightMost = 0;
  #queueMs = 0;

  /** `nowMs`: a monotonic clock. */
  constructor(options: AdaptiveLimitOptions, nowMs: () => number) {
    this.#options = options;
    this.#nowMs = nowMs;
    this.#limit = options.limitMax;
    this.#startedAtMs = nowMs();
  }

  get limit(): number {
    return this.#limit;
  }

  /** Least queue time of the last interval that was looked at; never infinite. */
  get queueMs(): number {
    return this.#queueMs;
  }

  /**
   * A request ended. `queueMs`: how long it waited, infinite where the queue had no room; `inFlight`: how many there were,
   * with it. `wasCutShort`: its deadline passed, so it would have waited longer than that; how long is not known, and
   * below the target it is no sign of a queue, nor of there being none.
   */
  observe(queueMs: number, inFlight: number, wasCutShort = false): void {
    if (wasCutShort && queueMs <= this.#options.queueMsTarget) return;
    this.#samples++;
    if (queueMs < this.#queueMsLeast) this.#queueMsLeast = queueMs;
    if (inFlight > this.#inFlightMost) this.#inFlightMost = inFlight;
    const { intervalMs } = this.#options;
    const elapsedMs = this.#nowMs() - this.#startedAtMs;
    if (elapsedMs < intervalMs) return;
    if (this.#samples < SAMPLES_MIN && elapsedMs < intervalMs * INTERVALS_MAX) return;
    this.#adjust();
  }

  #adjust(): void {
    const { queueMsTarget, queueMsMax, limitMin, limitMax } = this.#options;
    const leastMs = this.#queueMsLeast;
    this.#queueMs = Number.isFinite(leastMs) ? leastMs : queueMsMax;
    if (leastMs > queueMsTarget) {
      const ratio = Math.max(DECREASE_LEAST, queueMsTarget / leastMs);
      // What was never in flight is no evidence that so many could be.
      this.#limit = Math.max(limitMin, Math.floor(Math.min(this.#limit, this.#inFlightMost) * ratio));
    } else if (this.#inFlightMost * 2 > this.#limit)
      this.#limit = Math.min(limitMax, this.#limit + Math.ceil(Math.sqrt(this.#limit) / 2));
    this.#startedAtMs = this.#nowMs();
    this.#samples = 0;
    this.#queueMsLeast = Number.POSITIVE_INFINITY;
    this.#inFlightMost = 0;
  }
}
