import { setTimeout as sleep } from 'node:timers/promises';
import type { Expected, Fault } from './fault.js';
import type { ConstantLoad } from './load.js';
import type { ChaosRig } from './rig.js';
import type { Tally } from './tally.js';

/** What each fault sees at least: of requests sent from its injection on and, where somebody heals it, before that. */
const REQUESTS_MIN = 30;
const MET_MS_MAX = 60_000;
const LOOK_MS = 25;
/** A service that is not well after so long never will be. */
export const RECOVERY_MS_MAX = 120_000;

export type FaultRow = Readonly<Record<string, number | string>>;

/** One fault from its injection until the service is well again, as a row of the table. */
export async function applyFault(
  fault: Fault,
  rig: ChaosRig,
  load: ConstantLoad,
  holdMs: number,
): Promise<FaultRow> {
  const { name, expected, metBy = 1 } = fault;
  const begunAtMs = performance.now();
  const tookMs = (): number => performance.now() - begunAtMs;
  await untilSo(`"${name}" can be met`, async () => (await fault.ready?.(rig)) ?? true);
  const before = (await fault.met?.(rig, load)) ?? 0;
  load.begin();
  const skipped = await fault.inject(rig, load);
  if (typeof skipped === 'string') {
    if (fault.maySkip !== true) throw new Error(`"${name}" cannot be injected: ${skipped}`);
    process.stderr.write(`bench chaos SKIPPED "${name}": ${skipped}\n`);
    await fault.heal?.(rig);
    return { ...rowOf(name, expected, await load.end(), { recoveryMs: 0, tookMs: tookMs() }), skipped };
  }
  const isMet = async (): Promise<boolean> =>
    fault.met === undefined || (await fault.met(rig, load)) >= before + metBy;
  const recoveryMs = await recovery(fault, isMet, rig, load, holdMs);
  return rowOf(name, expected, await load.end(), { recoveryMs, tookMs: tookMs() });
}

/** From the end of the fault: where somebody heals it from then on, else from the end of its injection. */
async function recovery(
  { name, expected, heal }: Fault,
  isMet: () => Promise<boolean>,
  rig: ChaosRig,
  load: ConstantLoad,
  holdMs: number,
): Promise<number> {
  const injectedAtMs = performance.now();
  const isHeld = (): boolean =>
    performance.now() >= injectedAtMs + holdMs && load.requestCount >= REQUESTS_MIN;
  await untilSo(`"${name}" was met`, isMet);
  if (expected.lost !== 'none') {
    // Whoever answered that it was met, or that it serves, is the one that came after.
    await untilSo(`the load is connected again after "${name}"`, () => load.isConnected);
    load.back();
  }
  if (heal === undefined)
    return load.untilWell(RECOVERY_MS_MAX, { sinceMs: injectedAtMs, hasSeenEnough: isHeld });
  await untilSo(`"${name}" met ${REQUESTS_MIN} requests`, isHeld);
  await heal(rig);
  return load.untilWell(RECOVERY_MS_MAX);
}

/** As the report has it; each fault has each key but the last two. */
export function rowOf(
  name: string,
  { lost, refusedMax, recoveryMsMax }: Expected,
  tally: Tally,
  { recoveryMs, tookMs }: { readonly recoveryMs: number; readonly tookMs: number },
): FaultRow {
  return {
    name,
    expected_lost: lost,
    expected_refused_texts_max: refusedMax.text,
    expected_refused_vectors_max: refusedMax.vector,
    expected_recovery_ms_max: recoveryMsMax,
    requests: tally.requestCount,
    texts: tally.requests.text,
    vectors: tally.requests.vector,
    answered: tally.answered,
    refused: tally.refused.text + tally.refused.vector,
    refused_texts: tally.refused.text,
    refused_vectors: tally.refused.vector,
    probes: tally.probes,
    refused_probes: tally.probesRefused,
    lost_requests: tally.lost,
    sent_before: tally.sentBefore,
    lost_sent_before: tally.lostBefore,
    lost_since_back: tally.lostSinceBack,
    wrong_answers: tally.wrong,
    mispaired_responses: tally.mispaired,
    recovery_ms: Math.round(recoveryMs),
    took_ms: Math.round(tookMs),
    ...(tally.reasons.size === 0
      ? {}
      : { refused_by: [...tally.reasons].map((one) => one.join(' ')).join(', ') }),
    ...(tally.examples.size === 0 ? {} : { examples: [...tally.examples].join('; ') }),
  };
}

async function untilSo(what: string, isSo: () => Promise<boolean> | boolean): Promise<void> {
  const endMs = performance.now() + MET_MS_MAX;
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error(`not within ${MET_MS_MAX} ms: ${what}`);
    await sleep(LOOK_MS);
  }
}
