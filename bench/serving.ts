import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { modelRef } from '../src/vocabulary.js';
import { builtBundle, CORPUS, documentId } from './data/built-bundle.js';
import { type SearchCorpus, searchCorpus, TOP_K } from './data/search-corpus.js';
import { LoadGenerator, withoutFailures } from './load/load-generator.js';
import { threadCpuUs, treeCpuUs } from './load/process-cpu.js';
import { RawSearch } from './raw/raw-search.js';
import { type Bench, inputHash, median } from './report.js';
import { mainThreadShares } from './rig/cpu-profile.js';
import { assertWorked, type GatewayRig, PATIENT, smallCaches, startGatewayRig } from './rig/gateway.js';
import { SEARCH_METHOD, searchBody } from './rig/search-bodies.js';

export const RECALL_MIN = 0.98;

interface Plan {
  readonly rowCount: number;
  readonly queryCount: number;
  readonly glossStep: number;
  readonly rounds: number;
  readonly seconds: number;
  /** Unmeasured seconds of load before the first round: code is compiled while it runs. */
  readonly warmUpSeconds: number;
  readonly inFlight: number;
  readonly connections: number;
}

export const SERVING_SIZES = {
  smoke: {
    rowCount: 800,
    queryCount: 64,
    glossStep: 200,
    rounds: 2,
    seconds: 0.3,
    warmUpSeconds: 0.3,
    inFlight: 16,
    connections: 2,
  },
  full: {
    rowCount: 200_000,
    queryCount: 2_048,
    glossStep: 1,
    rounds: 10,
    seconds: 2,
    warmUpSeconds: 10,
    inFlight: 96,
    connections: 4,
  },
} as const satisfies Record<string, Plan>;

/** Both sides over one file: a gateway under load, and usearch alone with as many threads. */
export interface ServingSides {
  readonly corpus: SearchCorpus;
  readonly gateway: GatewayRig;
  readonly load: LoadGenerator;
  readonly raw: RawSearch;
  readonly workers: number;
  /** Hash of queries and index. */
  readonly input: string;
  close(): Promise<void>;
}

