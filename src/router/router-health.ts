import { modelRef } from '../vocabulary.js';
import type { Ejections } from './ejection.js';
import type { QueryHealth } from './query.js';
import type { RouteStatus, RouteTable } from './route-table.js';
import { type TargetStore, whyDown } from './targets.js';

/**
 * `serving` of a corpus: its wanted revision is applied and every target of the split can encode and search.
 * `ready` of the whole replica is the weaker claim: every corpus can be answered, if only by an older revision,
 * so that one revision that cannot be loaded does not take the last replica out of service.
 */
export function healthOf(
  routes: RouteTable,
  store: TargetStore,
  ejections: Ejections,
  degradedReasons: readonly string[],
  isClosed: boolean,
): QueryHealth {
  const degraded = new Set(degradedReasons);
  let ready = !isClosed;
  const corpora = routes.status().map((status) => {
    const unable = isClosed ? 'the gateway is shutting down' : whyUnable(routes, ejections, status);
    if (unable !== null) ready = false;
    if (status.error !== null) degraded.add(`route_revision_behind:${status.corpus}`);
    const why = unable ?? whyBehind(status);
    return { corpus: status.corpus, serving: why === null, why };
  });
  for (const { spec, error } of store.report())
    if (error !== null) degraded.add(`target_failed:${spec.corpus}/${spec.version}`);
  for (const { corpus } of corpora) {
    const snapshot = routes.snapshot(corpus);
    for (const { state, version } of snapshot === null ? [] : ejections.report(snapshot))
      if (state !== 'in_use') degraded.add(`target_${state}:${corpus}/${version}`);
  }
  // A stated fallback, never a silent one (invariant 8).
  for (const { state, model } of store.openEncoders())
    if (state.kind === 'ready' && state.fallbackReason !== null)
      degraded.add(`provider_fallback:${modelRef(model)}`);
  return { ready, corpora, degraded: [...degraded].sort() };
}

/** Why a text query cannot be answered now by a target of the split, or by another of its model in its place; or null. */
function whyUnable(routes: RouteTable, ejections: Ejections, status: RouteStatus): string | null {
  const snapshot = routes.snapshot(status.corpus);
  if (snapshot === null)
    return status.error === null
      ? 'loading'
      : `cannot be loaded: ${status.error.reason}: ${status.error.message}`;
  if (snapshot.split.entries.length === 0) return 'no target has weight';
  for (const { item } of snapshot.split.entries) {
    const { value } = item.shared;
    if (ejections.hasOther(snapshot, item)) continue;
    if (value === null) return `${item.route.version} is closed`;
    const down = whyDown(value);
    if (down !== null) return down.message;
  }
  return null;
}

const whyBehind = ({ wanted, error }: RouteStatus): string | null =>
  error === null ? null : `revision ${wanted} cannot be applied: ${error.reason}: ${error.message}`;
