import { SwitchyardError } from '../errors.js';
import type { Fingerprint, QueryVector } from '../vocabulary.js';
import type { TargetLabels, TrafficKind } from './metrics.js';
import type { SearchCall } from './query.js';
import type { RouteSnapshot, SnapshotTarget } from './snapshot.js';
import type { OpenTarget } from './targets.js';

/** A call with the target that will serve it. The target is retained; whoever admitted the call releases it. */
export interface AdmittedCall {
  readonly call: SearchCall;
  readonly snapshot: RouteSnapshot;
  readonly target: SnapshotTarget;
  readonly open: OpenTarget;
  /** The target that the route meant, where it is ejected or failed; null: this one. */
  readonly insteadOf: SnapshotTarget | null;
  readonly kind: TrafficKind;
  readonly startedAtMs: number;
  /** When this target's turn came: later than the start where another one failed before. */
  readonly attemptAtMs: number;
  /** Shadows that this call was sampled for. */
  readonly mirrors: readonly SnapshotTarget[];
}

/** A vector of the target's own model, with what it cost. */
export interface CallVector {
  readonly vector: QueryVector;
  readonly queueUs: number;
  readonly encodeUs: number;
}

/**
 * The vector a client sent, in the space of the model the client named. It is not taken from the target on purpose:
 * the index compares it with its own (invariant 1).
 */
export function vectorGiven({ call, snapshot }: AdmittedCall): CallVector {
  const fingerprint = snapshot.models.get(call.model ?? '');
  if (call.query.kind !== 'vector' || fingerprint === undefined)
    throw new Error('only an admitted call with a vector has a vector');
  return { vector: { fingerprint, values: call.query.values }, queueUs: 0, encodeUs: 0 };
}

/** Invariant 1 once more, on what the encoder or the cache really returned: only the target's own model's vectors go to its index. */
export function assertSpace(vector: { readonly fingerprint: Fingerprint }, expected: Fingerprint): void {
  if (vector.fingerprint === expected) return;
  throw new SwitchyardError(
    'FINGERPRINT_MISMATCH',
    `there is a vector of ${vector.fingerprint}, and one of ${expected} is needed`,
  );
}

export const labelsOf = (corpus: string, { route }: SnapshotTarget): TargetLabels => ({
  corpus,
  version: route.version,
  build: route.build,
  model: route.modelRef,
});
