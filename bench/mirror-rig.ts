import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Encoder } from '../src/encoder/encoder.js';
import { buildBundle } from '../src/index/build-bundle.js';
import type { Bundle } from '../src/index/manifest.js';
import { IndexProcesses } from '../src/index/process/index-processes.js';
import { SearchPool } from '../src/index/search-pool.js';
import { SeededRandom } from '../src/index/seeded-random.js';
import { DEFAULT_BACKOFF } from '../src/process/backoff.js';
import type { Route, RouteTarget } from '../src/registry/route.js';
import { ComparisonRecorder, DEFAULT_RECORDER } from '../src/router/comparison-recorder.js';
import { DEFAULT_MIRROR } from '../src/router/mirror-lane.js';
import type { SearchCall } from '../src/router/query.js';
import { Router } from '../src/router/router.js';
import type { Digest, Fingerprint, Revision } from '../src/vocabulary.js';

export const DIMENSIONS = 384;
const CORPUS = 'bench';
const VERSION = 'v1';
const MODEL = { name: 'seeded', version: '1', fingerprint: `mf1_${'5'.repeat(32)}` as Fingerprint };
const MODEL_REF = `${MODEL.name}@${MODEL.version}`;
const TOP_K = 10;
const DEADLINE_MS = 10_000;
const CLUSTER_ROWS = 100;
const CLUSTER_SPREAD = 0.5;

/** How much of the traffic is mirrored, in basis points; null: the route has no shadow at all. */
export type MirrorShare = number | null;

/** What became of mirrors, from the router's own counts. */
export interface MirrorCounts {
  offered: number;
  compared: number;
  dropped: number;
}

export interface MirrorRig {
  readonly bundle: Bundle;
  readonly rows: Float32Array;
  readonly queries: readonly Float32Array[];
  /** Applies the route with this share; the shadow stays loaded whatever the share is. */
  mirror(share: MirrorShare): Promise<void>;
  /** Searches `queries[at % length]`. */
  search(at: number): Promise<unknown>;
  /** The process of the shadow, for a bench that does things to it; null while it is not ready. */
  shadowPid(): number | null;
  /** Resolves when no mirror runs or waits. */
  quiet(): Promise<void>;
  /** Counted since the last call. */
  counts(): MirrorCounts;
  close(): Promise<void>;
}

/**
 * A router over search workers for what serves and an index process for the shadow, all real and with the shipped
 * limits. The shadow is a second build of the same embeddings with another insertion order, so that raw vectors
 * are mirrored and no time goes into encoding.
 */
