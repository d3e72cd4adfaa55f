import type { Lane } from '../vocabulary.js';
import type { BackgroundCap } from './background-cap.js';
import type { RunShape } from './batch-tensors.js';
import {
  type Batchable,
  lookaheadOf,
  PADDING_SHARE_MAX,
  paddedTokensMaxOf,
  pickBatch,
  type RunCost,
} from './batching.js';
import type { PinnedShapes } from './pinned-shapes.js';
import type { ShapeCosts } from './shape-costs.js';

/** What runs next. */
export interface Pick {
  /** Positions in what waits, the oldest always among them. */
  readonly positions: readonly number[];
  /** What the run is padded to. */
  readonly shape: RunShape;
}

/** Decides what goes into a run, and learns from each what the next one may cost. */
export interface Batcher {
  /** `waiting` is one lane's, in order of arrival, and not empty. */
  pick(lane: Lane, waiting: readonly Batchable[]): Pick;
  observe(lane: Lane, shape: RunShape, runUs: number): void;
  /** How long a text may wait for others to share its run. */
  readonly delayMsMax: number;
}

/** For a CPU, where padding is work for nothing: texts of nearest length go together. */
export class LengthSortedBatcher implements Batcher {
  readonly delayMsMax: number;
  readonly #batchTokensMax: number;
  readonly #background: BackgroundCap;
  readonly #cost: RunCost;

  constructor(batchTokensMax: number, delayMsMax: number, background: BackgroundCap, cost: RunCost) {
    this.#batchTokensMax = batchTokensMax;
    this.delayMsMax = delayMsMax;
    this.#background = background;
    this.#cost = cost;
  }

  pick(lane: Lane, waiting: readonly Batchable[]): Pick {
    const budget = { batchTokensMax: this.#batchTokensMax, backgroundRunMsMax: this.#background.runMs };
    const positions = pickBatch(waiting, {
      paddedTokensMax: paddedTokensMaxOf(lane, budget, this.#cost),
      paddingShareMax: PADDING_SHARE_MAX,
      lookaheadTexts: lookaheadOf(lane, waiting),
    });
    const tokens = positions.reduce((max, at) => Math.max(max, waiting[at]?.tokens ?? 0), 1);
    return { positions, shape: { texts: positions.length, tokens } };
  }

  observe(lane: Lane, { texts, tokens }: RunShape, runUs: number): void {
    this.#background.observe(lane, runUs);
    this.#cost.observe(texts * tokens, runUs);
  }
}

/** For an accelerator: every run has one of the pinned shapes. */
export class PinnedBatcher implements Batcher {
  readonly delayMsMax: number;
  readonly #shapes: PinnedShapes;
  readonly #costs: ShapeCosts;
  readonly #background: BackgroundCap;

  constructor(shapes: PinnedShapes, delayMsMax: number, background: BackgroundCap, costs: ShapeCosts) {
    this.#shapes = shapes;
    this.delayMsMax = delayMsMax;
    this.#background = background;
    this.#costs = costs;
  }

  /**
   * The oldest text sets the length. Texts of the same length go with it, in order of arrival; rows that would be padding
   * are given to shorter texts, which cost nothing there.
   */
  pick(lane: Lane, waiting: readonly Batchable[]): Pick {
    const length = this.#shapes.lengthOf(waiting[0]?.tokens ?? 1);
    const most = this.#textsMaxOf(lane, length);
    const positions: number[] = [];
    const shorter: number[] = [];
    const lookahead = lookaheadOf(lane, waiting);
    for (let at = 0; at < lookahead && positions.length < most; at++) {
      const own = this.#shapes.lengthOf(waiting[at]?.tokens ?? 1);
      if (own === length) positions.push(at);
      else if (own < length) shorter.push(at);
    }
    const texts = this.#shapes.textsOf(positions.length, length);
    positions.push(...shorter.slice(0, texts - positions.length));
    return { positions, shape: { texts, tokens: length } };
  }

  observe(lane: Lane, shape: RunShape, runUs: number): void {
    this.#background.observe(lane, runUs);
    this.#costs.observe(shape, runUs);
  }

  #textsMaxOf(lane: Lane, length: number): number {
    const most = this.#shapes.textsMax(length);
    if (lane === 'live') return most;
    const usMax = this.#background.runMs * 1000;
    return this.#shapes.all.reduce(
      (best, shape) =>
        shape.tokens === length && shape.texts > best && this.#costs.usOf(shape) <= usMax
          ? shape.texts
          : best,
      1,
    );
  }
}