export async function openServingSides(
  plan: Pick<Plan, 'rowCount' | 'queryCount' | 'glossStep' | 'connections'>,
  seed: number,
  {
    nodeArguments = [],
    settings = {},
    workers = availableParallelism(),
  }: {
    /** Search threads of each side. Default: as many as there are cores. */
    readonly workers?: number | undefined;
    readonly nodeArguments?: readonly string[];
    readonly settings?: Readonly<Record<string, string>>;
  } = {},
): Promise<ServingSides> {
  const corpus = await searchCorpus({ ...plan, seed });
  const { bundle } = await builtBundle(corpus, 'v1');
  const opened: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const end of opened.splice(0).reverse()) await end();
  };
  try {
    const gateway = await startGatewayRig({
      model: corpus.model,
      targets: [{ bundle, role: 'active', mirrorBps: 0 }],
      searchWorkers: workers,
      settings: { ...PATIENT, ...smallCaches(corpus.queries.length), ...settings },
      nodeArguments,
    });
    opened.push(() => gateway.close());
    const raw = await RawSearch.start(bundle, corpus, workers);
    opened.push(() => raw.close());
    const model = modelRef(corpus.model.manifest);
    const load = await LoadGenerator.start(
      { ...gateway.grpc, method: SEARCH_METHOD, connections: plan.connections },
      {
        bodies: corpus.queries.map((vector) =>
          searchBody({ corpus: CORPUS, query: { vector, model }, topK: TOP_K }),
        ),
        expected: corpus.truth.map((rows) => Array.from(rows, documentId)),
      },
    );
    opened.push(() => load.close());
    return {
      corpus,
      gateway,
      load,
      raw,
      workers,
      input: inputHash(bundle.digest, ...corpus.queries),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

interface Measured {
  readonly cpuUs: number;
  readonly perSecond: number;
  readonly recall: number;
  readonly p99Us: number;
}

interface GatewayMeasured extends Measured {
  /** CPU µs per query of the main thread, of the search threads, and of what is left: V8's helpers, other processes. */
  readonly parts: { readonly main: number; readonly search: number; readonly rest: number };
}

/** CPU per query of the gateway beside usearch alone, closed loop. `ratio`: raw ÷ gateway. */
export const serving: Bench = {
  name: 'serving',
  about:
    'CPU per query over gRPC beside usearch alone, at saturation; --rows for another size, --profile for where it goes',
  run: async ({ size, seed, rows, profile }) => {
    const plan = { ...SERVING_SIZES[size], ...(rows === undefined ? {} : { rowCount: rows }) };
    if (profile === true) return profiled(plan, seed);
    const sides = await openServingSides(plan, seed);
    try {
      await gatewaySide(sides, { ...plan, seconds: plan.warmUpSeconds }, 0);
      await rawSide(sides, plan, 0);
      const gateway: GatewayMeasured[] = [];
      const raw: Measured[] = [];
      for (let round = 0; round < plan.rounds; round++) {
        // The sides take turns in the opposite order, so that a busier minute of the machine meets both.
        if (round % 2 === 0) raw.push(await rawSide(sides, plan, round));
        gateway.push(await gatewaySide(sides, plan, round));
        if (round % 2 === 1) raw.push(await rawSide(sides, plan, round));
      }
      await assertWorked(sides.gateway);
      const ratios = gateway.map(({ cpuUs }, round) => (raw[round] as Measured).cpuUs / cpuUs);
      const own = gateway.map(({ cpuUs }, round) => cpuUs - (raw[round] as Measured).cpuUs);
      const recall = median(gateway.map((one) => one.recall));
      if (size === 'full' && recall < RECALL_MIN) throw new Error(`recall ${recall} is below ${RECALL_MIN}`);
      return {
        input: sides.input,
        ratio: median(ratios),
        results: [
          sideRow('usearch alone', raw, sides.workers),
          sideRow('gateway', gateway, plan.inFlight),
          ...partRows(gateway),
          {
            side: 'gateway ÷ usearch',
            rounds: plan.rounds,
            ratio: rounded(median(ratios), 3),
            ratio_least: rounded(Math.min(...ratios), 3),
            ratio_most: rounded(Math.max(...ratios), 3),
            own_cpu_us: rounded(median(own), 1),
            rows: sides.corpus.rowCount,
            glosses: sides.corpus.glossCount,
          },
        ],
      };
    } finally {
      await sides.close();
    }
  },
};

const sideRow = (side: string, measured: readonly Measured[], inFlight: number) => ({
  side,
  in_flight: inFlight,
  cpu_us_per_query: rounded(median(measured.map((one) => one.cpuUs)), 1),
  queries_per_s: Math.round(median(measured.map((one) => one.perSecond))),
  recall_at_10: rounded(median(measured.map((one) => one.recall)), 4),
  p99_us: Math.round(median(measured.map((one) => one.p99Us))),
});

/** The threads of one gateway: its main thread, as many search threads as it was given, and the rest. */
function partRows(measured: readonly GatewayMeasured[]) {
  const parts = [
    ['main thread', 'main'],
    ['search threads', 'search'],
    ['V8 helpers and the rest', 'rest'],
  ] as const;
  return parts.map(([name, part]) => ({
    side: `gateway: ${name}`,
    cpu_us_per_query: rounded(median(measured.map((one) => one.parts[part])), 1),
  }));
}

/** One gateway under load with V8's profiler on, which costs a tenth: shares of its main thread's time, no `ratio`. */
async function profiled(plan: Plan, seed: number): Promise<Awaited<ReturnType<Bench['run']>>> {
  const folder = await mkdtemp(path.join(tmpdir(), 'switchyard-profile-'));
  try {
    const sides = await openServingSides(plan, seed, {
      nodeArguments: ['--cpu-prof', `--cpu-prof-dir=${folder}`],
    });
    const seconds = plan.seconds * plan.rounds;
    let mainUs: number;
    try {
      await gatewaySide(sides, { ...plan, seconds: plan.warmUpSeconds }, 0);
      mainUs = (await gatewaySide(sides, { ...plan, seconds }, 0)).parts.main;
    } finally {
      await sides.close();
    }
    const shares = await mainThreadShares(folder, seconds);
    return {
      input: sides.input,
      results: [
        ...shares.map(({ part, share }) => ({
          main_thread: part,
          percent: rounded(share * 100, 1),
          us_per_query: rounded(share * mainUs, 1),
        })),
        { main_thread: 'all of it', in_flight: plan.inFlight, us_per_query: rounded(mainUs, 1) },
      ],
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function gatewaySide(
  { gateway, load, workers }: ServingSides,
  plan: Plan,
  round: number,
): Promise<GatewayMeasured> {
  const before = treeCpuUs(gateway.pid);
  const threadsBefore = threadCpuUs(gateway.pid);
  const result = withoutFailures(
    await load.run({ kind: 'closed', inFlight: plan.inFlight, seconds: plan.seconds, from: round * 331 }),
  );
  const cpuUs = (treeCpuUs(gateway.pid) - before) / result.answered;
  const spent = [...threadCpuUs(gateway.pid)].map(([thread, us]) => ({
    isMain: thread === gateway.pid,
    us: (us - (threadsBefore.get(thread) ?? 0)) / result.answered,
  }));
  const main = spent.find(({ isMain }) => isMain)?.us ?? 0;
  const others = spent.filter(({ isMain }) => !isMain).map(({ us }) => us);
  const search = others
    .sort((a, b) => b - a)
    .slice(0, workers)
    .reduce((sum, us) => sum + us, 0);
  return {
    cpuUs,
    perSecond: result.perSecond,
    recall: result.recall ?? 0,
    p99Us: result.latencyUs.p99,
    parts: { main, search, rest: cpuUs - main - search },
  };
}

async function rawSide({ raw }: ServingSides, { seconds }: Plan, round: number): Promise<Measured> {
  const { cpuUs, perSecond, recall, latencyUs } = await raw.run({
    kind: 'closed',
    seconds,
    from: round * 331,
  });
  return { cpuUs, perSecond, recall, p99Us: latencyUs.p99 };
}

const rounded = (value: number, digits: number): number => Number(value.toFixed(digits));
