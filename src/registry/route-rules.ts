import { SwitchyardError } from '../errors.js';
import {
  type Digest,
  digestPrefix,
  type Fingerprint,
  TARGET_ROLES,
  TIERS,
  WEIGHT_TOTAL_BPS,
} from '../vocabulary.js';
import type { RouteTarget, RouteTargetInput } from './route.js';
import type { CorpusVersionStatus } from './schema.js';

export const ROUTE_TARGETS_MAX = 64;
const BUILD_PREFIX_LENGTH_MIN = 8;
const ROUTABLE: readonly CorpusVersionStatus[] = ['ready', 'active', 'draining'];

/** What a route may be made of: a corpus version with its builds, as the registry has them. */
export interface VersionOnOffer {
  readonly version: string;
  readonly status: CorpusVersionStatus;
  readonly fingerprint: Fingerprint;
  readonly modelRef: string;
  readonly defaultBuild: Digest | null;
  readonly builds: readonly { readonly digest: Digest; readonly bundleUri: string }[];
}

/**
 * The targets of a route, checked against every rule and with their builds resolved. Pure: the registry's constraints
 * say the same once more. Errors: INVALID_ROUTE, UNKNOWN_CORPUS_VERSION, UNKNOWN_BUILD, STATUS_CONFLICT.
 */
export function validateRoute(
  corpus: string,
  inputs: readonly RouteTargetInput[],
  offers: readonly VersionOnOffer[],
): readonly RouteTarget[] {
  if (inputs.length === 0 || inputs.length > ROUTE_TARGETS_MAX)
    throw invalid(corpus, `it has ${inputs.length} targets; must be 1..${ROUTE_TARGETS_MAX}`);
  const targets = inputs.map((input) => {
    checkNumbers(corpus, input);
    return resolveTarget(corpus, input, offers);
  });
  const seen = new Set<Digest>();
  for (const { build, version } of targets) {
    if (seen.has(build))
      throw invalid(
        corpus,
        `build ${digestPrefix(build)} of ${version} is in it twice; give each build one target`,
      );
    seen.add(build);
  }
  const active = targets.filter(({ role }) => role === 'active');
  if (active.length === 0) throw invalid(corpus, 'no target is active; one must be');
  const total = active.reduce((sum, { weightBps }) => sum + weightBps, 0);
  if (total !== WEIGHT_TOTAL_BPS) {
    const parts = active.map(({ version, weightBps }) => `${version} ${weightBps}`).join(' + ');
    throw invalid(
      corpus,
      `the weights of its active targets sum to ${total} (${parts}); must be ${WEIGHT_TOTAL_BPS} basis points`,
    );
  }
  return targets;
}

function checkNumbers(corpus: string, input: RouteTargetInput): void {
  const { version, role, tier, weightBps, mirrorBps } = input;
  if (!TARGET_ROLES.includes(role))
    throw invalid(corpus, `the role of ${version} must be one of ${TARGET_ROLES.join(', ')}`);
  if (!TIERS.includes(tier))
    throw invalid(corpus, `the tier of ${version} must be one of ${TIERS.join(', ')}`);
  for (const [name, value] of [
    ['weight', weightBps],
    ['mirror_bps', mirrorBps],
  ] as const) {
    if (!Number.isInteger(value) || value < 0 || value > WEIGHT_TOTAL_BPS)
      throw invalid(
        corpus,
        `${name} ${value} of ${version} must be a whole number 0..${WEIGHT_TOTAL_BPS} (basis points)`,
      );
  }
  if (role !== 'active' && weightBps !== 0)
    throw invalid(corpus, `${version} is ${role} with weight ${weightBps}; only active targets have weight`);
  if (role !== 'shadow' && mirrorBps !== 0)
    throw invalid(
      corpus,
      `${version} is ${role} with mirror_bps ${mirrorBps}; only shadow targets get mirrored reads`,
    );
}

function resolveTarget(
  corpus: string,
  input: RouteTargetInput,
  offers: readonly VersionOnOffer[],
): RouteTarget {
  const offer = offers.find(({ version }) => version === input.version);
  if (offer === undefined) {
    const known = offers.map(({ version }) => version).join(', ');
    throw new SwitchyardError(
      'UNKNOWN_CORPUS_VERSION',
      `corpus ${corpus} has no version ${input.version}; it has ${known || 'none'}`,
      { details: { corpus, version: input.version, known } },
    );
  }
  if (!ROUTABLE.includes(offer.status))
    throw new SwitchyardError(
      'STATUS_CONFLICT',
      `${corpus}/${offer.version} is ${offer.status} and takes no traffic; a target's version must be ${ROUTABLE.join(', ')}`,
      { details: { corpus, version: offer.version, status: offer.status } },
    );
  const build = resolveBuild(corpus, input.build, offer);
  return Object.freeze({
    version: offer.version,
    build: build.digest,
    fingerprint: offer.fingerprint,
    modelRef: offer.modelRef,
    role: input.role,
    weightBps: input.weightBps,
    tier: input.tier,
    mirrorBps: input.mirrorBps,
    bundleUri: build.bundleUri,
  });
}

/** The one build of the version that `wanted` names. Errors: UNKNOWN_BUILD. */
export function resolveBuild(
  corpus: string,
  wanted: string | null,
  offer: VersionOnOffer,
): VersionOnOffer['builds'][number] {
  const name = wanted ?? offer.defaultBuild;
  const matches =
    name === null || name.length < BUILD_PREFIX_LENGTH_MIN
      ? []
      : offer.builds.filter(({ digest }) => digest.startsWith(name));
  const [build] = matches;
  if (build !== undefined && matches.length === 1) return build;
  const known = offer.builds.map(({ digest }) => digestPrefix(digest)).join(', ');
  throw new SwitchyardError(
    'UNKNOWN_BUILD',
    matches.length > 1
      ? `build ${wanted} of ${corpus}/${offer.version} is ambiguous: give more of the digest`
      : `${corpus}/${offer.version} has no build ${wanted ?? 'by default'} (digest, or at least ${BUILD_PREFIX_LENGTH_MIN} characters of it); it has ${known || 'none'}`,
    { details: { corpus, version: offer.version, known } },
  );
}

const invalid = (corpus: string, what: string): SwitchyardError =>
  new SwitchyardError('INVALID_ROUTE', `the route of ${corpus} is not valid: ${what}`, {
    details: { corpus },
  });
