import type { RunStep } from '../step.js';

/** One with a duration; one without is a state of its own, which only a person leaves. */
export const runPause: RunStep<'pause'> = async (context) => {
  const durationMs = (context.step.options.duration_s ?? 0) * 1000;
  for (;;) {
    const leftMs = durationMs - (await context.elapsedMs());
    if (leftMs <= 0) return { kind: 'step_done', findings: null };
    context.onProgress({ what: 'pause', done: durationMs - leftMs, total: durationMs, etaMs: leftMs });
    await context.wait(Math.min(leftMs, 60_000));
  }
};
