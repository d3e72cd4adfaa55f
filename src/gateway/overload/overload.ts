import type { OverloadSettings } from '../../config/config.js';
import { SwitchyardError } from '../../errors.js';
import { BACKGROUND_PATIENCE } from '../../process/controlled-delay.js';
import type { Timers } from '../../process/timers.js';
import { PRIORITIES, type Priority } from '../../vocabulary.js';
import { AdaptiveLimit } from './adaptive-limit.js';
import { PARTITIONS, type Partition, Partitions } from './partitions.js';
import { Refusals } from './refusals.js';

/** What a request needs: a text its encoder and then a search, a vector a search alone. */
export const WORK_KINDS = ['text', 'vector'] as const;
export type WorkKind = (typeof WORK_KINDS)[number];

const LOOP_DELAY_INTERVAL_MS = 20;
const LIMIT_INTERVAL_MS = 100;

/**
 * Keeps the queues behind the listeners short: what could only wait is refused at once with OVERLOADED, before its body
 * is decoded where that can be told. Texts and vectors have limits of their own, since they wait for different things.
 */
export class Overload {
  readonly #settings: OverloadSettings;
  readonly #timers: Timers;
  readonly #works: Readonly<Record<WorkKind, Work>>;
  #isWatching = false;
  #loopDelayMs = 0;
  #adminInFlight = 0;
  #adminRefused = 0;

  constructor(settings: OverloadSettings, timers: Timers) {
    this.#settings = settings;
    this.#timers = timers;
    const nowMs = (): number => timers.nowMs();
    this.#works = { text: new Work('text', settings, nowMs), vector: new Work('vector', settings, nowMs) };
  }

  /** Why a request would be refused now, or null. It is asked before its body is decoded. */
  refusal(kind: WorkKind, priority: Priority, weight = 1): SwitchyardError | null {
    return this.#settings.enabled ? this.#works[kind].refusal(priority, weight) : null;
  }

  /** The same for who refuses and counts by other means. */
  hasRoom(kind: WorkKind, priority: Priority): boolean {
    return !this.#settings.enabled || this.#works[kind].hasRoom(priority, 1);
  }

  /** Whether anything is refused at this moment. */
  get isTight(): boolean {
    return this.#settings.enabled && (this.#works.text.isUsedUp || this.#works.vector.isUsedUp);
  }

