import { SwitchyardError } from '../errors.js';
import type { TargetChange } from '../gateway/admin/router-operations.js';
import type { RouteView, TargetView } from '../gateway/admin/views.js';
import { TIERS, type Tier } from '../vocabulary.js';

/** What `route set` was told, unread: `v1=9000`, `v2:1f3a9c20=1000`, `v3`. */
export interface RouteWords {
  /** Active targets with their weight in basis points. */
  readonly active: readonly string[];
  /** Shadows with the share of reads that is mirrored to them. */
  readonly mirror: readonly string[];
  readonly shadow: readonly string[];
  readonly draining: readonly string[];
  readonly tier: readonly string[];
}

interface Named {
  readonly version: string;
  readonly build: string | null;
}

const BPS = /^(?:0|[1-9]\d{0,5})$/;

/**
 * The targets that are meant. What is not said stays as it is in `current`: the build and the tier of a version that is
 * in the route, and the mirrored share of a shadow; else the default build, tier ssd, and no mirrored reads.
 */
export function planTargets(words: RouteWords, current: RouteView | null): readonly TargetChange[] {
  const tiers = new Map(words.tier.map((word) => tierOf(word)));
  const mirrors = new Map(words.mirror.map((word) => valued(word, '--mirror')));
  const planned: TargetChange[] = [];
  const add = (name: string, role: TargetChange['role'], weight: number, mirrorBps: number | null): void => {
    const { version, build } = named(name);
    const known = knownTarget(current, name, { version, build }, role);
    const wanted = build ?? known?.build;
    planned.push({
      version,
      ...(wanted === undefined ? {} : { build: wanted }),
      role,
      weight,
      tier: tiers.get(name) ?? tiers.get(version) ?? known?.tier ?? 'ssd',
      mirror_bps: mirrorBps ?? (known?.role === role ? known.mirror_bps : 0),
    });
  };
  for (const word of words.active) {
    const [name, weight] = valued(word, 'a target');
    add(name, 'active', weight, mirrors.get(name) ?? 0);
    mirrors.delete(name);
  }
  for (const name of words.draining) add(name, 'draining', 0, 0);
  for (const name of words.shadow) {
    add(name, 'shadow', 0, mirrors.get(name) ?? null);
    mirrors.delete(name);
  }
  // To be mirrored to is what a shadow is for: it need not be said twice.
  for (const [name, bps] of mirrors) add(name, 'shadow', 0, bps);
  const unused = [...tiers.keys()].find(
    (name) => !planned.some(({ version, build }) => name === version || name === `${version}:${build}`),
  );
  if (unused !== undefined) throw wrong(`--tier names ${unused}, which is no target of this route`);
  return planned;
}

/** The target that is meant: of several builds of the version the one in this role. Errors: INVALID_ARGUMENT. */
function knownTarget(
  current: RouteView | null,
  name: string,
  { version, build }: Named,
  role: TargetChange['role'],
): TargetView | undefined {
  const known = (current?.targets ?? []).filter(
    (target) => target.version === version && (build === null || target.build.startsWith(build)),
  );
  const inRole = known.filter((target) => target.role === role);
  const [meant, ...others] = inRole.length > 0 ? inRole : known;
  if (others.length > 0)
    throw wrong(
      `${name} may be any of the builds ${known.map((target) => target.build).join(', ')}: write ${version}:<build>`,
    );
  return meant;
}

/** The words of `route set` that say what a route is already: where a change of it begins. */
export function routeWords({ targets }: RouteView): readonly string[] {
  return targets.flatMap(({ version, build, role, weight, mirror_bps }) => {
    const isAlone = targets.filter((other) => other.version === version).length === 1;
    const name = isAlone ? version : `${version}:${build}`;
    if (role === 'active') return [`${name}=${weight}`];
    if (role === 'draining') return ['--draining', name];
    return mirror_bps === 0 ? ['--shadow', name] : ['--mirror', `${name}=${mirror_bps}`];
  });
}

/** One line per target that differs, as `-` and `+` lines; empty when nothing does. */
export function diffLines(before: readonly TargetView[], after: readonly TargetView[]): readonly string[] {
  const old = new Map(before.map((target) => [target.build, describe(target)]));
  const fresh = new Map(after.map((target) => [target.build, describe(target)]));
  // The two lines of one target stand together.
  return [...new Set([...old.keys(), ...fresh.keys()])].flatMap((build) => {
    const [was, is] = [old.get(build), fresh.get(build)];
    if (was === is) return [];
    return [...(was === undefined ? [] : [`- ${was}`]), ...(is === undefined ? [] : [`+ ${is}`])];
  });
}

export function describe(target: TargetView): string {
  const role =
    target.role === 'active'
      ? `active, weight ${percent(target.weight)}`
      : target.role === 'shadow'
        ? `shadow, mirrored ${percent(target.mirror_bps)}`
        : target.role;
  return `${target.version} (build ${target.build}, ${target.model}, ${target.tier}): ${role}`;
}

/** Basis points for a person. */
export const percent = (bps: number): string => `${bps / 100} %`;

function named(word: string): Named {
  const [version = '', build = null] = word.split(':', 2);
  if (version === '' || build === '') throw wrong(`${word} names no version; write v2 or v2:<build>`);
  return { version, build };
}

function valued(word: string, what: string): readonly [string, number] {
  const at = word.lastIndexOf('=');
  const name = word.slice(0, Math.max(at, 0));
  const value = word.slice(at + 1);
  if (at <= 0 || !BPS.test(value))
    throw wrong(`${what} is written <version>=<basis points>, e.g. v2=1000 for 10 %; got ${word}`);
  return [name, Number(value)];
}

function tierOf(word: string): readonly [string, Tier] {
  const at = word.lastIndexOf('=');
  const tier = TIERS.find((known) => known === word.slice(at + 1));
  if (at <= 0 || tier === undefined)
    throw wrong(`--tier is written <version>=<tier>, tier one of ${TIERS.join(', ')}; got ${word}`);
  return [word.slice(0, at), tier];
}

const wrong = (message: string): SwitchyardError => new SwitchyardError('INVALID_ARGUMENT', message);
