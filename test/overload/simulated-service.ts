import type { OverloadSettings } from '../../src/config/config.js';
import { SwitchyardError } from '../../src/errors.js';
import { Overload } from '../../src/gateway/overload/overload.js';
import { LaneDelays } from '../../src/process/controlled-delay.js';
import { PRIORITIES, type Priority } from '../../src/vocabulary.js';
import { FakeTimers } from '../process/fake-timers.js';
import { seededRandom } from '../router/small-engines.js';

export const SETTINGS: OverloadSettings = {
  enabled: true,
  queueMsTarget: 100,
  queueMsMax: 1_000,
  limitMin: 8,
  limitMax: 2_048,
  shares: { live: 0.8, shadow: 0.05, bulk: 0.15 },
  adminConcurrencyMax: 4,
};

export interface Phase {
  readonly seconds: number;
  /** Arrivals a second. */
  readonly live: number;
  readonly bulk: number;
}

export interface Counted {
  offered: number;
  refused: number;
  /** Answered within the deadline. */
  good: number;
  late: number;
  /** Dropped from the queue. */
  shed: number;
  /** Of those that were served. */
  queueMsMost: number;
  latencyMsMost: number;
}

interface Request {
  readonly priority: Priority;
  readonly arrivedAtMs: number;
}

const nothing = (): Counted => ({
  offered: 0,
  refused: 0,
  good: 0,
  late: 0,
  shed: 0,
  queueMsMost: 0,
  latencyMsMost: 0,
});

/**
 * So many servers with exponential service times behind two first-come queues, live before bulk, as the encoder and the
 * search workers have them; an `Overload` at the door; a clock that only this moves.
 */
export class SimulatedService {
  readonly timers = new FakeTimers();
  readonly overload: Overload;
  readonly #servers: number;
  readonly #delays: LaneDelays;
  /** Mean; may change while it runs. */
  serviceMs: number;
  readonly #deadlineMs: number;
  readonly #random: () => number;
  readonly #queues: Record<Priority, Request[]> = { live: [], bulk: [] };
  #busy = 0;
  #counted: Record<Priority, Counted> = { live: nothing(), bulk: nothing() };

  constructor(
    load: { servers: number; serviceMs: number; deadlineMs: number; seed: number },
    settings: Partial<OverloadSettings> = {},
  ) {
    this.#servers = load.servers;
    this.serviceMs = load.serviceMs;
    this.#deadlineMs = load.deadlineMs;
    this.#random = seededRandom(load.seed);
    const used = { ...SETTINGS, ...settings };
    this.overload = new Overload(used, this.timers);
    const { enabled, queueMsTarget, queueMsMax } = used;
    this.#delays = new LaneDelays(enabled ? { targetMs: queueMsTarget, maxMs: queueMsMax } : null);
  }

  get capacityPerS(): number {
    return (this.#servers * 1000) / this.serviceMs;
  }

  get limit(): number {
    return this.overload.states()[0]?.limit ?? 0;
  }

  get bulkLimit(): number {
    return this.overload.states()[0]?.bulkLimit ?? 0;
  }

  run({ seconds, live, bulk }: Phase): Record<Priority, Counted> {
    this.#counted = { live: nothing(), bulk: nothing() };
    const untilMs = this.timers.nowMs() + seconds * 1000;
    this.#arrivals('live', live, untilMs);
    this.#arrivals('bulk', bulk, untilMs);
    this.timers.advance(seconds * 1000);
    return this.#counted;
  }

  #arrivals(priority: Priority, perSecond: number, untilMs: number): void {
    if (perSecond === 0) return;
    const next = (): void => {
      if (this.timers.nowMs() >= untilMs) return;
      this.#arrive(priority);
      this.timers.after(this.#exponential(1000 / perSecond), next);
    };
    this.timers.after(this.#exponential(1000 / perSecond), next);
  }

  #arrive(priority: Priority): void {
    const counted = this.#counted[priority];
    counted.offered++;
    try {
      this.overload.enter('text', priority);
    } catch (error) {
      if (!(error instanceof SwitchyardError) || error.reason !== 'OVERLOADED') throw error;
      counted.refused++;
      return;
    }
    this.#queues[priority].push({ priority, arrivedAtMs: this.timers.nowMs() });
    this.#serve();
  }

  #serve(): void {
    while (this.#busy < this.#servers) {
      for (const lane of PRIORITIES) if (this.#queues[lane].length === 0) this.#delays.emptied(lane);
      const request = this.#queues.live.shift() ?? this.#queues.bulk.shift();
      if (request === undefined) return;
      const { priority, arrivedAtMs } = request;
      const nowMs = this.timers.nowMs();
      const queueMs = nowMs - arrivedAtMs;
      if (this.#delays.isTooLong(priority, queueMs)) {
        this.#counted[priority].shed++;
        this.overload.leave('text', priority, 1, Number.POSITIVE_INFINITY);
        continue;
      }
      this.#busy++;
      this.#delays.began(priority, queueMs, nowMs);
      this.timers.after(this.#exponential(this.serviceMs), () => {
        this.#busy--;
        const counted = this.#counted[priority];
        counted.queueMsMost = Math.max(counted.queueMsMost, queueMs);
        const latencyMs = this.timers.nowMs() - arrivedAtMs;
        counted.latencyMsMost = Math.max(counted.latencyMsMost, latencyMs);
        if (latencyMs <= this.#deadlineMs) counted.good++;
        else counted.late++;
        this.overload.leave('text', priority, 1, queueMs);
        this.#serve();
      });
    }
  }

  #exponential(mean: number): number {
    return -Math.log(1 - this.#random()) * mean;
  }
}
