import { mkdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { modelRef } from '../src/vocabulary.js';
import { builtBundle, CORPUS, documentId } from './data/built-bundle.js';
import { type SearchCorpus, searchCorpus, TOP_K } from './data/search-corpus.js';
import { LoadGenerator, withoutFailures } from './load/load-generator.js';
import { treeCpuUs } from './load/process-cpu.js';
import { type InstalledPeers, installedPeers } from './peers/install.js';
import { PeerProcess } from './peers/peer-process.js';
import type { PeerName, PeerTuned } from './peers/peer-protocol.js';
import { type Bench, inputHash, median } from './report.js';
import { type GatewayRig, PATIENT, smallCaches, startGatewayRig } from './rig/gateway.js';
import { SEARCH_METHOD, searchBody } from './rig/search-bodies.js';

const SERVERS = ['pgvector', 'chroma'] as const satisfies readonly PeerName[];
const LIBRARIES = ['lancedb', 'hnswlib'] as const satisfies readonly PeerName[];

interface Plan {
  readonly rowCount: number;
  readonly queryCount: number;
  readonly glossStep: number;
  readonly rounds: number;
  readonly seconds: number;
  /** Unmeasured seconds of load before the first round of a side. */
  readonly warmUpSeconds: number;
  readonly inFlight: number;
}

const SIZES = {
  smoke: {
    rowCount: 800,
    queryCount: 64,
    glossStep: 200,
    rounds: 2,
    seconds: 0.2,
    warmUpSeconds: 0.2,
    inFlight: 4,
  },
  full: {
    rowCount: 50_000,
    queryCount: 1_024,
    glossStep: 1,
    rounds: 5,
    seconds: 2,
    warmUpSeconds: 5,
    inFlight: 16,
  },
} as const satisfies Record<string, Plan>;

interface Measured {
  readonly cpuUs: number;
  readonly perSecond: number;
  readonly recall: number;
  readonly p99Us: number;
}

/** The gateway beside other engines over the same rows and queries, at no less than the gateway's recall. */
export const peers: Bench = {
  name: 'peers',
  about: 'the gateway beside pgvector, Chroma, LanceDB and hnswlib at equal recall; --rows for another size',
  run: async ({ size, seed, rows }) => {
    const plan = { ...SIZES[size], ...(rows === undefined ? {} : { rowCount: rows }), seed };
    const installed = await installedPeers(size === 'full');
    const names = [...SERVERS, ...LIBRARIES].filter((name) => !installed.absent.has(name));
    const absent = [...installed.absent].map(([peer, why]) => ({ peer, skipped: why }));
    for (const { peer, skipped } of absent)
      process.stderr.write(`bench peers: ${peer} SKIPPED: ${skipped}\n`);
    const hasServer = SERVERS.some((name) => names.includes(name));
    if (!hasServer) {
      process.stderr.write('bench peers SKIPPED, nothing was measured: no server peer is installed\n');
      return { input: inputHash(JSON.stringify(plan)), results: absent };
    }
    const corpus = await searchCorpus(plan);
    const ours = await openGateway(corpus);
    try {
      const { recall: recallMin } = await gatewaySide(ours, plan, plan.warmUpSeconds, 0);
      const compared: Compared[] = [];
      for (const name of names)
        compared.push(await compare(name, installed, { plan, corpus, ours, recallMin }));
      const servers = compared.filter(({ kind, in_ratio }) => kind === 'server' && in_ratio === 'yes');
      if (servers.length === 0)
        process.stderr.write('bench peers: no ratio: no server reached the recall of the gateway\n');
      return {
        input: inputHash(ours.digest, ...corpus.queries),
        ...(servers.length === 0 ? {} : { ratio: leastRatio(servers) }),
        results: [...compared, ...absent],
      };
    } finally {
      await ours.close();
    }
  },
};

const leastRatio = (servers: readonly Compared[]): number =>
  Math.min(...servers.flatMap(({ cpu_ratio, throughput_ratio }) => [cpu_ratio, throughput_ratio]));

type Compared = Readonly<Record<string, number | string>> & {
  readonly kind: 'server' | 'library';
  /** Servers that reached the gateway's recall; what searches less well is no comparison. */
  readonly in_ratio: 'yes' | 'no: a library' | 'no: recall not reached';
  /** CPU per query of the peer ÷ of the gateway. */
  readonly cpu_ratio: number;
  /** Queries per second of the gateway ÷ of the peer. */
  readonly throughput_ratio: number;
};

interface Setting {
  readonly plan: Plan & { readonly seed: number };
  readonly corpus: SearchCorpus;
  readonly ours: Ours;
  readonly recallMin: number;
}

async function compare(
  name: PeerName,
  { folder, packages, python }: InstalledPeers,
  { plan, corpus, ours, recallMin }: Setting,
): Promise<Compared> {
  const data = path.join(folder, 'data', `${name}-${corpus.key}`);
  await mkdir(data, { recursive: true });
  // A synchronous library can do one search at a time on its thread.
  const inFlight = name === 'hnswlib' ? 1 : plan.inFlight;
  process.stderr.write(`bench peers: ${name}\n`);
  const peer = await PeerProcess.open(name, { packages, python, data }, { plan, inFlight });
  try {
    const tuned = await peer.tune(recallMin);
    if (!tuned.isReached)
      process.stderr.write(
        `bench peers: ${name} reaches recall ${rounded(tuned.recall, 4)} at most, ${rounded(recallMin, 4)} is wanted: left out of the ratio\n`,
      );
    const theirs: Measured[] = [];
    const gateway: Measured[] = [];
    const peerSide = async (round: number): Promise<void> => {
      const result = await peer.run({ seconds: plan.seconds, from: round * 331 });
      theirs.push({ ...result, p99Us: result.latencyUs.p99 });
    };
    await peer.run({ seconds: plan.warmUpSeconds, from: 0 });
    for (let round = 0; round < plan.rounds; round++) {
      if (round % 2 === 0) await peerSide(round);
      gateway.push(await gatewaySide(ours, plan, plan.seconds, round));
      if (round % 2 === 1) await peerSide(round);
    }
    return comparison(name, peer, tuned, {
      theirs,
      gateway,
      inFlight,
      gatewayInFlight: plan.inFlight,
    });
  } finally {
    await peer.close();
  }
}

function comparison(
  name: PeerName,
  { opened }: PeerProcess,
  tuned: PeerTuned,
  sides: {
    readonly theirs: readonly Measured[];
    readonly gateway: readonly Measured[];
    readonly inFlight: number;
    readonly gatewayInFlight: number;
  },
): Compared {
  const { theirs, gateway, inFlight, gatewayInFlight } = sides;
  const pairs = (of: (their: Measured, our: Measured) => number): number =>
    rounded(median(theirs.map((their, round) => of(their, gateway[round] as Measured))), 2);
  const middle = (measured: readonly Measured[], of: (one: Measured) => number, digits: number): number =>
    rounded(median(measured.map(of)), digits);
  return {
    peer: name,
    kind: opened.kind,
    in_ratio: !tuned.isReached
      ? 'no: recall not reached'
      : opened.kind === 'server'
        ? 'yes'
        : 'no: a library',
    product: opened.product,
    index: opened.index,
    effort: tuned.effort,
    in_flight: inFlight,
    gateway_in_flight: gatewayInFlight,
    recall_at_10: middle(theirs, (one) => one.recall, 4),
    cpu_us_per_query: middle(theirs, (one) => one.cpuUs, 0),
    queries_per_s: middle(theirs, (one) => one.perSecond, 0),
    p99_us: middle(theirs, (one) => one.p99Us, 0),
    gateway_recall_at_10: middle(gateway, (one) => one.recall, 4),
    gateway_cpu_us: middle(gateway, (one) => one.cpuUs, 0),
    gateway_queries_per_s: middle(gateway, (one) => one.perSecond, 0),
    cpu_ratio: pairs((their, our) => their.cpuUs / our.cpuUs),
    throughput_ratio: pairs((their, our) => our.perSecond / their.perSecond),
  };
}

interface Ours {
  readonly gateway: GatewayRig;
  readonly load: LoadGenerator;
  readonly digest: string;
  close(): Promise<void>;
}

async function openGateway(corpus: SearchCorpus): Promise<Ours> {
  const { bundle } = await builtBundle(corpus, 'v1');
  const gateway = await startGatewayRig({
    model: corpus.model,
    targets: [{ bundle, role: 'active', mirrorBps: 0 }],
    searchWorkers: availableParallelism(),
    settings: { ...PATIENT, ...smallCaches(corpus.queries.length) },
  });
  try {
    const model = modelRef(corpus.model.manifest);
    const load = await LoadGenerator.start(
      { ...gateway.grpc, method: SEARCH_METHOD, connections: 2 },
      {
        bodies: corpus.queries.map((vector) =>
          searchBody({ corpus: CORPUS, query: { vector, model }, topK: TOP_K }),
        ),
        expected: corpus.truth.map((found) => Array.from(found, documentId)),
      },
    );
    const close = async (): Promise<void> => {
      await load.close();
      await gateway.close();
    };
    return { gateway, load, digest: bundle.digest, close };
  } catch (error) {
    await gateway.close();
    throw error;
  }
}

async function gatewaySide(
  { gateway, load }: Ours,
  plan: Plan,
  seconds: number,
  round: number,
): Promise<Measured> {
  const before = treeCpuUs(gateway.pid);
  const result = withoutFailures(
    await load.run({ kind: 'closed', inFlight: plan.inFlight, seconds, from: round * 331 }),
  );
  return {
    cpuUs: (treeCpuUs(gateway.pid) - before) / result.answered,
    perSecond: result.perSecond,
    recall: result.recall ?? 0,
    p99Us: result.latencyUs.p99,
  };
}

const rounded = (value: number, digits: number): number => Number(value.toFixed(digits));
