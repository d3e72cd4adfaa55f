const NEWEST_SHARE = 0.1;
const RETRY_AFTER_MS_MIN = 50;
const RETRY_AFTER_MS_MAX = 30_000;

/** How long a queue takes to drain, from what the runs so far took; for the hint in a refusal. */
export class DrainEstimate {
  #usPerText: number | null = null;

  observe(texts: number, runUs: number): void {
    if (texts < 1) return;
    const usPerText = runUs / texts;
    this.#usPerText =
      this.#usPerText === null ? usPerText : this.#usPerText + (usPerText - this.#usPerText) * NEWEST_SHARE;
  }

  /**
   * When half of so many texts will have been run: then there is room, and those who were refused together do not wait
   * for the queue to be empty. null before the first run.
   */
  retryAfterMs(texts: number): number | null {
    if (this.#usPerText === null) return null;
    const halfMs = (texts * this.#usPerText) / 2_000;
    return Math.round(Math.min(Math.max(halfMs, RETRY_AFTER_MS_MIN), RETRY_AFTER_MS_MAX));
  }
}
