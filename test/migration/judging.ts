import type { Test } from 'tap';
import { until } from '../control/yard.js';
import type { JudgedLoad, Seen } from './judged-load.js';

/** The bound that is promised: no request that begins later is served by the new version. */
const BOUND_MS = 1_000;
/** On a machine where a request takes so long that this many take longer than that, it is as many of them. */
const BOUND_REQUESTS = 20;
/** Answers of each replica that are looked at behind the bound. */
const LOOKED_AT = 10;

/** By what a request took lately. */
export function boundOf({ seen }: JudgedLoad): number {
  const took = seen.slice(-200).map(({ startedMs, endedMs }) => endedMs - startedMs);
  const median = took.sort((a, b) => a - b)[took.length >> 1] ?? 0;
  return Math.max(BOUND_MS, Math.round(BOUND_REQUESTS * median));
}

export const versions = (seen: readonly Seen[]): readonly string[] =>
  [...new Set(seen.map(({ version }) => version))].sort();

/** Whatever the clock says: the return's revision serves the old version alone, and no replica goes back behind it. */
export function judge(t: Test, seen: readonly Seen[], revision: number): void {
  t.same(
    seen.filter(({ verdict }) => verdict !== 'right'),
    [],
    `${seen.length} answers around the command are right, each of the version it names`,
  );
  t.same(
    seen.filter((one) => one.revision >= revision && one.version !== 'v1'),
    [],
    `nothing is served by the new version under revision ${revision}`,
  );
  const wentBack = seen.filter((one) =>
    seen.some(
      (other) =>
        other.replica === one.replica && other.endedMs < one.startedMs && other.revision > one.revision,
    ),
  );
  t.same(wentBack, [], 'what begins after an answer is never served by an older revision');
}

export async function untilAnswered(
  load: JudgedLoad,
  replicas: readonly string[],
  startedMs: number,
): Promise<void> {
  for (const replica of replicas)
    await until(`${replica} answers`, async () => load.since(replica, startedMs).length >= LOOKED_AT);
}

/** Until each replica serves a version, under this revision of the route or a later one. */
export async function untilServed(
  load: JudgedLoad,
  replicas: readonly string[],
  version: string,
  revision = 0,
): Promise<void> {
  const sinceMs = performance.now();
  for (const replica of replicas)
    await until(
      `${replica} serves ${version}`,
      async () =>
        load.since(replica, sinceMs).some((one) => one.version === version && one.revision >= revision),
      120_000,
    );
}
