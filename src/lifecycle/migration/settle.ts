import type { Registry } from '../../registry/registry.js';
import { Followers } from './followers.js';
import { forgetDesired } from './forget-desired.js';
import type { Work } from './ports.js';
import type { Migration } from './record.js';
import type { MigrationEventBody, ReturningState } from './state.js';

const LOOK_MS = 50;

/**
 * After a return to the old version: waits until every replica that could serve the new one serves it, and says how long
 * that took from the command, or who did not.
 */
export async function settle(
  migration: Migration,
  state: ReturningState,
  registry: Registry,
  timeoutMs: number,
  work: Work & { wait(ms: number): Promise<void> },
): Promise<MigrationEventBody> {
  const { corpus, toVersion } = migration;
  const { facts, sinceAt } = state;
  const sinceMs = new Date(sinceAt).getTime();
  const followers = new Followers({
    corpus,
    routeRevision: facts.routeRevision,
    served: facts.hadWeight ? (facts.served ?? facts.verified?.build ?? null) : null,
    beganMs: migration.createdAt.getTime(),
    commandMs: sinceMs,
    aliveMsMax: registry.gateways.aliveMsMax,
  });
  // What a set_weight had loaded in advance is wanted no more.
  await forgetDesired(registry, corpus, toVersion, 'the migration went back to the old version');
  for (;;) {
    const [replicas, now] = await Promise.all([registry.gateways.list(), registry.migrations.now()]);
    const { lagging, total, tookMs } = followers.look(replicas);
    work.onProgress({
      what: 'replicas back on the old version',
      done: total - lagging.length,
      total,
      etaMs: null,
    });
    // Where no replica lives nobody was served by the new version any more.
    if (lagging.length === 0)
      return {
        kind: 'settled',
        settled: { rollbackMs: facts.hadWeight ? tookMs : null, lagging: [] },
      };
    if (now.getTime() - sinceMs > timeoutMs)
      return {
        kind: 'settled',
        settled: { rollbackMs: null, lagging: lagging.map(({ gatewayId }) => gatewayId) },
      };
    await work.wait(LOOK_MS);
  }
}
