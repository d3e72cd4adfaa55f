import { createHash } from 'node:crypto';
import type { Digest, Fingerprint, Revision, TargetRole, Tier } from '../vocabulary.js';

/** A build placed in a route, with everything a replica needs to load it and to check its fingerprint. */
export interface RouteTarget {
  /** Label of the corpus version, e.g. `v2`. */
  readonly version: string;
  readonly build: Digest;
  readonly fingerprint: Fingerprint;
  /** name@version of the model. */
  readonly modelRef: string;
  readonly role: TargetRole;
  /** Basis points; those of active targets sum to 10 000, others have 0. */
  readonly weightBps: number;
  readonly tier: Tier;
  /** Share of the served reads that a shadow target gets a copy of, in basis points; 0 for other roles. */
  readonly mirrorBps: number;
  readonly bundleUri: string;
}

/** One immutable snapshot of a corpus's targets (invariant 2). */
export interface Route {
  readonly corpus: string;
  readonly revision: Revision;
  /** Fixed when the route is made: keys keep their targets over every change. */
  readonly salt: string;
  readonly targets: readonly RouteTarget[];
}

/**
 * Digest of all that a route says. Two of one revision may differ: after a restore, in another database, or when a
 * build was recorded again at another place.
 */
export function routeIdentity({ corpus, revision, salt, targets }: Route): string {
  const said = [
    corpus,
    revision,
    salt,
    targets.map((target) => [
      target.version,
      target.build,
      target.fingerprint,
      target.modelRef,
      target.role,
      target.weightBps,
      target.tier,
      target.mirrorBps,
      target.bundleUri,
    ]),
  ];
  return createHash('sha256').update(JSON.stringify(said)).digest('hex');
}

/** A target as an operator writes it. */
export interface RouteTargetInput {
  readonly version: string;
  /** A digest or its prefix of at least 8 characters; null for the default build of the version. */
  readonly build: string | null;
  readonly role: TargetRole;
  readonly weightBps: number;
  readonly tier: Tier;
  readonly mirrorBps: number;
}

/** One row of a route's history. */
export interface RouteRevision {
  readonly corpus: string;
  readonly revision: Revision;
  readonly changedAt: Date;
  readonly actor: string;
  readonly reason: string;
  /** Whether the readiness of replicas was overridden. */
  readonly forced: boolean;
  /** The revision whose targets came back; null for an ordinary change. */
  readonly rolledBackTo: Revision | null;
  /** Null for the first revision. */
  readonly before: readonly RouteTarget[] | null;
  readonly after: readonly RouteTarget[];
}

/** A target as the audit stores it. The database compares it with the route's rows (`route_audit_says_targets`). */
interface AuditedTarget {
  readonly version: string;
  readonly build: string;
  readonly fingerprint: string;
  readonly model: string;
  readonly role: TargetRole;
  readonly weight_bps: number;
  readonly tier: Tier;
  readonly mirror_bps: number;
  readonly bundle_uri: string;
}

export function auditTargets(targets: readonly RouteTarget[]): string {
  const audited = targets.map(
    (target): AuditedTarget => ({
      version: target.version,
      build: target.build,
      fingerprint: target.fingerprint,
      model: target.modelRef,
      role: target.role,
      weight_bps: target.weightBps,
      tier: target.tier,
      mirror_bps: target.mirrorBps,
      bundle_uri: target.bundleUri,
    }),
  );
  return JSON.stringify({ targets: audited });
}

export function auditedTargets(value: unknown): readonly RouteTarget[] {
  const { targets } = value as { targets: readonly AuditedTarget[] };
  return targets.map((target) => ({
    version: target.version,
    build: target.build as Digest,
    fingerprint: target.fingerprint as Fingerprint,
    modelRef: target.model,
    role: target.role,
    weightBps: target.weight_bps,
    tier: target.tier,
    mirrorBps: target.mirror_bps,
    bundleUri: target.bundle_uri,
  }));
}
