import type { CpuWait } from './cpu-wait.js';
import type { Timers } from './timers.js';

/** However much it waits for the processor, a child that is silent for so many times what it may be is given up. */
const STARVED_FACTOR_MAX = 20;

/**
 * Notices a child that owes answers and gives no sign of life. Silence without owed work is fine.
 * A first alarm is checked once more after a short grace: if it was this process that slept (suspended, or its
 * loop blocked), the child's frames lie unread in the socket, and reading them acquits the child.
 * Time in which the child was ready to run and got no processor is not its silence: one that yields to all others
 * (niceness) says nothing for minutes on a busy machine, and being started again would only cost it what it had done.
 */
export class HangWatch {
  readonly #silentMsMax: number;
  readonly #timers: Timers;
  readonly #onHang: (silentMs: number) => void;
  readonly #cpuWait: CpuWait | null;
  #outstanding = 0;
  #lastSignMs = 0;
  /** When the wait for the processor was marked. */
  #markedAtMs = Number.NEGATIVE_INFINITY;
  #cancel: (() => void) | null = null;

  constructor(
    silentMsMax: number,
    timers: Timers,
    onHang: (silentMs: number) => void,
    cpuWait: CpuWait | null = null,
  ) {
    this.#silentMsMax = silentMsMax;
    this.#timers = timers;
    this.#onHang = onHang;
    this.#cpuWait = cpuWait;
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
    this.#markFromLastSign();
    this.#cancel = this.#timers.after(delayMs, () => {
      this.#cancel = null;
      if (this.#outstanding === 0) return;
      const silentMs = this.#timers.nowMs() - this.#lastSignMs;
      const owedMs = silentMs - this.#starvedMs(silentMs);
      const step = Math.min(1_000, this.#silentMsMax / 4);
      if (owedMs < this.#silentMsMax) this.#arm(Math.max(step, this.#silentMsMax - owedMs), false);
      else if (suspected) this.#onHang(silentMs);
      else this.#arm(step, true);
    });
  }

  /** Looked at when a timer begins or ends, never with each sign: it costs some reads of files. */
  #markFromLastSign(): void {
    if (this.#markedAtMs >= this.#lastSignMs) return;
    this.#markedAtMs = this.#timers.nowMs();
    this.#cpuWait?.mark();
  }

  /** Of its silence, as far as that is known: the mark may be younger than the last sign. */
  #starvedMs(silentMs: number): number {
    const isKnown = this.#markedAtMs >= this.#lastSignMs && silentMs >= this.#silentMsMax;
    if (!isKnown || silentMs > STARVED_FACTOR_MAX * this.#silentMsMax) return 0;
    return Math.min(silentMs, this.#cpuWait?.sinceMarkMs() ?? 0);
  }
}
