import type { Lane } from '../vocabulary.js';

/** Live texts came so recently that more are expected. */
const LIVE_RECENT_MS = 1_000;
const NEWEST_SHARE = 0.1;

/**
 * How long a shadow or bulk run may take. A run cannot be interrupted, so a live text waits for what is left of it: up to
 * `runMsMax` where nobody live has come for a while, and no longer than a live run itself takes where somebody has. So
 * what background work adds to a live answer is a share of what it takes anyhow, on a slow processor and on a fast one.
 */
export class BackgroundCap {
  readonly #runMsMax: number;
  readonly #nowMs: () => number;
  #liveRunUs: number | null = null;
  #lastLiveAtMs = Number.NEGATIVE_INFINITY;

  /** `runMsMax`: Infinity on an encoder that has no live reads. */
  constructor(runMsMax: number, nowMs: () => number) {
    this.#runMsMax = runMsMax;
    this.#nowMs = nowMs;
  }

  observe(lane: Lane, runUs: number): void {
    if (lane !== 'live') return;
    this.#lastLiveAtMs = this.#nowMs();
    this.#liveRunUs =
      this.#liveRunUs === null ? runUs : this.#liveRunUs + (runUs - this.#liveRunUs) * NEWEST_SHARE;
  }

  get runMs(): number {
    const isLiveRecent = this.#nowMs() - this.#lastLiveAtMs < LIVE_RECENT_MS;
    if (!isLiveRecent || this.#liveRunUs === null) return this.#runMsMax;
    return Math.min(this.#runMsMax, this.#liveRunUs / 1000);
  }
}
