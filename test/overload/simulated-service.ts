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
  hasLeft: boolean;
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
  /** Requests end at their deadlines, wherever they are, and their turn in the queue is passed over; else they are served late. */
  readonly #givesUp: boolean;
  readonly #random: () => number;
  readonly #queues: Record<Priority, Request[]> = { live: [], bulk: [] };
  #busy = 0;
  #counted: Record<Priority, Counted> = { live: nothing(), bulk: nothing() };

  constructor(
    load: { servers: number; serviceMs: number; deadlineMs: number; seed: number; givesUp?: boolean },
    settings: Partial<OverloadSettings> = {},
  ) {
    this.#servers = load.servers;
    this.serviceMs = load.serviceMs;
    this.#deadlineMs = load.deadlineMs;
    this.#givesUp = load.givesUp ?? false;
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
    const request: Request = { priority, arrivedAtMs: this.timers.nowMs(), hasLeft: false };
    this.#queues[priority].push(request);
    if (this.#givesUp) this.timers.after(this.#deadlineMs, () => this.#giveUp(request));
    this.#serve();
  }

  #giveUp(request: Request): void {
    if (request.hasLeft) return;
    this.#counted[request.priority].late++;
    this.#leave(request, this.#deadlineMs, true);
  }

  #leave(request: Request, queueMs: number, wasCutShort = false): void {
    request.hasLeft = true;
    this.overload.leave('text', request.priority, 1, queueMs, wasCutShort);
  }

  #serve(): void {
    while (this.#busy < this.#servers) {
      for (const lane of PRIORITIES) if (this.#queues[lane].length === 0) this.#delays.emptied(lane);
      const request = this.#queues.live.shift() ?? this.#queues.bulk.shift();
      if (request === undefined) return;
      const { priority, arrivedAtMs } = request;
      if (request.hasLeft) continue;
      const nowMs = this.timers.nowMs();
      const queueMs = nowMs - arrivedAtMs;
      if (this.#delays.isTooLong(priority, queueMs)) {
        this.#counted[priority].shed++;
        this.#leave(request, Number.POSITIVE_INFINITY);
        continue;
      }
      this.#busy++;
      this.#delays.began(priority, queueMs, nowMs);
      this.timers.after(this.#exponential(this.serviceMs), () => {
        this.#busy--;
        if (request.hasLeft) return this.#serve();
        const counted = this.#counted[priority];
        counted.queueMsMost = Math.max(counted.queueMsMost, queueMs);
        const latencyMs = this.timers.nowMs() - arrivedAtMs;
        counted.latencyMsMost = Math.max(counted.latencyMsMost, latencyMs);
        if (latencyMs <= this.#deadlineMs) counted.good++;
        else counted.late++;
        this.#leave(request, queueMs);
        this.#serve();
      });
    }
  }

  #exponential(mean: number): number {
    return -Math.log(1 - this.#random()) * mean;
  }
}
