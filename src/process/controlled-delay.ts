export interface QueueTimeLimits {
  /** Queue time that may always be. A queue whose least wait is longer for a whole interval stands. */
  readonly targetMs: number;
  /** Who has waited longer in a queue that stands is not worth the work any more. */
  readonly maxMs: number;
}

/** As in CoDel: a burst drains within it, so that what is left at its end is a standing queue. */
const INTERVAL_MS = 100;

/**
 * Tells a queue that stands from a burst, by the least wait of an interval (CoDel; Nichols and Jacobson, 2012), and says
 * who is to be dropped from it: not one after the other, as from a link, but everybody who waited longer than a limit,
 * since requests do not slow down for a drop. Without limits nobody ever is.
 */
export class ControlledDelay {
  readonly #limits: QueueTimeLimits | null;
  #leastMs = Number.POSITIVE_INFINITY;
  #untilMs = Number.NEGATIVE_INFINITY;
  #isStanding = false;

  constructor(limits: QueueTimeLimits | null) {
    this.#limits = limits;
  }

  get isStanding(): boolean {
    return this.#isStanding;
  }

  /** Work begins. `waitedMs`: how long who came last of it has waited. */
  began(waitedMs: number, nowMs: number): void {
    if (this.#limits === null) return;
    if (nowMs < this.#untilMs) {
      if (waitedMs < this.#leastMs) this.#leastMs = waitedMs;
      return;
    }
    this.#isStanding = Number.isFinite(this.#leastMs) && this.#leastMs > this.#limits.targetMs;
    this.#leastMs = waitedMs;
    this.#untilMs = nowMs + INTERVAL_MS;
  }

  /** Nobody waits. */
  emptied(): void {
    this.#isStanding = false;
    this.#leastMs = Number.POSITIVE_INFINITY;
    this.#untilMs = Number.NEGATIVE_INFINITY;
  }

  /** Whether who has waited so long is dropped now. */
  isTooLong(waitedMs: number): boolean {
    return this.#isStanding && this.#limits !== null && waitedMs > this.#limits.maxMs;
  }
}
