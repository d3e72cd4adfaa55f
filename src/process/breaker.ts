export interface BreakerOptions {
  /** So many failures in a row open it. */
  readonly failuresToOpen: number;
  /** How long it stays open the first time; doubles with each trial that fails. */
  readonly openMsFirst: number;
  readonly openMsMax: number;
}

export type BreakerState =
  | { readonly kind: 'closed'; readonly failures: number }
  | { readonly kind: 'open'; readonly untilMs: number; readonly openMs: number }
  | { readonly kind: 'trial'; readonly openMs: number };

/** Keeps work away from something that fails: closed → open → one trial → closed or open for longer. */
export class Breaker {
  private readonly options: BreakerOptions;
  private readonly nowMs: () => number;
  private current: BreakerState = { kind: 'closed', failures: 0 };

  constructor(options: BreakerOptions, nowMs: () => number) {
    this.options = options;
    this.nowMs = nowMs;
  }

  get state(): BreakerState {
    return this.current;
  }

  /** What `tryPass` would answer now. */
  wouldPass(): boolean {
    const state = this.current;
    return state.kind === 'closed' || (state.kind === 'open' && this.nowMs() >= state.untilMs);
  }

  /** True: the caller does the work and says how it ended. An open breaker lets one trial through when its time is over. */
  tryPass(): boolean {
    const state = this.current;
    switch (state.kind) {
      case 'closed':
        return true;
      case 'trial':
        return false;
      case 'open':
        if (this.nowMs() < state.untilMs) return false;
        this.current = { kind: 'trial', openMs: state.openMs };
        return true;
      default:
        return state satisfies never;
    }
  }

  /** An answer that comes late, when it is open already, does not close it: the trial decides. */
  succeeded(): void {
    if (this.current.kind !== 'open') this.current = { kind: 'closed', failures: 0 };
  }

  failed(): void {
    const { failuresToOpen, openMsFirst, openMsMax } = this.options;
    const state = this.current;
    if (state.kind === 'trial') this.open(Math.min(openMsMax, state.openMs * 2));
    else if (state.kind === 'closed' && state.failures + 1 >= failuresToOpen) this.open(openMsFirst);
    else if (state.kind === 'closed') this.current = { kind: 'closed', failures: state.failures + 1 };
  }

  /** Opens it at once: what came before does not matter any more. */
  trip(): void {
    if (this.current.kind === 'closed') this.open(this.options.openMsFirst);
  }

  /** The work ended without saying anything about the other side. */
  passed(): void {
    const state = this.current;
    if (state.kind === 'trial') this.current = { kind: 'open', untilMs: this.nowMs(), openMs: state.openMs };
  }

  private open(openMs: number): void {
    this.current = { kind: 'open', untilMs: this.nowMs() + openMs, openMs };
  }
}
