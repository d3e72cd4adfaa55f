import type { OverloadSettings } from '../../config/config.js';
import { SwitchyardError } from '../../errors.js';
import type { Timers } from '../../process/timers.js';
import { PRIORITIES, type Priority } from '../../vocabulary.js';
import { AdaptiveLimit } from './adaptive-limit.js';
import { PARTITIONS, type Partition, Partitions } from './partitions.js';

/** What a request needs: a text its encoder and then a search, a vector a search alone. */
export const WORK_KINDS = ['text', 'vector'] as const;
export type WorkKind = (typeof WORK_KINDS)[number];

const LOOP_DELAY_INTERVAL_MS = 20;
/** One refusal is made for all who are refused within it. */
const REFUSAL_MS = 100;
const RETRY_AFTER_MS_MAX = 5_000;

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
  refusal(kind: WorkKind, priority: Priority): SwitchyardError | null {
    return this.#settings.enabled ? this.#works[kind].refusal(priority, 1) : null;
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

  /** `queueMs`: how long the request waited; null where it says nothing, as an answer that was remembered. */
  leave(kind: WorkKind, priority: Priority, weight: number, queueMs: number | null): void {
    if (!this.#settings.enabled) return;
    // What is in no hurry waits by design.
    const counts = queueMs !== null && priority === 'live';
    this.#works[kind].leave(priority, weight, counts ? Math.max(queueMs, this.#loopDelayMs) : null);
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
  readonly queueMs: number;
  readonly inFlight: Readonly<Record<Partition, number>>;
  readonly refused: Readonly<Record<Partition, number>>;
}

/** One kind of work. */
class Work {
  readonly #kind: WorkKind;
  readonly #limit: AdaptiveLimit;
  readonly #partitions: Partitions;
  readonly #nowMs: () => number;
  readonly #refused: Record<Partition, number> = { live: 0, shadow: 0, bulk: 0 };
  #refusal: SwitchyardError | null = null;
  #refusalUntilMs = 0;
  #enteredSince = 0;
  #refusedSince = 0;

  constructor(kind: WorkKind, settings: OverloadSettings, nowMs: () => number) {
    this.#kind = kind;
    this.#nowMs = nowMs;
    this.#limit = new AdaptiveLimit(settings, nowMs);
    this.#partitions = new Partitions(settings.shares, () => this.#limit.limit);
  }

  get inFlight(): number {
    return this.#partitions.total;
  }

  get isUsedUp(): boolean {
    return this.#partitions.isUsedUp;
  }

  /** For every priority. */
  get isFull(): boolean {
    return PRIORITIES.every((priority) => !this.#partitions.hasRoom(priority, 1));
  }

  refusal(priority: Priority, weight: number): SwitchyardError | null {
    if (this.#partitions.hasRoom(priority, weight)) return null;
    this.#refused[priority]++;
    this.#refusedSince++;
    return this.#currentRefusal();
  }

  hasRoomForMirrors(running: number): boolean {
    if (this.#partitions.hasRoom('shadow', 1, running)) return true;
    this.#refused.shadow++;
    return false;
  }

  enter(priority: Priority, weight: number): void {
    const refusal = this.refusal(priority, weight);
    if (refusal !== null) throw refusal;
    this.#enteredSince += weight;
    this.#partitions.enter(priority, weight);
  }

  leave(priority: Priority, weight: number, queueMs: number | null): void {
    if (queueMs !== null) this.#limit.observe(queueMs, this.#partitions.total);
    this.#partitions.leave(priority, weight);
  }

  state(): WorkState {
    return {
      kind: this.#kind,
      limit: this.#limit.limit,
      queueMs: this.#limit.queueMs,
      inFlight: Object.fromEntries(
        PARTITIONS.map((name) => [name, this.#partitions.inFlightOf(name)]),
      ) as Record<Partition, number>,
      refused: { ...this.#refused },
    };
  }

  /**
   * Made once for all who are refused together: under overload there are many, and each must be cheap. They are asked
   * to stay away for longer the more of them there are for each that was let in.
   */
  #currentRefusal(): SwitchyardError {
    const nowMs = this.#nowMs();
    if (this.#refusal !== null && nowMs < this.#refusalUntilMs) return this.#refusal;
    const excess = this.#refusedSince / Math.max(1, this.#enteredSince);
    const retryAfterMs = Math.min(RETRY_AFTER_MS_MAX, Math.ceil(REFUSAL_MS * (1 + excess)));
    this.#enteredSince = 0;
    this.#refusedSince = 0;
    this.#refusalUntilMs = nowMs + REFUSAL_MS;
    this.#refusal = new SwitchyardError(
      'OVERLOADED',
      `as many ${this.#kind} requests are in flight as are answered in time (${this.#limit.limit}): try again in ${retryAfterMs} ms, or ask another replica`,
      { details: { kind: this.#kind, limit: String(this.#limit.limit) }, retryAfterMs },
    );
    return this.#refusal;
  }
}
