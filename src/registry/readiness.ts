import { sql } from 'kysely';
import { SwitchyardError } from '../errors.js';
import { digestPrefix } from '../vocabulary.js';
import type { RegistryTransaction } from './database.js';
import type { RouteTarget } from './route.js';

/** A gateway whose last heartbeat is older, by the database's clock, does not count as a live replica. */
export const GATEWAY_ALIVE_MS_MAX = 15_000;

export const isAlive = (aliveMsMax: number) =>
  sql<boolean>`heartbeat_at > clock_timestamp() - make_interval(secs => ${aliveMsMax / 1000})`;

/**
 * Loading comes before routing: refuses to raise the weight of a target that some live replica has not reported ready.
 * Lowering is always allowed, so a broken target can be taken out. Errors: TARGET_NOT_READY, naming the replicas.
 */
export async function refuseUnready(
  transaction: RegistryTransaction,
  corpus: string,
  before: readonly RouteTarget[],
  after: readonly RouteTarget[],
  aliveMsMax: number,
): Promise<void> {
  const weightBefore = new Map(before.map(({ build, weightBps }) => [build, weightBps]));
  const raised = after.filter(({ build, weightBps }) => weightBps > (weightBefore.get(build) ?? 0));
  if (raised.length === 0) return;
  const replicas = await transaction
    .selectFrom('gateways')
    .select(['gateway_id', 'address', 'ready_targets'])
    .where(isAlive(aliveMsMax))
    .orderBy('gateway_id')
    .execute();
  const missing = replicas.flatMap((replica) => {
    const ready = new Set(replica.ready_targets);
    const targets = raised.filter(({ build }) => !ready.has(build));
    return targets.length === 0 ? [] : [{ replica, targets }];
  });
  if (missing.length === 0) return;
  const list = missing
    .map(({ replica, targets }) => {
      const names = targets.map(({ version, build }) => `${version} (${digestPrefix(build)})`).join(', ');
      return `${replica.gateway_id} at ${replica.address} lacks ${names}`;
    })
    .join('; ');
  throw new SwitchyardError(
    'TARGET_NOT_READY',
    `weight on a target that a live replica has not loaded: ${list}. Load it first with ${preloads(corpus, missing)}, then try again; or make the change with --preload, which does both, or with --force, which does not wait`,
    { details: { replicas: missing.map(({ replica }) => replica.gateway_id).join(', ') } },
  );
}

/** The commands that load what is missing, each once. */
function preloads(corpus: string, missing: readonly { readonly targets: readonly RouteTarget[] }[]): string {
  const commands = missing.flatMap(({ targets }) =>
    targets.map(
      ({ version, build, tier }) =>
        `\`switchyard route preload ${corpus} ${version} --build ${digestPrefix(build)} --tier ${tier} --wait 120 --reason "load before weight"\``,
    ),
  );
  return [...new Set(commands)].join(' and ');
}
