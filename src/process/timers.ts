/**
 * Time as a supervisor sees it, passed in so that back-off and watchdogs are tested without waiting.
 */
export interface Timers {
  /** Milliseconds of a clock that never jumps; `performance.now()` of this process. */
  nowMs(): number;
  /** Runs `action` once after `delayMs`; the returned function takes it back. */
  after(delayMs: number, action: () => void): () => void;
}

/** Longest delay setTimeout honours; beyond it Node fires at once. */
const DELAY_MS_MAX = 2 ** 31 - 1;

export const systemTimers: Timers = Object.freeze({
  nowMs: () => performance.now(),
  after(delayMs: number, action: () => void) {
    const timer = setTimeout(action, Math.min(Math.max(0, delayMs), DELAY_MS_MAX));
    return () => clearTimeout(timer);
  },
});
