/** How long a supervisor waits before it starts a child again. */
export interface BackoffPolicy {
  /** Wait before the first restart. */
  readonly delayMsFirst: number;
  /** No wait is longer. */
  readonly delayMsMax: number;
  /** Each further wait is this many times the last. */
  readonly factor: number;
  /** Share of the wait that is random, 0..1, so that many children do not return in step. */
  readonly jitter: number;
  /** A child that was ready this long counts as healthy: the next failure starts at `delayMsFirst` again. */
  readonly stableAfterMs: number;
}

export const DEFAULT_BACKOFF: BackoffPolicy = Object.freeze({
  delayMsFirst: 200,
  delayMsMax: 30_000,
  factor: 2,
  jitter: 0.3,
  stableAfterMs: 60_000,
});

/**
 * Milliseconds before restart number `attempt` (1 is the first). `random` gives 0..1.
 * The jitter only shortens a wait, so `delayMsMax` is a true bound.
 */
export function backoffDelayMs(policy: BackoffPolicy, attempt: number, random: () => number): number {
  const doublings = Math.max(0, attempt - 1);
  const full = Math.min(policy.delayMsMax, policy.delayMsFirst * policy.factor ** doublings);
  return full * (1 - policy.jitter * random());
}
