import { Measured } from '../measured.js';
import { placed } from '../placed.js';
import { replicaNames } from '../replicas.js';
import { isMirrored } from '../state.js';
import type { RunStep, StepContext } from '../step.js';

const LOOK_MS = 1_000;

/** Mirrors reads to the new version until enough were compared, or the time for it is over. */
export const runShadow: RunStep<'shadow'> = async (context) => {
  const { migration, state, step } = context;
  const { mirror_bps, duration_s, compared_min, timeout_s } = step.options;
  const { verified } = state.facts;
  if (verified === null) throw new TypeError('nothing is mirrored before it is verified');
  // After a change of the version the route still mirrors to the build of before.
  if (!isMirrored(state.facts))
    return placed(context, { kind: 'shadow', mirrorBps: mirror_bps, build: verified.build });
  const measured = new Measured(context, state.facts.measuredFrom);
  for (;;) {
    const totals = await measured.now();
    const mirrored = totals.mirrored(migration.toVersion);
    const elapsedMs = await context.elapsedMs();
    context.onProgress({
      what: mirrored.compared === 0 ? await nothingYet(context) : 'reads compared',
      done: mirrored.compared,
      total: compared_min,
      etaMs: Math.max(0, duration_s * 1000 - elapsedMs),
    });
    const isEnough = mirrored.compared >= compared_min && elapsedMs >= duration_s * 1000;
    if (isEnough || elapsedMs >= timeout_s * 1000)
      return {
        kind: 'step_done',
        findings: {
          compared: mirrored.compared,
          overlap: mirrored.overlapMean,
          rbo: mirrored.rboMean,
          worst: context.ports.worstMirrored(migration.corpus, migration.toVersion),
        },
      };
    await context.wait(Math.min(LOOK_MS, Math.max(50, duration_s * 1000 - elapsedMs)));
  }
};

/** Whoever waits for a first read to be compared should see what keeps it. */
async function nothingYet({ registry, state }: StepContext<'shadow'>): Promise<string> {
  const build = state.facts.verified?.build ?? null;
  const replicas = (await registry.gateways.list()).filter(({ alive }) => alive);
  const missing = replicas.filter(({ readyTargets }) => !readyTargets.some((ready) => ready === build));
  return missing.length === 0
    ? 'reads compared'
    : `reads compared; the new version is not loaded by ${replicaNames(missing)}`;
}
