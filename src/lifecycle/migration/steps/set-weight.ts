import { SwitchyardError } from '../../../errors.js';
import { cutoverWarnings } from '../cutover-warnings.js';
import { forgetDesired } from '../forget-desired.js';
import { allowedLag } from '../lag-gate.js';
import { placed } from '../placed.js';
import { replicaNames } from '../replicas.js';
import { weightOf } from '../state.js';
import type { RunStep, StepContext } from '../step.js';

const LOOK_MS = 200;

/**
 * Loading comes before routing: every live replica holds the new version on its search workers before it gets weight,
 * and has applied the change before the next step begins. Consumers that it takes over with score thresholds of their own
 * are warned first.
 */
export const runSetWeight: RunStep<'set_weight'> = async (context) => {
  const { state, step } = context;
  const { weight } = step.options;
  if (weightOf(state.facts) !== weight) {
    // Cutover is refused while the source is further ahead than allowed.
    if (state.facts.verified !== null)
      await allowedLag(context.ports, context.migration, state.facts.verified);
    await untilLoaded(context);
    const warnings = await cutoverWarnings(context);
    if (warnings.length > 0) return { kind: 'consumers_warned', warnings };
    return placed(context, { kind: 'weighted', weightBps: weight });
  }
  await untilApplied(context);
  // Also what was asked for of a build of before, when the version changed meanwhile.
  const { registry, migration } = context;
  await forgetDesired(registry, migration.corpus, migration.toVersion, 'the route holds it');
  return { kind: 'step_done', findings: { weight } };
};

async function untilLoaded(context: StepContext<'set_weight'>): Promise<void> {
  const { migration, state, registry } = context;
  const { corpus, toVersion: version, migrationId, sequence } = migration;
  const { verified, from } = state.facts;
  const build = verified?.build ?? null;
  await registry.desiredTargets.add(
    { corpus, version, build, tier: from.tier },
    { actor: 'migration', reason: `the migration of ${corpus} loads ${version} before it gives it weight` },
    // Whoever went back has this forgotten: a driver that was overtaken does not ask for it behind that.
    { migrationId, sequence },
  );
  await untilReplicas(context, 'replicas that have loaded it', ({ readyTargets }) =>
    readyTargets.some((ready) => ready === build),
  );
}

const untilApplied = (context: StepContext<'set_weight'>): Promise<void> =>
  untilReplicas(
    context,
    'replicas that have applied the weight',
    ({ appliedRevisions }) =>
      (appliedRevisions[context.migration.corpus] ?? 0) >= context.state.facts.routeRevision,
  );

/** Errors: TARGET_NOT_READY naming the replicas that took too long. */
async function untilReplicas(
  context: StepContext<'set_weight'>,
  what: string,
  isThere: (replica: Awaited<ReturnType<typeof context.registry.gateways.list>>[number]) => boolean,
): Promise<void> {
  const { timeout_s } = context.step.options;
  for (;;) {
    const replicas = (await context.registry.gateways.list()).filter(({ alive }) => alive);
    const missing = replicas.filter((replica) => !isThere(replica));
    const done = replicas.length - missing.length;
    context.onProgress({ what, done, total: replicas.length, etaMs: null });
    if (missing.length === 0) return;
    if ((await context.elapsedMs()) > timeout_s * 1000) {
      throw new SwitchyardError(
        'TARGET_NOT_READY',
        `after ${timeout_s} s (timeout_s) these replicas are not among the ${what}: ${replicaNames(missing)}. Mend or stop them, then resume`,
      );
    }
    await context.wait(LOOK_MS);
  }
}
