import type { TargetSpec } from '../../src/router/targets.js';
import { createRig, type Rig, type RigOptions, route, V1, V2 } from './harness.js';
import { target } from './small-engines.js';

export const pause = (ms = 5) => new Promise<void>((resolve) => setTimeout(resolve, ms));
export const isShadow = ({ isolation }: TargetSpec): boolean => isolation === 'isolated';

/** v1 serves; v2, of another model, gets a share of its reads. */
export async function mirroring(options: RigOptions = {}, shadow = V2, mirrorBps = 10_000): Promise<Rig> {
  const rig = createRig(options);
  await rig.router.apply(route(1, [target(V1, 'active', 10_000), target(shadow, 'shadow', 0, mirrorBps)]));
  while (rig.router.targets().some(({ state }) => state !== 'ready')) await pause(1);
  return rig;
}

export async function quiet({ router }: Rig): Promise<void> {
  while (router.mirrorStates().some(({ lane }) => lane.running + lane.waiting > 0)) await pause(1);
}
