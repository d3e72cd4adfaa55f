import { setTimeout as sleep } from 'node:timers/promises';
import type { Registry } from '../../registry/registry.js';
import type { Route } from '../../registry/route.js';
import { WEIGHT_TOTAL_BPS } from '../../vocabulary.js';
import { placed } from './placed.js';
import { divergence, heldByOthers } from './placing.js';
import { stepOfPlan } from './plan-schema.js';
import type { Migration } from './record.js';
import { type MigrationEventBody, type RunningState, weightOf } from './state.js';

/** What others did to the route or the version: it ends what is being measured. Null: nothing. */
export async function changedOutside(
  registry: Registry,
  migration: Migration,
  state: RunningState,
): Promise<MigrationEventBody | null> {
  const { corpus, toVersion, plan } = migration;
  const { facts } = state;
  const { kind } = stepOfPlan(plan, state.at.step);
  const route = await registry.routes.get(corpus);
  // Behind complete the new version is what serves; another format of it is no matter of this migration.
  if (facts.verified !== null && facts.placement.kind !== 'released') {
    const { defaultBuild } = await registry.corpusVersions.get({ corpus, version: toVersion });
    if (defaultBuild !== facts.verified.build)
      return {
        kind: 'version_changed',
        why: `the default build of ${corpus}/${toVersion} is ${defaultBuild?.slice(0, 16) ?? 'none'}, no longer ${facts.verified.build.slice(0, 16)}, which was verified`,
        routeRevision: weightOf(facts) > 0 ? route.revision + 1 : null,
      };
  }
  if (facts.isRouteLost) {
    const held = heldByOthers(facts, migration, route);
    if (held !== null) return { kind: 'route_diverged', why: held };
    return placed({ registry, migration }, facts.placement);
  }
  if (route.revision === facts.routeRevision) return null;
  const why =
    facts.placement.kind === 'untouched' ? untouched(state, route) : divergence(facts, migration, route);
  if (why !== null) return { kind: 'route_diverged', why };
  // Nothing is measured while it is built or verified, and a retirement asks for nothing of the route.
  if (kind === 'build' || kind === 'verify' || kind === 'retire') return null;
  return {
    kind: 'route_accepted',
    routeRevision: route.revision,
    why: `the route is at revision ${route.revision}; the split is as it was`,
  };
}

/** Before the first change of the route only the old version's weight matters. */
function untouched({ facts }: RunningState, { revision, targets }: Route): string | null {
  const isServed = targets.some(
    ({ build, weightBps }) => build === facts.from.build && weightBps === WEIGHT_TOTAL_BPS,
  );
  return isServed
    ? null
    : `the route is at revision ${revision}, where the old version no longer has all weight`;
}

/** While the route is watched beside a long step. */
const LOOK_MS = 1_000;

/**
 * Looks again and again for what others do, until something is found; rejects with the signal's reason. A look that fails
 * is no news: the step itself meets the same trouble, and says so.
 */
export async function watchOutside(
  look: () => Promise<MigrationEventBody | null>,
  signal: AbortSignal,
): Promise<MigrationEventBody> {
  for (;;) {
    await sleep(LOOK_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
    const found = await look().catch(() => null);
    signal.throwIfAborted();
    if (found !== null) return found;
  }
}
