import type { RunShape } from './batch-tensors.js';

const NEWEST_SHARE = 0.1;
/** A machine that was suspended in the middle of a run must not cripple the estimate for good. */
const GROWTH_MAX = 4;

/** What a run of each pinned shape takes, learnt from the warm-up and from every run since. */
export class ShapeCosts {
  readonly #usOf = new Map<string, number>();

  observe(shape: RunShape, runUs: number): void {
    if (!(runUs >= 0)) return;
    const known = this.#usOf.get(keyOf(shape));
    if (known === undefined) this.#usOf.set(keyOf(shape), runUs);
    else {
      const bounded = Math.min(runUs, known * GROWTH_MAX + 1);
      this.#usOf.set(keyOf(shape), known + (bounded - known) * NEWEST_SHARE);
    }
  }

  /** Infinity for a shape that never ran. */
  usOf(shape: RunShape): number {
    return this.#usOf.get(keyOf(shape)) ?? Number.POSITIVE_INFINITY;
  }
}

const keyOf = ({ texts, tokens }: RunShape): string => `${texts}x${tokens}`;
