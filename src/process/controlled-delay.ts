import { LANES, type Lane } from '../vocabulary.js';

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

/** What is in no hurry has so many times what live work has: to wait for live work is what its lanes are for. */
export const BACKGROUND_PATIENCE = 10;

/**
 * The queue times of the lanes before the same workers. What waits behind a live queue that stands is in the way of
 * nobody but itself, and goes with it; alone a background lane has its own, longer limits.
 */
export class LaneDelays {
  readonly #lanes: Readonly<Record<Lane, ControlledDelay>>;

  /** `limits`: of live work. */
  constructor(limits: QueueTimeLimits | null) {
    const patient = limits === null ? null : patiently(limits);
    this.#lanes = {
      live: new ControlledDelay(limits),
      shadow: new ControlledDelay(patient),
      bulk: new ControlledDelay(patient),
    };
  }

  /** Whether anybody may be dropped. */
  get isStanding(): boolean {
    return LANES.some((lane) => this.#lanes[lane].isStanding);
  }

  began(lane: Lane, waitedMs: number, nowMs: number): void {
    this.#lanes[lane].began(waitedMs, nowMs);
  }

  emptied(lane: Lane): void {
    this.#lanes[lane].emptied();
  }

  isTooLong(lane: Lane, waitedMs: number): boolean {
    return this.#lanes.live.isTooLong(waitedMs) || this.#lanes[lane].isTooLong(waitedMs);
  }
}

const patiently = ({ targetMs, maxMs }: QueueTimeLimits): QueueTimeLimits => ({
  targetMs: targetMs * BACKGROUND_PATIENCE,
  maxMs: maxMs * BACKGROUND_PATIENCE,
});