export async function openMirrorRig(options: {
  readonly rowCount: number;
  readonly queryCount: number;
  readonly seed: number;
  /** What the shadow's process runs; the product's own when left out. */
  readonly program?: URL;
  /** The longest pause before that process is started again; as shipped when left out. */
  readonly restartMsMax?: number;
}): Promise<MirrorRig> {
  const random = new SeededRandom(options.seed);
  const draw = clusteredDraw(random, options.rowCount);
  const rows = new Float32Array(options.rowCount * DIMENSIONS);
  for (let row = 0; row < options.rowCount; row++) rows.set(draw(), row * DIMENSIONS);
  const queries = Array.from({ length: options.queryCount }, draw);

  const folder = await mkdtemp(path.join(tmpdir(), 'switchyard-bench-'));
  const cleanups = [() => rm(folder, { recursive: true, force: true })];
  const close = async (): Promise<void> => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  };
  try {
    const forwards = Array.from({ length: options.rowCount }, (_, row) => row);
    const primary = await build(folder, rows, forwards);
    const shadow = await build(folder, rows, forwards.toReversed());
    const pool = new SearchPool({ workers: 1, queueLengthMax: 4096 });
    cleanups.push(() => pool.close());
    const processes = new IndexProcesses({
      workers: 1,
      queueLengthMax: 4096,
      log: () => undefined,
      backoff: { ...DEFAULT_BACKOFF, delayMsMax: options.restartMsMax ?? DEFAULT_BACKOFF.delayMsMax },
      ...(options.program === undefined ? {} : { program: options.program }),
    });
    cleanups.push(() => processes.close());
    const expected = { fingerprint: MODEL.fingerprint, dimensions: DIMENSIONS, metric: 'cosine' };
    let counts: MirrorCounts = { offered: 0, compared: 0, dropped: 0 };
    const router = new Router({
      factories: {
        openEncoder: async () => rowEncoder(rows),
        openTarget: ({ build: digest, isolation }) =>
          (isolation === 'isolated' ? processes : pool).open(digest === primary.digest ? primary : shadow, {
            expected,
          }),
      },
      limits: { textBytesMax: 1000, topKMax: 1000 },
      primaryIsBusy: () => pool.isBehind,
      metrics: {
        served: () => undefined,
        failed: () => undefined,
        mirrorOffered: () => void counts.offered++,
        mirrorDropped: () => void counts.dropped++,
        mirrorFailed: () => undefined,
        embedFailed: () => undefined,
        mirrorCompared: () => void counts.compared++,
      },
      mirror: DEFAULT_MIRROR,
      recorder: new ComparisonRecorder({ ...DEFAULT_RECORDER, hashKey: Buffer.from('bench') }),
      isKnownModel: (model) => model === MODEL_REF,
      onError: (_, error) => {
        throw error;
      },
      random: () => random.next(),
    });
    cleanups.push(() => router.close());

    const serving = targetOf(primary, { role: 'active', weightBps: 10_000, mirrorBps: 0 });
    const mirrored = (mirrorBps: number): RouteTarget =>
      targetOf(shadow, { role: 'shadow', weightBps: 0, mirrorBps });
    let revision = 0;
    const apply = async (targets: readonly RouteTarget[]): Promise<void> => {
      const route: Route = { corpus: CORPUS, revision: ++revision as Revision, salt: 'bench', targets };
      const outcome = await router.apply(route);
      if (outcome.kind !== 'applied') throw new Error(`revision ${revision} was ${outcome.kind}`);
    };
    router.hold({ targets: [{ corpus: CORPUS, target: mirrored(0) }], models: [] });
    await apply([serving]);
    await untilTrue(() => router.targets().every(({ state }) => state === 'ready'));

    return {
      bundle: primary,
      rows,
      queries,
      mirror: (share) => apply(share === null ? [serving] : [serving, mirrored(share)]),
      search: (at) => router.search(callOf(queries[at % queries.length] as Float32Array)),
      shadowPid: () => {
        const state = processes.indexes[0]?.state;
        return state?.kind === 'ready' ? state.pid : null;
      },
      quiet: () =>
        untilTrue(() => router.mirrorStates().every(({ lane }) => lane.running + lane.waiting === 0)),
      counts: () => {
        const counted = counts;
        counts = { offered: 0, compared: 0, dropped: 0 };
        return counted;
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

const callOf = (values: Float32Array): SearchCall => ({
  corpus: CORPUS,
  query: { kind: 'vector', values },
  topK: TOP_K,
  model: MODEL_REF,
  corpusVersion: null,
  affinityKey: null,
  withDocument: false,
  bypassCache: false,
  priority: 'live',
  deadlineAtMs: performance.now() + DEADLINE_MS,
});

const targetOf = (
  { digest, folder }: Bundle,
  { role, weightBps, mirrorBps }: Pick<RouteTarget, 'role' | 'weightBps' | 'mirrorBps'>,
): RouteTarget => ({
  version: VERSION,
  build: digest as Digest,
  fingerprint: MODEL.fingerprint,
  modelRef: MODEL_REF,
  role,
  weightBps,
  tier: 'dram',
  mirrorBps,
  bundleUri: `file://${folder}`,
});

/** Unit vectors around centres, as embeddings of texts are; the next one at each call. */
function clusteredDraw(random: SeededRandom, rowCount: number): () => Float32Array<ArrayBuffer> {
  const centreCount = Math.max(2, Math.ceil(rowCount / CLUSTER_ROWS));
  const centres = Float32Array.from({ length: centreCount * DIMENSIONS }, () => random.normal());
  return () => {
    const centre = random.below(centreCount) * DIMENSIONS;
    const vector = new Float32Array(DIMENSIONS).map(
      (_, at) => (centres[centre + at] as number) + CLUSTER_SPREAD * random.normal(),
    );
    const norm = Math.hypot(...vector);
    return vector.map((value) => value / norm);
  };
}

/** Documents are named after their rows in `rows`, in whatever order they are inserted. */
async function build(folder: string, rows: Float32Array, order: readonly number[]): Promise<Bundle> {
  const vectors = new Float32Array(rows.length);
  order.forEach((row, at) => {
    vectors.set(rows.subarray(row * DIMENSIONS, (row + 1) * DIMENSIONS), at * DIMENSIONS);
  });
  async function* batches() {
    yield { vectors, rows: order.map((row) => ({ documentId: `d${row}`, chunk: 0, truncated: false })) };
  }
  return buildBundle(
    {
      bundlesFolder: folder,
      corpus: CORPUS,
      version: VERSION,
      model: MODEL,
      dimensions: DIMENSIONS,
      metric: 'cosine',
      documentTemplate: '{text}',
      textNormalisation: 'none',
      storeDocuments: false,
      truncatedShareMax: 1,
      source: { name: 'seeded', sha256: createHash('sha256').update(rows).digest('hex'), watermark: null },
      recall: { sampleCount: 50, seed: 1 },
    },
    batches(),
  );
}

/**
 * A target opens with an encoder of its model, and is warmed up by one text through both. That text is all this one
 * ever encodes: what is measured sends vectors.
 */
function rowEncoder(rows: Float32Array): Encoder {
  const { fingerprint } = MODEL;
  return {
    model: {
      format_version: 1,
      ...MODEL,
      provider: 'bench',
      source: 'seeded',
      dimensions: DIMENSIONS,
      max_tokens: 256,
      metric: 'cosine',
      pooling: 'mean',
      normalisation: 'l2',
      query_prefix: '',
      document_prefix: '',
      precision: 'fp32',
      onnx: { inputs: ['input_ids'], output: 'vector', output_kind: 'sentence', pad_token_id: 0 },
      files: {},
    },
    state: { kind: 'ready', provider: 'cpu', fallbackReason: null, pid: process.pid },
    ready: () => Promise.resolve(),
    encode: async ({ texts }) => ({
      fingerprint,
      dimensions: DIMENSIONS,
      values: rows.slice(0, texts.length * DIMENSIONS),
      tokenCounts: new Uint32Array(texts.length).fill(1),
      truncatedCount: 0,
      queueUs: 0,
      encodeUs: 0,
    }),
    close: () => Promise.resolve(),
  };
}

async function untilTrue(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 1));
}
