import { modelRef } from '../src/vocabulary.js';
import { builtBundle, CORPUS } from './data/built-bundle.js';
import { searchCorpus, TOP_K } from './data/search-corpus.js';
import { LoadGenerator, withoutFailures } from './load/load-generator.js';
import type { LoadResult } from './load/load-protocol.js';
import { treeCpuUs, treeMemoryBytes } from './load/process-cpu.js';
import { type Bench, inputHash, median } from './report.js';
import { startGatewayRig } from './rig/gateway.js';
import { SEARCH_METHOD, searchBody } from './rig/search-bodies.js';

const SIZES = {
  smoke: { rowCount: 800, queryCount: 64, glossStep: 200, rounds: 1, seconds: 1, capacitySeconds: 0.6 },
  full: { rowCount: 100_000, queryCount: 8_192, glossStep: 1, rounds: 3, seconds: 60, capacitySeconds: 5 },
} as const;
const OVERLOAD = 3;
const DEADLINE_MS = 1_000;
/** Enough that the gateway is never short of work, few enough that nothing is refused. */
const IN_FLIGHT = { text: 16, vector: 96 } as const;
/** The gateway never refuses so few. */
const IN_FLIGHT_LEAST = 8;
const CONNECTIONS = 8;
const RECOVERY = { load: 0.5, stepSeconds: 0.25, stepsMax: 40 } as const;
const MIBIBYTE = 2 ** 20;
/** What must hold at full size: goodput ÷ capacity, each per CPU second; p99 of what was accepted, in deadlines; and after. */
const FLOOR = { text: 0.85, vector: 0.6 } as const;
const RECOVERY_MS_MAX = 2_000;
const MEMORY_GROWTH_MIB_MAX = 256;
/** Of answers a second, whatever the generator takes of the same cores: who refuses nearly everybody is cheap per CPU second. */
const WALL_FLOOR = 0.5;
/** Of what was really sent: a generator that falls behind overloads nobody. */
const OFFERED_FLOOR = 2.5;

interface Measured {
  readonly result: LoadResult;
  /** Of the gateway with all its processes. */
  readonly cpuUs: number;
  /** When the last request was sent, by `performance.now()`. */
  readonly lastSentAtMs: number;
}

interface Round {
  readonly capacityPerS: number;
  /** Sent per second ÷ capacity. */
  readonly offered: number;
  readonly goodputPerS: number;
  readonly goodputRatio: number;
  readonly cpuRatio: number;
  /** CPU seconds of the gateway per second: one that idles answers little at a fair price. */
  readonly cpuShareCapacity: number;
  readonly cpuShareOverload: number;
  readonly refusalCost: number;
  /** Of what was accepted, in time or not. */
  readonly p99Us: number;
  readonly maxUs: number;
  readonly memoryBytes: number;
  readonly recoveryMs: number;
  readonly refused: number;
  readonly late: number;
}

/**
 * Three times as many requests as the gateway can answer, whatever it does (open loop, a deadline on each). Goodput is what
 * was answered within it. `ratio` of the report: the lesser goodput ÷ capacity, each per CPU second of the gateway, so that
 * what the generator takes of the same cores counts for neither.
 */