  /** Why a request would be refused whatever it is, or null: for protocols that tell nothing before the body is read. */
  refusalOfAll(): SwitchyardError | null {
    if (!this.#settings.enabled) return null;
    const { text, vector } = this.#works;
    return text.isFull && vector.isFull ? text.refusal('live', 1) : null;
  }

  /** Whether a mirror may run beside so many others of this process. */
  hasRoomForMirrors(running: number): boolean {
    if (!this.#settings.enabled) return true;
    return this.#works.text.hasRoomForMirrors(running) && this.#works.vector.hasRoomForMirrors(running);
  }

  /** Each that entered must leave. Errors: OVERLOADED. */
  enter(kind: WorkKind, priority: Priority, weight = 1): void {
    if (!this.#settings.enabled) return;
    this.#works[kind].enter(priority, weight);
    if (!this.#isWatching) this.#watch();
  }

  /**
   * `queueMs`: how long the request waited, infinite where there was no room; null where it says nothing, as an answer
   * that was remembered. `wasCutShort`: by its deadline, so that it may have waited for anything.
   */
  leave(
    kind: WorkKind,
    priority: Priority,
    weight: number,
    queueMs: number | null,
    wasCutShort = false,
  ): void {
    if (!this.#settings.enabled) return;
    const waitedMs = queueMs === null ? null : Math.max(queueMs, this.#loopDelayMs);
    this.#works[kind].leave(priority, weight, waitedMs, wasCutShort);
  }

  /** So many that were let in were dropped from a queue behind this: shed as well, only later. */
  dropped(kind: WorkKind, priority: Priority, count: number): void {
    this.#works[kind].dropped(priority, count);
  }

  /** An operator's request: never refused for what clients send. Each that entered must leave. Errors: OVERLOADED. */
  enterAdmin(): void {
    const { adminConcurrencyMax } = this.#settings;
    if (this.#adminInFlight >= adminConcurrencyMax) {
      this.#adminRefused++;
      throw new SwitchyardError(
        'OVERLOADED',
        `${adminConcurrencyMax} operators' requests are in flight: wait for one to end`,
        { details: { kind: 'admin', limit: String(adminConcurrencyMax) } },
      );
    }
    this.#adminInFlight++;
  }

  leaveAdmin(): void {
    this.#adminInFlight--;
  }

  get admin(): { readonly inFlight: number; readonly refused: number } {
    return { inFlight: this.#adminInFlight, refused: this.#adminRefused };
  }

  /** For metrics. */
  states(): readonly WorkState[] {
    return WORK_KINDS.map((kind) => this.#works[kind].state());
  }

  /**
   * A request waits in its socket for as long as the event loop is late, and nothing else measures that. Looked at
   * while anything is in flight.
   */
  #watch(): void {
    this.#isWatching = true;
    const dueAtMs = this.#timers.nowMs() + LOOP_DELAY_INTERVAL_MS;
    this.#timers.after(LOOP_DELAY_INTERVAL_MS, () => {
      this.#loopDelayMs = Math.max(0, this.#timers.nowMs() - dueAtMs);
      if (this.#works.text.inFlight + this.#works.vector.inFlight > 0) this.#watch();
      else this.#isWatching = false;
    });
  }
}

export interface WorkState {
  readonly kind: WorkKind;
  readonly limit: number;
  /** Of what may be in flight of bulk work, within the limit of all. */
  readonly bulkLimit: number;
  readonly queueMs: number;
  readonly inFlight: Readonly<Record<Partition, number>>;
  /** Whoever was told OVERLOADED, here or in a queue behind this, and mirrors that were not started. */
  readonly refused: Readonly<Record<Partition, number>>;
}

/**
 * One kind of work. Bulk work waits for live work by design, so how long it waits lowers no limit but its own, and that
 * at ten times the queue time: without one, bulk work alone would stand in the queues until its deadlines.
 */
class Work {
  readonly #kind: WorkKind;
  readonly #limit: AdaptiveLimit;
  readonly #bulkLimit: AdaptiveLimit;
  readonly #bulkShare: number;
  readonly #partitions: Partitions;
  readonly #refused: Record<Partition, number> = { live: 0, shadow: 0, bulk: 0 };
  readonly #refusals: Refusals;
  readonly #bulkRefusals: Refusals;

  constructor(kind: WorkKind, settings: OverloadSettings, nowMs: () => number) {
    this.#kind = kind;
    this.#limit = new AdaptiveLimit({ ...settings, intervalMs: LIMIT_INTERVAL_MS }, nowMs);
    const patient = {
      ...settings,
      queueMsTarget: settings.queueMsTarget * BACKGROUND_PATIENCE,
      intervalMs: LIMIT_INTERVAL_MS * BACKGROUND_PATIENCE,
    };
    this.#bulkLimit = new AdaptiveLimit(patient, nowMs);
    this.#bulkShare = settings.shares.bulk;
    this.#partitions = new Partitions(settings.shares, () => this.#limit.limit);
    this.#refusals = new Refusals(`${kind} requests`, kind, () => this.#limit.limit, nowMs);
    this.#bulkRefusals = new Refusals(`bulk ${kind} requests`, kind, () => this.#bulkMax, nowMs);
  }

  get inFlight(): number {
    return this.#partitions.total;
  }

  get isUsedUp(): boolean {
    return this.#partitions.isUsedUp;
  }

  /** For every priority. */
  get isFull(): boolean {
    return PRIORITIES.every((priority) => !this.hasRoom(priority, 1));
  }

  refusal(priority: Priority, weight: number): SwitchyardError | null {
    if (this.hasRoom(priority, weight)) return null;
    this.#refused[priority]++;
    return (priority === 'bulk' ? this.#bulkRefusals : this.#refusals).next();
  }

  hasRoomForMirrors(running: number): boolean {
    if (this.#partitions.hasRoom('shadow', 1, running)) return true;
    this.#refused.shadow++;
    return false;
  }

  enter(priority: Priority, weight: number): void {
    const refusal = this.refusal(priority, weight);
    if (refusal !== null) throw refusal;
    (priority === 'bulk' ? this.#bulkRefusals : this.#refusals).entered(weight);
    this.#partitions.enter(priority, weight);
  }

  leave(priority: Priority, weight: number, queueMs: number | null, wasCutShort: boolean): void {
    if (queueMs !== null && priority === 'live')
      this.#limit.observe(queueMs, this.#partitions.total, wasCutShort);
    if (queueMs !== null && priority === 'bulk')
      this.#bulkLimit.observe(queueMs, this.#partitions.inFlightOf('bulk'), wasCutShort);
    this.#partitions.leave(priority, weight);
  }

  dropped(priority: Priority, count: number): void {
    this.#refused[priority] += count;
  }

  state(): WorkState {
    return {
      kind: this.#kind,
      limit: this.#limit.limit,
      bulkLimit: this.#bulkMax,
      queueMs: this.#limit.queueMs,
      inFlight: Object.fromEntries(
        PARTITIONS.map((name) => [name, this.#partitions.inFlightOf(name)]),
      ) as Record<Partition, number>,
      refused: { ...this.#refused },
    };
  }

  hasRoom(priority: Priority, weight: number): boolean {
    if (!this.#partitions.hasRoom(priority, weight)) return false;
    if (priority === 'live') return true;
    const inFlight = this.#partitions.inFlightOf('bulk');
    // However heavy, one alone always goes.
    return inFlight === 0 || inFlight + weight <= this.#bulkMax;
  }

  /** Never below what is sure to it. */
  get #bulkMax(): number {
    const { limit } = this.#limit;
    return Math.min(limit, Math.max(this.#bulkLimit.limit, Math.floor(limit * this.#bulkShare)));
  }
}
