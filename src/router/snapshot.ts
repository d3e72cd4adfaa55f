import { SwitchyardError } from '../errors.js';
import type { Route, RouteTarget } from '../registry/route.js';
import { digestPrefix, type Fingerprint, type Revision, WEIGHT_TOTAL_BPS } from '../vocabulary.js';
import { compilePickTable, type PickTable } from './pick.js';
import type { Shared } from './shared-pool.js';
import type { OpenTarget } from './targets.js';

/** A target's place in the route, and the pair of encoder and index that is held for it. */
export interface SnapshotTarget {
  readonly route: RouteTarget;
  readonly shared: Shared<OpenTarget>;
}

/**
 * What a request reads, once (invariant 2): one revision of one route with its open targets and every choice compiled.
 * Immutable. The applied route holds the targets; a request retains the one it picked in the same turn in which it
 * read the snapshot, so a target is closed after its last request and not before.
 */
export interface RouteSnapshot {
  readonly corpus: string;
  readonly revision: Revision;
  readonly salt: string;
  readonly targets: readonly SnapshotTarget[];
  /** Targets of the route that are not open: what needs them is told to come back, not that it does not exist. */
  readonly absent: readonly RouteTarget[];
  /** Traffic that names neither model nor version: active targets by weight. */
  readonly split: PickTable<SnapshotTarget>;
  /** Per model: its active targets by weight, or where there are none its draining ones alike. */
  readonly byModel: ReadonlyMap<Fingerprint, PickTable<SnapshotTarget>>;
  /** Per corpus version: like `byModel`; then what has no weight, since a pin is a wish and not a share. */
  readonly byVersion: ReadonlyMap<string, PickTable<SnapshotTarget>>;
  /** Targets that get mirrored reads. Those that are not open are here too, so that their drops are counted. */
  readonly mirrors: readonly SnapshotTarget[];
  /** `name@version` of the route's models by name and by fingerprint, open or not. */
  readonly models: ReadonlyMap<string, Fingerprint>;
}

/** `held[i]` belongs to `route.targets[i]`. Targets that are not open at this moment cannot be picked. */
export function compileSnapshot(route: Route, held: readonly Shared<OpenTarget>[]): RouteSnapshot {
  const all = route.targets.map((target, at) => {
    const shared = held[at];
    if (shared === undefined) throw new Error('every target of a route is held');
    return Object.freeze({ route: target, shared });
  });
  const open = all.filter(({ shared }) => shared.value !== null);
  return Object.freeze({
    corpus: route.corpus,
    revision: route.revision,
    salt: route.salt,
    targets: Object.freeze(open),
    absent: Object.freeze(
      all.filter(({ shared }) => shared.value === null).map(({ route: absent }) => absent),
    ),
    split: byWeight(open),
    byModel: grouped(open, ({ route: { fingerprint } }) => fingerprint, preferredByModel),
    byVersion: grouped(open, ({ route: { version } }) => version, preferredByPin),
    mirrors: Object.freeze(all.filter(({ route: { mirrorBps } }) => mirrorBps > 0)),
    models: modelsOf(route),
  });
}

/** Rules a route must keep for a snapshot to be compiled, checked before anything is loaded for it. */
export function assertRoutable(route: Route): void {
  const builds = new Set<string>();
  for (const { role, weightBps, build } of route.targets) {
    if (builds.has(build))
      throw new SwitchyardError('INVALID_ROUTE', `build ${digestPrefix(build)} is in the route twice`);
    builds.add(build);
    if (!Number.isInteger(weightBps) || weightBps < 0 || weightBps > WEIGHT_TOTAL_BPS)
      throw new SwitchyardError(
        'INVALID_ROUTE',
        `weight ${weightBps} must be an integer from 0 to ${WEIGHT_TOTAL_BPS} basis points`,
      );
    if (role !== 'active' && weightBps !== 0)
      throw new SwitchyardError(
        'INVALID_ROUTE',
        `a ${role} target has weight ${weightBps}; only active ones may have any`,
      );
  }
  modelsOf(route);
  const fingerprints = new Map<string, Fingerprint>();
  for (const { version, fingerprint } of route.targets) {
    if ((fingerprints.get(version) ?? fingerprint) !== fingerprint)
      throw new SwitchyardError(
        'INVALID_ROUTE',
        `corpus version ${version} has builds of two models in one route; a version is embedded by one`,
      );
    fingerprints.set(version, fingerprint);
  }
}

function modelsOf(route: Route): ReadonlyMap<string, Fingerprint> {
  const models = new Map<string, Fingerprint>();
  for (const { modelRef, fingerprint } of route.targets) {
    const known = models.get(modelRef);
    if (known !== undefined && known !== fingerprint)
      throw new SwitchyardError(
        'INVALID_ROUTE',
        `model ${modelRef} has two fingerprints in one route: ${known} and ${fingerprint}`,
      );
    models.set(modelRef, fingerprint);
    models.set(fingerprint, fingerprint);
  }
  return models;
}

type Table = PickTable<SnapshotTarget>;
const identity = ({ route }: SnapshotTarget): string => route.build;

const byWeight = (targets: readonly SnapshotTarget[]): Table =>
  compilePickTable(
    targets.map((item) => ({
      item,
      identity: identity(item),
      weight: item.route.role === 'active' ? item.route.weightBps : 0,
    })),
  );

const alike = (targets: readonly SnapshotTarget[]): Table =>
  compilePickTable(targets.map((item) => ({ item, identity: identity(item), weight: 1 })));

const inRole = (targets: readonly SnapshotTarget[], role: RouteTarget['role']): SnapshotTarget[] =>
  targets.filter((target) => target.route.role === role);

const firstFilled = (...tables: Table[]): Table | null =>
  tables.find(({ entries }) => entries.length > 0) ?? null;

const preferredByModel = (targets: readonly SnapshotTarget[]): Table | null =>
  firstFilled(byWeight(targets), alike(inRole(targets, 'draining')));

const preferredByPin = (targets: readonly SnapshotTarget[]): Table | null =>
  firstFilled(
    byWeight(targets),
    alike(inRole(targets, 'draining')),
    alike(inRole(targets, 'active')),
    alike(inRole(targets, 'shadow')),
  );

function grouped<Key>(
  targets: readonly SnapshotTarget[],
  key: (target: SnapshotTarget) => Key,
  prefer: (targets: readonly SnapshotTarget[]) => Table | null,
): ReadonlyMap<Key, Table> {
  const groups = new Map<Key, SnapshotTarget[]>();
  for (const target of targets) groups.set(key(target), [...(groups.get(key(target)) ?? []), target]);
  const tables = new Map<Key, Table>();
  for (const [name, group] of groups) {
    const table = prefer(group);
    if (table !== null) tables.set(name, table);
  }
  return tables;
}