export const overload: Bench = {
  name: 'overload',
  about: 'goodput, latency, memory and recovery at three times capacity; --seconds for another time than 60',
  run: async ({ size, seed, rows, seconds }) => {
    const plan = {
      ...SIZES[size],
      ...(rows === undefined ? {} : { rowCount: rows }),
      ...(seconds === undefined ? {} : { seconds }),
    };
    const corpus = await searchCorpus({ ...plan, seed });
    const { bundle } = await builtBundle(corpus, 'v1');
    const model = modelRef(corpus.model.manifest);
    const results: Row[] = [];
    for (const kind of ['text', 'vector'] as const) {
      const gateway = await startGatewayRig({
        model: corpus.model,
        targets: [{ bundle, role: 'active', mirrorBps: 0 }],
        searchWorkers: 2,
        settings: {
          SWITCHYARD_CACHE__EMBEDDINGS__ENABLED: 'false',
          SWITCHYARD_CACHE__RESULTS__ENABLED: 'false',
          SWITCHYARD_OVERLOAD__QUEUE_MS_TARGET: '100',
        },
      });
      try {
        const load = await LoadGenerator.start(
          { ...gateway.grpc, method: SEARCH_METHOD, connections: CONNECTIONS, deadlineMs: DEADLINE_MS },
          {
            bodies: corpus.queries.map((vector, at) =>
              searchBody({
                corpus: CORPUS,
                query: kind === 'text' ? { text: corpus.queryTexts[at] as string } : { vector, model },
                topK: TOP_K,
              }),
            ),
            expected: null,
          },
        );
        try {
          const rounds: Round[] = [];
          for (let round = 0; round < plan.rounds; round++)
            rounds.push(await measure(kind, round, { load, pid: gateway.pid, plan, seed }));
          results.push(row(kind, plan.seconds, rounds));
        } finally {
          await load.close();
        }
      } finally {
        await gateway.close();
      }
    }
    return {
      input: inputHash(bundle.digest, corpus.queryTexts.join('\n')),
      ratio: Math.min(...results.map(({ goodput_per_cpu }) => goodput_per_cpu)),
      results: results.map((row) => ({ ...row })),
      holds:
        size === 'smoke' ||
        results.every(
          (row) =>
            row.goodput_per_cpu >= FLOOR[row.kind] &&
            row['goodput ÷ capacity'] >= WALL_FLOOR &&
            row.offered >= OFFERED_FLOOR &&
            row.accepted_p99_ms_most <= DEADLINE_MS &&
            row.recovery_ms_most <= RECOVERY_MS_MAX &&
            row.memory_growth_mib <= MEMORY_GROWTH_MIB_MAX,
        ),
    };
  },
};

type Row = ReturnType<typeof row>;

interface Rig {
  readonly load: LoadGenerator;
  readonly pid: number;
  readonly plan: { readonly seconds: number; readonly capacitySeconds: number };
  readonly seed: number;
}

async function measure(
  kind: 'text' | 'vector',
  round: number,
  { load, pid, plan, seed }: Rig,
): Promise<Round> {
  const from = round * 1_009;
  const timed = async (run: Parameters<LoadGenerator['run']>[0]): Promise<Measured> => {
    const before = treeCpuUs(pid);
    const result = await load.run(run);
    const lastSentAtMs = performance.now() - result.tailMs;
    return { result, cpuUs: treeCpuUs(pid) - before, lastSentAtMs };
  };
  const capacityRun = async (inFlight: number): Promise<Measured> => {
    const run = await timed({ kind: 'closed', inFlight, seconds: plan.capacitySeconds, from });
    // On a machine that is slow for other reasons, so many are already too many.
    if (Object.keys(run.result.failed).length > 0 && inFlight > IN_FLIGHT_LEAST)
      return capacityRun(Math.max(IN_FLIGHT_LEAST, inFlight / 2));
    withoutFailures(run.result);
    return run;
  };
  await capacityRun(IN_FLIGHT[kind]);
  const before = await capacityRun(IN_FLIGHT[kind]);
  const memoryBefore = treeMemoryBytes(pid);
  const perSecond = OVERLOAD * before.result.perSecond;
  let memoryMost = memoryBefore;
  const watch = setInterval(() => {
    memoryMost = Math.max(memoryMost, treeMemoryBytes(pid));
  }, 1_000);
  const over = await timed({ kind: 'open', perSecond, seed: seed + round, seconds: plan.seconds, from });
  memoryMost = Math.max(memoryMost, treeMemoryBytes(pid));
  clearInterval(watch);
  for (let step = 0; step < RECOVERY.stepsMax; step++) {
    const { result } = await timed({
      kind: 'open',
      perSecond: RECOVERY.load * before.result.perSecond,
      seed: seed + step,
      seconds: RECOVERY.stepSeconds,
      from,
    });
    if (Object.keys(result.failed).length === 0) break;
  }
  // What is answered after the last request belongs to the recovery.
  const recoveryMs = performance.now() - over.lastSentAtMs;
  const after = await capacityRun(IN_FLIGHT[kind]);
  const capacityPerS = (before.result.perSecond + after.result.perSecond) / 2;
  const perAnswerUs = (before.cpuUs + after.cpuUs) / (before.result.answered + after.result.answered);
  const { answered, failed, acceptedLatencyUs, wallMs, tailMs } = over.result;
  const failures = Object.values(failed).reduce((sum, count) => sum + count, 0);
  const refused = (failed['14'] ?? 0) + (failed['8'] ?? 0);
  const late = failures - refused;
  const goodputPerS = (answered * 1000) / wallMs;
  return {
    capacityPerS,
    offered: ((answered + failures) * 1000) / (wallMs - tailMs) / capacityPerS,
    goodputPerS,
    goodputRatio: goodputPerS / capacityPerS,
    cpuRatio: (answered * perAnswerUs) / over.cpuUs,
    cpuShareCapacity: cpuShare(before, after),
    cpuShareOverload: cpuShare(over),
    refusalCost: refused === 0 ? 0 : (over.cpuUs - answered * perAnswerUs) / refused / perAnswerUs,
    p99Us: acceptedLatencyUs.p99,
    maxUs: acceptedLatencyUs.max,
    memoryBytes: memoryMost - memoryBefore,
    recoveryMs,
    refused,
    late,
  };
}

