import type { SwitchyardError } from '../errors.js';
import type { Digest, Fingerprint, Priority } from '../vocabulary.js';
import type { Comparison } from './comparison.js';
import type { MirrorDrop } from './mirror-drop.js';

/** Which target, as metric labels: few values by construction. */
export interface TargetLabels {
  readonly corpus: string;
  readonly version: string;
  readonly build: Digest;
  readonly model: string;
}

/** `split`: chosen by the weights. `pinned`: named by the client, counted apart. */
export type TrafficKind = 'split' | 'pinned';

/**
 * What a failure says of the target that it came from. `none`: nothing, it is the request's doing, its hurry's or a full
 * queue's. `own`: it is the target's. `shared`: so too, and it was counted with another request of this kind of
 * traffic, as that of one encode call for a whole batch.
 */
export type Blame = 'none' | 'own' | 'shared';

/** Microseconds; queue is the time in the encoder's and the search workers' queues together. */
export interface StageTimes {
  readonly queueUs: number;
  readonly encodeUs: number;
  readonly searchUs: number;
  readonly totalUs: number;
}

/**
 * What the router counts; the process that wires it up decides where to. Called on the path of a request:
 * an implementation neither blocks nor throws.
 */
export interface RouterMetrics {
  served(target: TargetLabels, kind: TrafficKind, times: StageTimes, priority: Priority): void;
  /** A request that failed after its target was picked, and what ejection made of it. */
  failed(target: TargetLabels, kind: TrafficKind, error: SwitchyardError, blame: Blame): void;
  mirrorOffered(shadow: TargetLabels): void;
  mirrorDropped(shadow: TargetLabels, why: MirrorDrop): void;
  /** The shadow's encoder or index failed; also where the mirror was given up before. */
  mirrorFailed(shadow: TargetLabels, error: unknown): void;
  /** An embedding that failed after its model was found: no target has to do with it. */
  embedFailed(model: { readonly modelRef: string; readonly fingerprint: Fingerprint }, error: unknown): void;
  mirrorCompared(primary: TargetLabels, shadow: TargetLabels, comparison: Comparison): void;
}
