import { setTimeout as sleep } from 'node:timers/promises';
import { ChaosClient } from './chaos/client.js';
import { type Fault, faultsOf } from './chaos/faults.js';
import { shortfalls } from './chaos/judge.js';
import { ConstantLoad } from './chaos/load.js';
import { type ChaosRig, openChaosRig } from './chaos/rig.js';
import { type Bench, inputHash } from './report.js';

const SIZES = {
  smoke: { glossStep: 800, readsShort: true, perSecond: 60, holdMs: 150, deadlineMs: 10_000 },
  full: { glossStep: 200, readsShort: false, perSecond: 40, holdMs: 3_000, deadlineMs: 5_000 },
} as const;
/** What each fault sees at least. */
const REQUESTS_MIN = 30;
const MET_MS_MAX = 60_000;
const LOOK_MS = 25;
/** A service that is not well after so long never will be. */
const RECOVERY_MS_MAX = 120_000;

/**
 * A gateway with real PostgreSQL, Redis, encoders and a shadow process, under constant load, and a table of faults. Every
 * answer is judged by what was computed beforehand without any gateway. A request is lost when it has neither an answer
 * nor a typed error that says to try again, within its deadline.
 */
export const chaos: Bench = {
  name: 'chaos',
  about: 'a table of faults under load: lost, wrong and mispaired answers, and time to recover',
  run: async ({ size, seed }) => {
    const plan = SIZES[size];
    const faults = faultsOf(size);
    const rig = await openChaosRig(plan);
    const client = new ChaosClient(rig.address.grpc);
    const { checker, queries, vectors, modelOfBuild } = rig.corpus;
    const { perSecond, deadlineMs, holdMs } = plan;
    const load = new ConstantLoad({
      client,
      checker,
      queries,
      vectors,
      modelOfBuild,
      perSecond,
      deadlineMs,
      seed,
    });
    const results: Record<string, number | string>[] = [];
    try {
      await load.untilWell(RECOVERY_MS_MAX);
      load.start();
      await sleep(holdMs);
      await load.endPhase();
      for (const fault of faults) {
        const startedAtMs = performance.now();
        results.push(await applied(fault, rig, load, holdMs));
        if (process.stderr.isTTY || process.env.CHAOS_LOG !== undefined)
          process.stderr.write(
            `${results.length} of ${faults.length} faults: ${fault.name}, ${((performance.now() - startedAtMs) / 1_000).toFixed(1)} s\n`,
          );
      }
      await load.stop();
    } finally {
      client.close();
      await rig.close();
    }
    const wrong = results.reduce(
      (sum, { wrong_answers, mispaired_responses }) =>
        sum + Number(wrong_answers ?? 0) + Number(mispaired_responses ?? 0),
      0,
    );
    const short = results.flatMap((row) => shortfalls(row, size).map((what) => `"${row.name}": ${what}`));
    for (const what of short) process.stderr.write(`bench chaos FAILED ${what}\n`);
    const builds = Object.values(rig.corpus.builds).map(({ bundle }) => bundle.digest);
    return {
      versions: { 'redis-server': rig.redis.version },
      input: inputHash(...builds, queries.join('\n')),
      ratio: wrong === 0 ? 1 : 0,
      holds: short.length === 0,
      results,
    };
  },
};

async function applied(
  fault: Fault,
  rig: ChaosRig,
  load: ConstantLoad,
  holdMs: number,
): Promise<Record<string, number | string>> {
  const { name, expected } = fault;
  const begunAtMs = performance.now();
  await untilSo(`"${name}" can be met`, async () => (await fault.ready?.(rig)) ?? true);
  const before = (await fault.met?.(rig, load)) ?? 0;
  load.mark();
  const skipped = await fault.inject(rig, load);
  if (typeof skipped === 'string') {
    if (fault.maySkip !== true) throw new Error(`"${name}" cannot be injected: ${skipped}`);
    process.stderr.write(`bench chaos SKIPPED "${name}": ${skipped}\n`);
    await fault.heal?.(rig);
    await load.endPhase();
    return { name, skipped };
  }
  const recoveryMs = await recovery(fault, rig, load, { holdMs, before });
  while (load.phaseRequests < REQUESTS_MIN) await sleep(LOOK_MS);
  const tally = await load.endPhase();
  return {
    name,
    expected_lost: expected.lost,
    expected_refused_share_max: expected.refusedShareMax,
    expected_recovery_ms_max: expected.recoveryMsMax,
    requests: tally.requests,
    answered: tally.answered,
    refused: tally.refused,
    lost_requests: tally.lost,
    sent_before: tally.sentBefore ?? 0,
    lost_sent_before: tally.lostBefore,
    wrong_answers: tally.wrong,
    mispaired_responses: tally.mispaired,
    recovery_ms: Math.round(recoveryMs),
    took_ms: Math.round(performance.now() - begunAtMs),
    ...(tally.reasons.size === 0
      ? {}
      : { refused_by: [...tally.reasons].map((one) => one.join(' ')).join(', ') }),
    ...(tally.examples.size === 0 ? {} : { examples: [...tally.examples].join('; ') }),
  };
}

/** From the end of the fault: where somebody heals it from then on, else from the end of its injection. */
async function recovery(
  fault: Fault,
  rig: ChaosRig,
  load: ConstantLoad,
  { holdMs, before }: { readonly holdMs: number; readonly before: number },
): Promise<number> {
  if (fault.heal === undefined) {
    const recoveryMs = await load.untilWell(RECOVERY_MS_MAX, holdMs);
    await untilMet(fault, rig, load, before);
    return recoveryMs;
  }
  await sleep(holdMs);
  await untilMet(fault, rig, load, before);
  await fault.heal(rig);
  return load.untilWell(RECOVERY_MS_MAX);
}

const untilMet = async (fault: Fault, rig: ChaosRig, load: ConstantLoad, before: number): Promise<void> =>
  untilSo(
    `"${fault.name}" was met`,
    async () => fault.met === undefined || (await fault.met(rig, load)) > before,
  );

async function untilSo(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + MET_MS_MAX;
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error(`not within ${MET_MS_MAX} ms: ${what}`);
    await sleep(LOOK_MS);
  }
}