/** CPU seconds of the gateway per second of the clock. */
function cpuShare(...runs: readonly Measured[]): number {
  const sum = (pick: (run: Measured) => number): number => runs.reduce((all, run) => all + pick(run), 0);
  return sum(({ cpuUs }) => cpuUs) / 1000 / sum(({ result }) => result.wallMs);
}

function row(kind: 'text' | 'vector', seconds: number, rounds: readonly Round[]) {
  const of = (pick: (round: Round) => number): number => median(rounds.map(pick));
  const most = (pick: (round: Round) => number): number => Math.max(...rounds.map(pick));
  return {
    kind,
    seconds,
    rounds: rounds.length,
    capacity_per_s: Math.round(of(({ capacityPerS }) => capacityPerS)),
    offered: Number(of(({ offered }) => offered).toFixed(2)),
    goodput_per_s: Math.round(of(({ goodputPerS }) => goodputPerS)),
    'goodput ÷ capacity': Number(of(({ goodputRatio }) => goodputRatio).toFixed(3)),
    goodput_per_cpu: Number(of(({ cpuRatio }) => cpuRatio).toFixed(3)),
    cpu_share_capacity: Number(of(({ cpuShareCapacity }) => cpuShareCapacity).toFixed(2)),
    cpu_share_overload: Number(of(({ cpuShareOverload }) => cpuShareOverload).toFixed(2)),
    refusal_cost: Number(of(({ refusalCost }) => refusalCost).toFixed(3)),
    refused: Math.round(of(({ refused }) => refused)),
    late: Math.round(of(({ late }) => late)),
    deadline_ms: DEADLINE_MS,
    accepted_p99_ms: Number((of(({ p99Us }) => p99Us) / 1000).toFixed(1)),
    accepted_p99_ms_most: Number((most(({ p99Us }) => p99Us) / 1000).toFixed(1)),
    accepted_max_ms: Number((most(({ maxUs }) => maxUs) / 1000).toFixed(1)),
    memory_growth_mib: Math.round(most(({ memoryBytes }) => memoryBytes) / MIBIBYTE),
    recovery_ms: Math.round(of(({ recoveryMs }) => recoveryMs)),
    recovery_ms_most: Math.round(most(({ recoveryMs }) => recoveryMs)),
  };
}
