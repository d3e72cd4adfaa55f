import { availableParallelism } from 'node:os';
import { modelRef } from '../src/vocabulary.js';
import { builtBundle, CORPUS, documentId } from './data/built-bundle.js';
import { type SearchCorpus, searchCorpus, TOP_K } from './data/search-corpus.js';
import { LoadGenerator, withoutFailures } from './load/load-generator.js';
import { treeCpuUs } from './load/process-cpu.js';
import { RawSearch } from './raw/raw-search.js';
import { type Bench, inputHash, median } from './report.js';
import { type GatewayRig, PATIENT, startGatewayRig } from './rig/gateway.js';
import { searchBody } from './rig/search-bodies.js';

export const SEARCH_METHOD = '/switchyard.v1.SearchService/Search';
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
  nodeArguments: readonly string[] = [],
): Promise<ServingSides> {
  const corpus = await searchCorpus({ ...plan, seed });
  const { bundle } = await builtBundle(corpus, 'v1');
  const workers = availableParallelism();
  const opened: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const end of opened.splice(0).reverse()) await end();
  };
  try {
    const gateway = await startGatewayRig({
      model: corpus.model,
      targets: [{ bundle, role: 'active', mirrorBps: 0 }],
      searchWorkers: workers,
      // Queries repeat: with the result cache on, it and not the search would be measured.
      settings: { ...PATIENT, SWITCHYARD_CACHE__RESULTS__ENABLED: 'false' },
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

/** CPU per query of the gateway beside usearch alone, closed loop. `ratio`: raw ÷ gateway. */
export const serving: Bench = {
  name: 'serving',
  about: 'CPU per query over gRPC beside usearch alone, at saturation; --rows for another size',
  run: async ({ size, seed, rows }) => {
    const plan = { ...SERVING_SIZES[size], ...(rows === undefined ? {} : { rowCount: rows }) };
    const sides = await openServingSides(plan, seed);
    try {
      await gatewaySide(sides, { ...plan, seconds: plan.warmUpSeconds }, 0);
      await rawSide(sides, plan, 0);
      const gateway: Measured[] = [];
      const raw: Measured[] = [];
      for (let round = 0; round < plan.rounds; round++) {
        // The sides take turns in the opposite order, so that a busier minute of the machine meets both.
        if (round % 2 === 0) raw.push(await rawSide(sides, plan, round));
        gateway.push(await gatewaySide(sides, plan, round));
        if (round % 2 === 1) raw.push(await rawSide(sides, plan, round));
      }
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

async function gatewaySide({ gateway, load }: ServingSides, plan: Plan, round: number): Promise<Measured> {
  const before = treeCpuUs(gateway.pid);
  const result = withoutFailures(
    await load.run({ kind: 'closed', inFlight: plan.inFlight, seconds: plan.seconds, from: round * 331 }),
  );
  return {
    cpuUs: (treeCpuUs(gateway.pid) - before) / result.answered,
    perSecond: result.perSecond,
    recall: result.recall ?? 0,
    p99Us: result.latencyUs.p99,
  };
}

async function rawSide({ raw }: ServingSides, { seconds }: Plan, round: number): Promise<Measured> {
  const before = treeCpuUs(raw.pid);
  const result = await raw.run({ kind: 'closed', seconds, from: round * 331 });
  return {
    cpuUs: (treeCpuUs(raw.pid) - before) / result.queries,
    perSecond: result.perSecond,
    recall: result.recall,
    p99Us: result.latencyUs.p99,
  };
}

const rounded = (value: number, digits: number): number => Number(value.toFixed(digits));
