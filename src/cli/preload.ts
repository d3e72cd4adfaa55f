import { setTimeout as sleep } from 'node:timers/promises';
import { SwitchyardError } from '../errors.js';
import type { AdminApi } from '../gateway/admin/api.js';
import type { DesiredTargetView } from '../gateway/admin/views.js';

const LOOK_INTERVAL_MS = 200;

/** Asks every replica to hold a build. */
export const preload = (
  admin: AdminApi,
  target: Parameters<AdminApi['addDesiredTarget']>[0],
): Promise<DesiredTargetView> => admin.addDesiredTarget(target);

/** Waits until every live replica holds it. Errors: TARGET_NOT_READY after `waitMsMax`, naming those that do not. */
export async function untilReady(
  admin: AdminApi,
  target: DesiredTargetView,
  waitMsMax: number,
): Promise<DesiredTargetView> {
  const endMs = performance.now() + waitMsMax;
  for (;;) {
    const desired = await admin.listDesiredTargets({ corpus: target.corpus });
    const now = desired.find(({ build }) => build === target.build);
    if (now === undefined)
      throw new SwitchyardError(
        'STATUS_CONFLICT',
        `somebody released ${target.corpus}/${target.version} while it was waited for`,
      );
    if (now.waiting.length === 0) return now;
    if (performance.now() >= endMs) {
      const gateways = await admin.listGateways();
      const why = now.waiting
        .map((id) => {
          const error = gateways.find(({ gateway_id }) => gateway_id === id)?.last_error;
          return error ? `${id} (${error})` : id;
        })
        .join(', ');
      throw new SwitchyardError(
        'TARGET_NOT_READY',
        `${target.corpus}/${target.version} is not loaded after ${waitMsMax / 1000} s by ${why}; it goes on loading, until \`switchyard route preload ${target.corpus} ${target.version} --build ${target.build} --release --reason "not now"\``,
        { details: { replicas: now.waiting.join(', ') } },
      );
    }
    await sleep(LOOK_INTERVAL_MS);
  }
}
