import { BACKGROUND_PATIENCE } from '../process/controlled-delay.js';
import type { Lane } from '../vocabulary.js';

/** What the policy needs to know of a text that waits in a lane. */
export interface Batchable {
  /** Tokens it takes in a run. */
  readonly tokens: number;
  /** Of a clock that all of a lane share. */
  readonly arrivedAtMs: number;
}

export interface BatchLimits {
  /** Texts × the longest of them; a single longer text runs alone. */
  readonly paddedTokensMax: number;
  /** Padding may be this share of a batch, 0..1. */
  readonly paddingShareMax: number;
  /** How many of the oldest texts are looked at. */
  readonly lookaheadTexts: number;
}

/** On a CPU a batch gains little, and every padded token is work for nothing. */
export const PADDING_SHARE_MAX = 0.1;
export const LOOKAHEAD_TEXTS = 1024;
/**
 * Who came so much later than the oldest live text does not share its run. Without this bound a text that fits is
 * answered at once while others wait for a second, the least queue time of an interval stays low, and nobody upstream
 * sees that the queue stands.
 */
const LOOKAHEAD_MS = 100;

/** How many of the oldest texts of a lane may share the next run. `waiting` is in order of arrival. */
export function lookaheadOf(lane: Lane, waiting: readonly Batchable[]): number {
  const windowMs = lane === 'live' ? LOOKAHEAD_MS : LOOKAHEAD_MS * BACKGROUND_PATIENCE;
  const untilMs = (waiting[0]?.arrivedAtMs ?? 0) + windowMs;
  const most = Math.min(waiting.length, LOOKAHEAD_TEXTS);
  let count = 0;
  while (count < most && (waiting[count]?.arrivedAtMs ?? untilMs) <= untilMs) count++;
  return count;
}

/**
 * Picks what runs next out of one lane: positions in `waiting`, which is in order of arrival; shortest text first.
 * The oldest text is always among them, so nothing starves. Around it come the texts of nearest length, as many as
 * fit the token budget, because a batch costs its longest text times its size.
 */
export function pickBatch(waiting: readonly Pick<Batchable, 'tokens'>[], limits: BatchLimits): number[] {
  const oldest = waiting[0];
  if (oldest === undefined) return [];
  const order = waiting
    .slice(0, limits.lookaheadTexts)
    .map(({ tokens }, position) => ({ tokens, position }))
    .sort((a, b) => a.tokens - b.tokens || a.position - b.position);
  let low = order.findIndex(({ position }) => position === 0);
  let high = low;
  let longest = oldest.tokens;
  let tokens = oldest.tokens;

  const fits = (extraTokens: number, newLongest: number): boolean => {
    const padded = (high - low + 2) * newLongest;
    if (padded > limits.paddedTokensMax) return false;
    return padded - (tokens + extraTokens) <= padded * limits.paddingShareMax;
  };
  /** Padding that a neighbour would add: its own if it is shorter, everybody else's if it is longer. */
  const addedPadding = (neighbour: Pick<Batchable, 'tokens'>): number =>
    neighbour.tokens <= longest
      ? longest - neighbour.tokens
      : (neighbour.tokens - longest) * (high - low + 1);

  for (;;) {
    const shorter = order[low - 1];
    const longer = order[high + 1];
    const canShorter = shorter !== undefined && fits(shorter.tokens, longest);
    const canLonger = longer !== undefined && fits(longer.tokens, Math.max(longest, longer.tokens));
    if (canShorter && (!canLonger || addedPadding(shorter) <= addedPadding(longer))) {
      low -= 1;
      tokens += shorter.tokens;
    } else if (canLonger) {
      high += 1;
      tokens += longer.tokens;
      longest = Math.max(longest, longer.tokens);
    } else break;
  }
  return order.slice(low, high + 1).map(({ position }) => position);
}

/** A running estimate of what a padded token costs on this machine and provider. */
export class RunCost {
  #usPerToken: number;

  /** Starts from a measured run, the warm-up. */
  constructor(paddedTokens: number, runUs: number) {
    this.#usPerToken = bounded(runUs / Math.max(1, paddedTokens));
  }

  get usPerToken(): number {
    return this.#usPerToken;
  }

  observe(paddedTokens: number, runUs: number): void {
    if (paddedTokens <= 0 || !(runUs >= 0)) return;
    this.#usPerToken += (bounded(runUs / paddedTokens) - this.#usPerToken) * NEWEST_SHARE;
  }
}

const NEWEST_SHARE = 0.1;
/** A machine that was suspended in the middle of a run must not cripple the estimate for good. */
const bounded = (usPerToken: number): number => Math.min(Math.max(usPerToken, 0.001), 1_000_000);

export interface LaneBudget {
  readonly batchTokensMax: number;
  /** A shadow or bulk run is estimated to end within this; Infinity on an encoder that has no live reads. */
  readonly backgroundRunMsMax: number;
}

/**
 * Padded tokens one run of a lane may take. A run cannot be interrupted, so what a live request may have to wait
 * for is bounded; one text always runs, however long.
 */
export function paddedTokensMaxOf(lane: Lane, budget: LaneBudget, cost: RunCost): number {
  if (lane === 'live' || budget.backgroundRunMsMax === Number.POSITIVE_INFINITY) return budget.batchTokensMax;
  const affordable = Math.floor((budget.backgroundRunMsMax * 1000) / cost.usPerToken);
  return Math.max(1, Math.min(budget.batchTokensMax, affordable));
}
