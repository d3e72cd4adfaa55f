import { placed } from '../placed.js';
import type { RunStep } from '../step.js';

/** The old version leaves the route: going back takes loading from here on. */
export const runComplete: RunStep<'complete'> = async (context) =>
  context.state.facts.placement.kind === 'released'
    ? { kind: 'step_done', findings: null }
    : placed(context, { kind: 'released' });
