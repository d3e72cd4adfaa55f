import type { StepKind } from '../plan-schema.js';
import type { RunStep } from '../step.js';
import { runAnalysis } from './analysis.js';
import { runBuild } from './build.js';
import { runComplete } from './complete.js';
import { runPause } from './pause.js';
import { runRetire } from './retire.js';
import { runSetWeight } from './set-weight.js';
import { runShadow } from './shadow.js';
import { verifyIn } from './verify.js';

/** What does a step of each kind. */
export function runnerOf(kind: StepKind, bundlesDir: string): RunStep<StepKind> {
  const runners: { readonly [Kind in StepKind]: RunStep<Kind> } = {
    build: runBuild,
    verify: verifyIn(bundlesDir),
    shadow: runShadow,
    analysis: runAnalysis,
    set_weight: runSetWeight,
    pause: runPause,
    complete: runComplete,
    retire: runRetire,
  };
  return runners[kind] as RunStep<StepKind>;
}
