import { type Digest, type Tier, WEIGHT_TOTAL_BPS } from '../../vocabulary.js';
import type { ThresholdWarning } from '../retire/score-thresholds.js';

/** How the traffic of the corpus lies between the two versions, by this migration's doing. */
export type Placement =
  /** As it was found: the old version serves, the new one is where it was. */
  | { readonly kind: 'untouched' }
  /** `build`: of the new version, which is mirrored to; absent in records of before. */
  | { readonly kind: 'shadow'; readonly mirrorBps: number; readonly build?: Digest }
  | { readonly kind: 'weighted'; readonly weightBps: number }
  /** The old version has left the route. */
  | { readonly kind: 'released' }
  /** The old version has all weight again. */
  | { readonly kind: 'restored' };

/** What `verify` found: the new version as it is from then on. */
export interface Verified {
  readonly build: Digest;
  /** Of the source; null where the build has none. */
  readonly watermark: string | null;
  /** That it is the watermark of, by the name that gateways find it by; null where there is none. Absent in records of before. */
  readonly feed?: string | null;
}

/** What holds whatever the migration is doing. */
export interface Facts {
  readonly from: { readonly build: Digest; readonly tier: Tier };
  readonly placement: Placement;
  /** Whether the new version has ever served by weight: its clients may send vectors of its model since. */
  readonly hadWeight: boolean;
  /** Of the new version, the build that had weight last. Absent where none had, and in records of before. */
  readonly served?: Digest;
  /** Of the route as this migration made or accepted it. */
  readonly routeRevision: number;
  /** Somebody changed the split, and a person said to go on: it is put back first. */
  readonly isRouteLost: boolean;
  readonly verified: Verified | null;
  /** Mirrored reads from before this do not count: the version or the route was another one. ISO 8601. */
  readonly measuredFrom: string;
  /** What allows the next weight, and is used up by it. */
  readonly gate: { readonly kind: 'passed' | 'overridden'; readonly step: number } | null;
  /** A person said to take the old version out of the route although somebody reads it; absent: nobody said so. */
  readonly isReleaseConfirmed?: true;
  /** Replicas may have been asked to load the new version before it had weight; absent: no set_weight was begun. */
  readonly wasAskedFor?: true;
  /** Consumers that were warned before the new version took their reads over; absent: none. */
  readonly warned?: readonly ThresholdWarning[];
}

export interface Position {
  /** Number of the step in the plan, from 0. */
  readonly step: number;
  /** How often this step was begun, from 1. */
  readonly attempt: number;
  /** By the registry's clock, ISO 8601. */
  readonly beganAt: string;
}

export const PAUSE_CAUSES = [
  'plan',
  'operator',
  'inconclusive',
  'failure',
  'route_changed',
  'in_use',
] as const;
export type PauseCause = (typeof PAUSE_CAUSES)[number];

/** How an ended migration's traffic went back: null until every replica applied it or the wait was over. */
export interface Settled {
  /** From the command to the last replica's report; null when one did not report in time. */
  readonly rollbackMs: number | null;
  /** Replicas that did not. */
  readonly lagging: readonly string[];
}

export type MigrationState =
  | { readonly kind: 'running'; readonly at: Position; readonly facts: Facts }
  | {
      readonly kind: 'paused';
      readonly at: Position;
      readonly facts: Facts;
      readonly cause: PauseCause;
      readonly why: string;
    }
  | { readonly kind: 'completed'; readonly facts: Facts }
  | {
      /** By an analysis that failed, or by an operator. */
      readonly kind: 'aborted' | 'rolled_back';
      readonly at: Position;
      readonly facts: Facts;
      readonly cause: 'analysis' | 'operator';
      readonly why: string;
      readonly sinceAt: string;
      readonly settled: Settled | null;
    };
export type StateKind = MigrationState['kind'];
export const STATE_KINDS = [
  'running',
  'paused',
  'completed',
  'aborted',
  'rolled_back',
] as const satisfies readonly StateKind[];
/** Why it is paused, or went back. */
export const CAUSES = [...PAUSE_CAUSES, 'analysis'] as const;
export type RunningState = Extract<MigrationState, { readonly kind: 'running' }>;
export type ReturningState = Extract<MigrationState, { readonly kind: 'aborted' | 'rolled_back' }>;

/** Everything that can happen. `atIso`: when, by the registry's clock. */
export type MigrationEventBody =
  /** The route says what the step wants: `routeRevision` is the one that the same transaction makes. */
  | { readonly kind: 'route_placed'; readonly placement: Placement; readonly routeRevision: number }
  /** Somebody changed the route without touching the split: accepted, and what was measured is measured anew. */
  | { readonly kind: 'route_accepted'; readonly routeRevision: number; readonly why: string }
  /** Somebody changed the split, or the new version itself. */
  | { readonly kind: 'route_diverged'; readonly why: string }
  /** The new version is another one than was verified. Carries the revision that takes its weight back, where it has any. */
  | { readonly kind: 'version_changed'; readonly why: string; readonly routeRevision: number | null }
  | { readonly kind: 'verified'; readonly verified: Verified; readonly findings: unknown }
  /** Before a weight: what these consumers compare scores with does not fit the new version's. */
  | { readonly kind: 'consumers_warned'; readonly warnings: readonly ThresholdWarning[] }
  /** The old version stays in the route, since somebody reads that version itself. */
  | { readonly kind: 'release_held'; readonly why: string }
  | { readonly kind: 'step_done'; readonly findings: unknown }
  | { readonly kind: 'analysis_successful'; readonly findings: unknown }
  | { readonly kind: 'analysis_inconclusive'; readonly findings: unknown; readonly why: string }
  /** Carries the revision that gives the old version everything back. */
  | {
      readonly kind: 'analysis_failed';
      readonly findings: unknown;
      readonly why: string;
      readonly routeRevision: number | null;
    }
  | { readonly kind: 'step_broke'; readonly why: string }
  | { readonly kind: 'settled'; readonly settled: Settled }
  | { readonly kind: 'pause' }
  | { readonly kind: 'resume' }
  | { readonly kind: 'promote' }
  | { readonly kind: 'abort' | 'rollback'; readonly routeRevision: number | null };
export type EventKind = MigrationEventBody['kind'];

export const isFinished = (state: MigrationState): boolean =>
  state.kind === 'completed' || (isReturning(state) && state.settled !== null);

export const isReturning = (state: MigrationState): state is ReturningState =>
  state.kind === 'aborted' || state.kind === 'rolled_back';

/** Whether the build that was verified is the one that is mirrored to. */
export const isMirrored = ({ placement, verified }: Facts): boolean =>
  placement.kind === 'shadow' && verified !== null && placement.build === verified.build;

/** Weight of the new version, basis points. */
export function weightOf({ placement }: Facts): number {
  if (placement.kind === 'weighted') return placement.weightBps;
  return placement.kind === 'released' ? WEIGHT_TOTAL_BPS : 0;
}
