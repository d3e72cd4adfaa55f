import { setTimeout as sleep } from 'node:timers/promises';
import { applyFault, type FaultRow, RECOVERY_MS_MAX, rowOf } from './chaos/apply-fault.js';
import { ChaosClient } from './chaos/client.js';
import { BETWEEN, UNDISTURBED } from './chaos/fault.js';
import { faultsOf } from './chaos/faults.js';
import { shortfalls } from './chaos/judge.js';
import { ConstantLoad } from './chaos/load.js';
import { openChaosRig } from './chaos/rig.js';
import { type Bench, inputHash } from './report.js';

const SIZES = {
  smoke: { glossStep: 800, readsShort: true, perSecond: 60, holdMs: 150, deadlineMs: 10_000 },
  full: { glossStep: 200, readsShort: false, perSecond: 40, holdMs: 3_000, deadlineMs: 5_000 },
} as const;

/**
 * A gateway with real PostgreSQL, Redis, encoders and a shadow process, under constant load, and a table of faults. Every
 * answer is judged by what was computed beforehand without any gateway. A request is lost when it has neither an answer
 * nor a typed error that says to try again, within its deadline.
 */
export const chaos: Bench = {
  name: 'chaos',
  about:
    'a table of faults under load: lost, wrong and mispaired answers, and time to recover; --only for faults by name',
  run: async ({ size, seed, only }) => {
    const plan = SIZES[size];
    const faults = faultsOf(size, only);
    const rig = await openChaosRig(plan);
    const client = new ChaosClient(rig.address.grpc);
    const { checker, queries, vectors, served } = rig.corpus;
    const { perSecond, deadlineMs, holdMs } = plan;
    const load = new ConstantLoad({
      client,
      checker,
      queries,
      vectors,
      builds: served,
      perSecond,
      deadlineMs,
      seed,
    });
    const begunAtMs = performance.now();
    const results: FaultRow[] = [];
    try {
      await load.untilWell(RECOVERY_MS_MAX);
      load.start();
      await sleep(holdMs);
      for (const fault of faults) {
        const startedAtMs = performance.now();
        results.push(await applyFault(fault, rig, load, holdMs));
        if (process.stderr.isTTY || process.env.CHAOS_LOG !== undefined)
          process.stderr.write(
            `${results.length} of ${faults.length} faults: ${fault.name}, ${((performance.now() - startedAtMs) / 1_000).toFixed(1)} s\n`,
          );
      }
      await load.stop();
      const tookMs = performance.now() - begunAtMs;
      results.push(rowOf(BETWEEN, UNDISTURBED, load.between, { recoveryMs: 0, tookMs }));
    } finally {
      client.close();
      await rig.close();
    }
    const wrong = results.reduce(
      (sum, { wrong_answers, mispaired_responses }) =>
        sum + Number(wrong_answers) + Number(mispaired_responses),
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
