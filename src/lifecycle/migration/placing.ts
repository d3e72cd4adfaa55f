import { SwitchyardError } from '../../errors.js';
import type { Route, RouteTarget, RouteTargetInput } from '../../registry/route.js';
import { WEIGHT_TOTAL_BPS } from '../../vocabulary.js';
import type { Facts, Placement } from './state.js';

export interface Versions {
  readonly corpus: string;
  readonly fromVersion: string;
  readonly toVersion: string;
}

/**
 * The route that a placement means. Other targets (a noise floor, say) stay as they are, but on the way back, where the
 * old version gets all weight, also what a third version was given meanwhile. Whoever had weight stays loaded as `draining` until it is released: its clients may send vectors of its model, and going back
 * takes no loading.
 */
export function targetsFor(
  placement: Placement,
  facts: Facts,
  { fromVersion, toVersion }: Versions,
  route: Route,
): readonly RouteTargetInput[] {
  const others = route.targets.filter(
    ({ version, build }) =>
      version !== toVersion &&
      // Another build of the old version is its noise floor, for as long as there is an old version.
      (placement.kind === 'released' ? version !== fromVersion : build !== facts.from.build),
  );
  const old = { version: fromVersion, build: facts.from.build, tier: facts.from.tier };
  // While a version that changed is verified anew, the route still mirrors to the build of before.
  const mirrored = placement.kind === 'shadow' ? placement.build : undefined;
  const build = mirrored ?? facts.verified?.build ?? null;
  const fresh = { version: toVersion, build, tier: facts.from.tier };
  const rest = others.map(asInput);
  switch (placement.kind) {
    case 'untouched':
      return route.targets.map(asInput);
    case 'shadow':
      return [
        { ...old, role: 'active', weightBps: WEIGHT_TOTAL_BPS, mirrorBps: 0 },
        { ...fresh, role: 'shadow', weightBps: 0, mirrorBps: placement.mirrorBps },
        ...rest,
      ];
    case 'weighted': {
      const { weightBps } = placement;
      return [
        weightBps === WEIGHT_TOTAL_BPS
          ? { ...old, role: 'draining', weightBps: 0, mirrorBps: 0 }
          : { ...old, role: 'active', weightBps: WEIGHT_TOTAL_BPS - weightBps, mirrorBps: 0 },
        { ...fresh, role: 'active', weightBps, mirrorBps: 0 },
        ...rest,
      ];
    }
    case 'released':
      return [{ ...fresh, role: 'active', weightBps: WEIGHT_TOTAL_BPS, mirrorBps: 0 }, ...rest];
    case 'restored':
      return [
        { ...old, role: 'active', weightBps: WEIGHT_TOTAL_BPS, mirrorBps: 0 },
        ...(facts.hadWeight
          ? [
              {
                ...fresh,
                build: facts.served ?? build,
                role: 'draining' as const,
                weightBps: 0,
                mirrorBps: 0,
              },
            ]
          : []),
        ...rest.map(
          (other): RouteTargetInput =>
            other.weightBps > 0 ? { ...other, role: 'draining', weightBps: 0 } : other,
        ),
      ];
    default:
      return placement satisfies never;
  }
}

/** `v3 2500`: targets beside the migration's two that have weight, as operators say it; null: there are none. */
export function weightOfOthers(facts: Facts, { toVersion }: Versions, { targets }: Route): string | null {
  const others = targets.filter(
    ({ version, build, weightBps }) => weightBps > 0 && version !== toVersion && build !== facts.from.build,
  );
  return others.length === 0
    ? null
    : others.map(({ version, weightBps }) => `${version} ${weightBps}`).join(' + ');
}

/** Why the split cannot be put back; null when it can: a migration takes no weight from a version of somebody else's. */
export function heldByOthers(facts: Facts, versions: Versions, route: Route): string | null {
  const others = weightOfOthers(facts, versions, route);
  if (others === null) return null;
  const { corpus, fromVersion } = versions;
  const { kind } = facts.placement;
  const abort =
    kind === 'released' || kind === 'untouched'
      ? 'leaves the route as it is'
      : `gives ${fromVersion} everything`;
  return `the route is at revision ${route.revision}, where ${others} basis points are neither version's: give them back with \`switchyard route set ${corpus}\`, then resume; or abort, which ${abort}`;
}

/** Why the route no longer says what the migration made it say; null when the split is as it was left. */
export function divergence(facts: Facts, versions: Versions, route: Route): string | null {
  const wanted = targetsFor(facts.placement, facts, versions, route);
  const ours = (targets: readonly RouteTargetInput[]): string[] =>
    targets
      .filter(({ version, build }) => version === versions.toVersion || build === facts.from.build)
      .map(
        ({ version, build, role, weightBps, mirrorBps }) =>
          `${version}:${(build ?? '').slice(0, 8)} ${role} ${weightBps}${role === 'shadow' ? ` mirror ${mirrorBps}` : ''}`,
      )
      .sort();
  const [left, right] = [ours(wanted).join(', '), ours(route.targets.map(asInput)).join(', ')];
  if (left === right) return null;
  const held = heldByOthers(facts, versions, route);
  if (held !== null) return held;
  return `the route is at revision ${route.revision} with ${right || 'neither version'}; the migration left it with ${left}`;
}

/**
 * The one target that serves all of the corpus, which is what a migration starts from.
 * Errors: STATUS_CONFLICT when several share the weight, or when it is the new version itself.
 */
export function startingTarget(route: Route, toVersion: string): RouteTarget {
  const actives = route.targets.filter(({ weightBps }) => weightBps > 0);
  const [only] = actives;
  if (only === undefined || actives.length > 1)
    throw conflict(
      `${route.corpus} is served by ${actives.map(({ version, weightBps }) => `${version} ${weightBps}`).join(' + ')}: a migration starts where one target has all weight; see \`switchyard route set\``,
    );
  if (only.version === toVersion)
    throw conflict(`${route.corpus}/${toVersion} has all weight already: there is nothing to migrate`);
  return only;
}

const asInput = ({ version, build, role, weightBps, tier, mirrorBps }: RouteTarget): RouteTargetInput => ({
  version,
  build,
  role,
  weightBps,
  tier,
  mirrorBps,
});

const conflict = (message: string): SwitchyardError => new SwitchyardError('STATUS_CONFLICT', message);
