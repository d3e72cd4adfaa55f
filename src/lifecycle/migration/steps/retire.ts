import type { RunStep } from '../step.js';

/** A consumer that is waited for is mostly noticed at once by whoever looks; one that takes weeks costs a look a minute. */
const LOOK_MS_FIRST = 1_000;
const LOOK_MS_MAX = 60_000;

/**
 * drain → archive → verify the archive → delete the serving copy. For as long as consumers have not migrated, or the
 * version had traffic lately, it waits and says so; aborting ends the migration and keeps the version, until it is archived.
 */
export const runRetire: RunStep<'retire'> = async (context) => {
  const { migration, step, ports } = context;
  const { corpus, fromVersion: version, migrationId, sequence } = migration;
  const request = { corpus, version, quietDays: step.options.quiet_days, during: { migrationId, sequence } };
  for (let lookMs = LOOK_MS_FIRST; ; lookMs = Math.min(2 * lookMs, LOOK_MS_MAX)) {
    const outcome = await ports.retire(request, context);
    if (outcome.kind === 'retired') return { kind: 'step_done', findings: outcome.findings };
    context.onProgress({ what: `waits: ${outcome.why}`, done: 0, total: null, etaMs: null });
    await context.wait(lookMs);
  }
};
