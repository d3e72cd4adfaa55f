import type { Registry } from '../../registry/registry.js';
import type { Work } from './ports.js';
import type { Migration } from './record.js';
import type { MigrationEventBody, ReturningState } from './state.js';

const LOOK_MS = 50;

/**
 * After a return to the old version: waits until every live replica serves it, and says how long that took from the
 * command, or who did not.
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
  // What a set_weight had loaded in advance is wanted no more.
  await forgetDesired(registry, corpus, toVersion);
  for (;;) {
    const [replicas, now] = await Promise.all([registry.gateways.list(), registry.migrations.now()]);
    const alive = replicas.filter((replica) => replica.alive);
    const lagging = alive.filter(
      ({ appliedRevisions }) => (appliedRevisions[corpus] ?? 0) < facts.routeRevision,
    );
    work.onProgress({
      what: 'replicas back on the old version',
      done: alive.length - lagging.length,
      total: alive.length,
      etaMs: null,
    });
    if (lagging.length === 0) {
      const reportedMs = Math.max(sinceMs, ...alive.map(({ heartbeatAt }) => heartbeatAt.getTime()));
      // Where no replica lives nobody was served by the new version any more.
      const rollbackMs =
        facts.hadWeight && alive.length > 0 ? Math.min(reportedMs, now.getTime()) - sinceMs : null;
      return { kind: 'settled', settled: { rollbackMs, lagging: [] } };
    }
    if (now.getTime() - sinceMs > timeoutMs)
      return {
        kind: 'settled',
        settled: { rollbackMs: null, lagging: lagging.map(({ gatewayId }) => gatewayId) },
      };
    await work.wait(LOOK_MS);
  }
}

async function forgetDesired(registry: Registry, corpus: string, version: string): Promise<void> {
  for (const target of await registry.desiredTargets.list({ corpus }))
    if (target.version === version)
      await registry.desiredTargets.remove(
        { corpus, version, build: target.build },
        { actor: 'migration', reason: 'the migration went back to the old version' },
      );
}
