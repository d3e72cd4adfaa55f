import type { Point } from './driver-points.js';

const timeout_s = 300;
const LOOK = { interval_s: 0.05, timeout_s };
const SHADOW = { shadow: { compared_min: 1, failed_share_max: 1, late_share_max: 1 }, ...LOOK };
const SERVED = { error_rate: { samples_min: 1, increase_max: 1 }, ...LOOK };
const UP = [{ build: {} }, { verify: {} }];
const CUT_OVER = [
  { set_weight: { weight: 5_000, timeout_s } },
  { analysis: SERVED },
  { pause: { duration_s: 0.1 } },
  { set_weight: { weight: 10_000, timeout_s } },
  { analysis: SERVED },
  { complete: {} },
];
const MIRRORED = [
  ...UP,
  { shadow: { duration_s: 0, compared_min: 1, timeout_s } },
  { analysis: SHADOW },
  ...CUT_OVER,
];
/** Without mirrors a version that was rolled back stays loaded where it serves from: the next one begins at once. */
export const STEPS = [...UP, { analysis: { cost: {} } }, ...CUT_OVER, { retire: { quiet_days: 0 } }];

export interface Where extends Omit<Point, 'isHeld'> {
  readonly step: string;
  /** Of the new version, basis points. */
  readonly weight: number;
  readonly verb: 'abort' | 'rollback';
  readonly steps?: readonly object[];
  /** The old version has left the route: it is loaded first, and no bound is promised. */
  readonly isReleased?: true;
}

export const behind = (event: number, at: string, nth = 1) => ({ event, at, nth, when: 'before' }) as const;

export const IN_PAUSE = 7;
export const ASKING = behind(4, 'desiredTargets.add');
/** The archive is written and verified, and the old version is about to be taken out of service. */
export const RETIRING = behind(13, 'corpusVersions.archive');

/** The driver is in the middle of each: what it does there has begun and is not over when the command comes. */
export const EVERYWHERE: readonly Where[] = [
  { step: 'verify', ...behind(2, 'builds.get'), weight: 0, verb: 'abort' },
  { step: 'shadow', ...behind(4, 'migrations.samplesSince'), weight: 0, verb: 'rollback', steps: MIRRORED },
  { step: 'analysis', ...behind(5, 'migrations.samplesSince'), weight: 0, verb: 'rollback', steps: MIRRORED },
  // Loading the new version; then: the weight is given, and not every replica may have heard of it.
  { step: 'set_weight', ...behind(4, 'gateways.list'), weight: 0, verb: 'rollback' },
  // About to ask for that: nobody is there to take it back any more when it does.
  { step: 'set_weight', ...ASKING, weight: 0, verb: 'abort' },
  { step: 'set_weight', ...behind(5, 'gateways.list'), weight: 5_000, verb: 'rollback' },
  { step: 'analysis', ...behind(6, 'migrations.samplesSince'), weight: 5_000, verb: 'abort' },
  { step: 'pause', ...behind(IN_PAUSE, 'migrations.now'), weight: 5_000, verb: 'rollback' },
  { step: 'set_weight', ...behind(9, 'gateways.list'), weight: 10_000, verb: 'rollback' },
  // About to take the old version out of the route.
  { step: 'complete', ...behind(11, 'routes.get', 2), weight: 10_000, verb: 'rollback' },
  { step: 'retire', ...RETIRING, weight: 10_000, verb: 'rollback', isReleased: true },
];
