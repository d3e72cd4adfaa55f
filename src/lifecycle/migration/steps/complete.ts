import { dependants } from '../../retire/blockers.js';
import { placed } from '../placed.js';
import { QUIET_DAYS } from '../plan-schema.js';
import type { RunStep, StepContext } from '../step.js';

/**
 * The old version leaves the route: going back takes loading from here on, and who reads that version itself is refused. So
 * it waits for a person while there is such a reader, who would be quiet from then on, and retirement with it.
 */
export const runComplete: RunStep<'complete'> = async (context) => {
  const { facts } = context.state;
  if (facts.placement.kind === 'released') return { kind: 'step_done', findings: null };
  const why = facts.isReleaseConfirmed === true ? null : await cutOff(context);
  return why === null ? placed(context, { kind: 'released' }) : { kind: 'release_held', why };
};

/** Who would be, for a person; null: nobody. */
async function cutOff({ registry, migration, step }: StepContext<'complete'>): Promise<string | null> {
  const { corpus, fromVersion: version, plan } = migration;
  const retire = plan.steps.find(({ kind }) => kind === 'retire');
  const days =
    step.options.quiet_days ?? (retire?.kind === 'retire' ? retire.options.quiet_days : QUIET_DAYS);
  const [consumers, traffic] = await Promise.all([
    registry.consumers.list({ corpus }),
    days > 0 ? registry.traffic.list({ corpus, version, days }) : [],
  ]);
  const readers = dependants(
    consumers.filter((consumer) => consumer.version === version),
    // What the split gave it goes to the new version anyway.
    traffic.filter(({ kind }) => kind === 'pinned'),
    days,
  );
  return readers.length === 0
    ? null
    : `complete takes ${corpus}/${version} out of the route, which refuses whoever reads it itself: ${readers.map(({ message }) => message).join('; ')}. Resume looks again, promote goes on all the same, abort gives ${version} everything`;
}
