import { SwitchyardError } from '../errors.js';
import { Breaker, type BreakerOptions, type BreakerState } from '../process/breaker.js';
import type { Timers } from '../process/timers.js';
import type { ServerNews } from './pg-errors.js';

export interface CircuitOptions {
  readonly breaker: BreakerOptions;
  /** A call that has waited so long has the server asked over another connection whether it is there. */
  readonly silentMs: number;
  /** The server's address for messages: never a user or password. */
  readonly place: string;
  readonly timers: Timers;
  /** One question to the server over a connection of its own. Rejects when no answer comes within its own limit. */
  readonly probe: () => Promise<void>;
  /** What a failure says of the server. */
  readonly newsOf: (thrown: unknown) => ServerNews;
  /** Calls under way are to fail now. `why`: of the failure that opened it. */
  readonly onOpened: (why: unknown) => void;
  readonly onClosed: () => void;
}

/** What metrics and messages say of it. */
export interface CircuitReport {
  readonly state: BreakerState['kind'];
  /** How often it opened. */
  readonly openedCount: number;
}

interface Call {
  readonly sinceMs: number;
}

/**
 * The breaker before the registry's server. It opens after failures in a row, and when a call waits while the server
 * says nothing to anybody. Open, calls fail at once; only a probe in the background asks, and closes it again, so no
 * caller ever pays for finding out.
 */
export class Circuit {
  readonly #options: CircuitOptions;
  readonly #breaker: Breaker;
  readonly #calls = new Set<Call>();
  #answeredAtMs = Number.NEGATIVE_INFINITY;
  #openedCount = 0;
  #cancelLook: (() => void) | null = null;
  #cancelTrial: () => void = () => undefined;
  #isClosed = false;

  constructor(options: CircuitOptions) {
    this.#options = options;
    this.#breaker = new Breaker(options.breaker, () => options.timers.nowMs());
  }

  get report(): CircuitReport {
    return { state: this.#breaker.state.kind, openedCount: this.#openedCount };
  }

  /** Errors: REGISTRY_UNAVAILABLE at once while it is open; whatever `work` throws. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    const { timers, newsOf } = this.#options;
    if (this.#breaker.state.kind !== 'closed') throw this.#refusal();
    const call: Call = { sinceMs: timers.nowMs() };
    this.#calls.add(call);
    this.#look();
    try {
      const result = await work();
      this.#answered();
      return result;
    } catch (thrown) {
      const news = newsOf(thrown);
      if (news === 'outage') this.#failed(thrown);
      else if (news === 'answer') this.#answered();
      throw thrown;
    } finally {
      this.#calls.delete(call);
      if (this.#calls.size === 0) this.#stopLooking();
    }
  }

  /** Nothing is asked of the server any more in the background. */
  close(): void {
    this.#isClosed = true;
    this.#stopLooking();
    this.#cancelTrial();
  }

  #answered(): void {
    this.#answeredAtMs = this.#options.timers.nowMs();
    // A call that ends after it opened says nothing: the probe decides.
    if (this.#breaker.state.kind === 'closed') this.#breaker.succeeded();
  }

  #failed(thrown: unknown): void {
    if (this.#breaker.state.kind !== 'closed') return;
    this.#breaker.failed();
    this.#sayIfOpen(thrown);
  }

  #sayIfOpen(why: unknown): void {
    if (this.#breaker.state.kind !== 'open' || this.#isClosed) return;
    this.#openedCount++;
    this.#stopLooking();
    this.#scheduleTrial();
    this.#options.onOpened(why);
  }

  /** While anything waits: is it the one connection, a long statement, or the server? */
  #look(): void {
    if (this.#cancelLook !== null || this.#isClosed) return;
    const { timers, silentMs, probe } = this.#options;
    this.#cancelLook = timers.after(silentMs, () => {
      this.#cancelLook = null;
      const startedAtMs = timers.nowMs();
      const waitsSinceMs = Math.min(...[...this.#calls].map(({ sinceMs }) => sinceMs));
      const silentForMs = startedAtMs - Math.max(waitsSinceMs, this.#answeredAtMs);
      // A timer may be early by a fraction.
      if (Math.ceil(silentForMs) < silentMs) {
        this.#look();
        return;
      }
      probe().then(
        () => this.#lookedAt(null, startedAtMs),
        (why: unknown) => this.#lookedAt(why, startedAtMs),
      );
    });
  }

  #lookedAt(why: unknown, startedAtMs: number): void {
    if (this.#isClosed || this.#breaker.state.kind !== 'closed') return;
    if (why === null) this.#answered();
    else if (this.#answeredAtMs < startedAtMs) {
      this.#breaker.trip();
      this.#sayIfOpen(why);
      return;
    }
    if (this.#calls.size > 0) this.#look();
  }

  #stopLooking(): void {
    this.#cancelLook?.();
    this.#cancelLook = null;
  }

  #scheduleTrial(): void {
    const { state } = this.#breaker;
    if (state.kind !== 'open' || this.#isClosed) return;
    const { timers, probe } = this.#options;
    this.#cancelTrial = timers.after(Math.max(1, state.untilMs - timers.nowMs()), () => {
      if (!this.#breaker.tryPass()) {
        this.#scheduleTrial();
        return;
      }
      probe().then(
        () => {
          if (this.#isClosed) return;
          this.#breaker.succeeded();
          this.#options.onClosed();
        },
        () => {
          this.#breaker.failed();
          this.#scheduleTrial();
        },
      );
    });
  }

  #refusal(): SwitchyardError {
    const { state } = this.#breaker;
    const { place, timers } = this.#options;
    const retryAfterMs =
      state.kind === 'open' ? Math.max(1, Math.ceil(state.untilMs - timers.nowMs())) : null;
    return new SwitchyardError(
      'REGISTRY_UNAVAILABLE',
      `the registry (${place}) does not answer and is asked nothing until it does; the next try is ${retryAfterMs === null ? 'under way' : `in ${retryAfterMs} ms`}: check that PostgreSQL runs and DATABASE_URL is right`,
      { details: { breaker: state.kind }, retryAfterMs },
    );
  }
}
