import { toSwitchyardError } from '../errors.js';
import type { Timers } from '../process/timers.js';
import type { Span, SpanAttributes, SpanName } from '../telemetry/trace.js';
import { digestPrefix } from '../vocabulary.js';
import type { AdmittedCall } from './admitted-call.js';
import type { OpenTarget } from './targets.js';

/** `work`, recorded as a part of the request where that is traced; else `work` and nothing more. */
export async function inSpan<T>(
  trace: Span | undefined,
  name: SpanName,
  timers: Timers,
  work: () => Promise<T>,
  attributesOf: (result: T | null) => SpanAttributes,
): Promise<T> {
  if (trace === undefined) return work();
  const startMs = timers.nowMs();
  try {
    const result = await work();
    trace.record(name, startMs, timers.nowMs(), attributesOf(result));
    return result;
  } catch (thrown) {
    const failed = toSwitchyardError(thrown).reason;
    trace.record(name, startMs, timers.nowMs(), attributesOf(null), { failed });
    throw thrown;
  }
}

export const targetAttributes = ({ spec }: OpenTarget): SpanAttributes => ({
  corpus: spec.corpus,
  corpus_version: spec.version,
  build: digestPrefix(spec.build),
  model: spec.modelRef,
  tier: spec.tier,
});

/** The choice of the target: of a batch each item has one of its own. */
export function recordPick(
  { call, open, snapshot, kind, startedAtMs, mirrors }: AdmittedCall,
  endMs: number,
): void {
  call.trace?.record('pick', startedAtMs, endMs, {
    ...targetAttributes(open),
    route_revision: snapshot.revision,
    traffic: kind,
    by: call.affinityKey === null || call.affinityKey === '' ? 'weight' : 'affinity_key',
    query: call.query.kind,
    mirrors: mirrors.length,
  });
}

/** `outcome`: `memory` or `redis` where it was found, `miss`, or `joined` to an equal request under way. */
export function recordCache(
  trace: Span | undefined,
  kind: 'embedding' | 'result',
  outcome: 'memory' | 'redis' | 'miss' | 'joined' | 'found',
  startMs: number,
  endMs: number,
): void {
  trace?.record('cache', startMs, endMs, {
    'switchyard.cache.kind': kind,
    'switchyard.cache.outcome': outcome,
  });
}
