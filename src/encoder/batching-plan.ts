import type { AcceleratorConfig } from '../config/encoder.js';
import { BackgroundCap } from './background-cap.js';
import type { RunShape } from './batch-tensors.js';
import { type Batcher, LengthSortedBatcher, PinnedBatcher } from './batcher.js';
import { RunCost } from './batching.js';
import type { ChildConfig } from './child-protocol.js';
import { PinnedShapes } from './pinned-shapes.js';
import { ShapeCosts } from './shape-costs.js';

/** What was measured when a session was opened: a usual run on the CPU, a run of every pinned shape on an accelerator. */
export type MeasuredRuns =
  | { readonly kind: 'usual'; readonly paddedTokens: number; readonly runUs: number }
  | {
      readonly kind: 'pinned';
      readonly runs: readonly { readonly shape: RunShape; readonly runUs: number }[];
    };

export const pinnedShapesOf = (accelerator: AcceleratorConfig, textTokensMax: number): PinnedShapes =>
  new PinnedShapes({
    texts: accelerator.batchTexts,
    lengths: accelerator.batchLengths,
    tokensMax: accelerator.batchTokensMax,
    textTokensMax,
  });

/** `textTokensMax`: of the model. */
export function openBatcher(
  measured: MeasuredRuns,
  { batchTokensMax, batchDelayMsMax, accelerator, backgroundRunMsMax }: ChildConfig,
  textTokensMax: number,
): Batcher {
  const background = new BackgroundCap(backgroundRunMsMax ?? Number.POSITIVE_INFINITY, () =>
    performance.now(),
  );
  if (measured.kind === 'usual') {
    const cost = new RunCost(measured.paddedTokens, measured.runUs);
    return new LengthSortedBatcher(batchTokensMax, batchDelayMsMax, background, cost);
  }
  const costs = new ShapeCosts();
  for (const { shape, runUs } of measured.runs) costs.observe(shape, runUs);
  const shapes = pinnedShapesOf(accelerator, textTokensMax);
  return new PinnedBatcher(shapes, accelerator.batchDelayMsMax, background, costs);
}
