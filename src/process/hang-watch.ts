import type { Timers } from './timers.js';

/**
 * Notices a child that owes answers and gives no sign of life. Silence without owed work is fine.
 * A first alarm is checked once more after a short grace: if it was this process that slept (suspended, or its
 * loop blocked), the child's frames lie unread in the socket, and reading them acquits the child.
 */
export class HangWatch {
  readonly #silentMsMax: number;
  readonly #timers: Timers;
  readonly #onHang: (silentMs: number) => void;
  #outstanding = 0;
  #lastSignMs = 0;
  #cancel: (() => void) | null = null;

  constructor(silentMsMax: number, timers: Timers, onHang: (silentMs: number) => void) {
    this.#silentMsMax = silentMsMax;
    this.#timers = timers;
    this.#onHang = onHang;
  }

  /** How many answers the child owes now. */
  setOutstanding(count: number): void {
    if (this.#outstanding === 0 && count > 0) {
      this.#lastSignMs = this.#timers.nowMs();
      if (this.#cancel === null) this.#arm(this.#silentMsMax, false);
    }
    this.#outstanding = count;
  }

  /** The child said something. */
  sign(): void {
    this.#lastSignMs = this.#timers.nowMs();
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
    this.#outstanding = 0;
  }

  #arm(delayMs: number, suspected: boolean): void {
    this.#cancel = this.#timers.after(delayMs, () => {
      this.#cancel = null;
      if (this.#outstanding === 0) return;
      const silentMs = this.#timers.nowMs() - this.#lastSignMs;
      if (silentMs < this.#silentMsMax) this.#arm(this.#silentMsMax - silentMs, false);
      else if (suspected) this.#onHang(silentMs);
      else this.#arm(Math.min(1_000, this.#silentMsMax / 4), true);
    });
  }
}
