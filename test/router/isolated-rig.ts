import { buildBundle } from '../../src/index/build-bundle.js';
import { IndexProcesses } from '../../src/index/process/index-processes.js';
import type { ProcessIndex } from '../../src/index/process/process-index.js';
import { SearchPool } from '../../src/index/search-pool.js';
import { DEFAULT_BACKOFF } from '../../src/process/backoff.js';
import type { RouteTarget } from '../../src/registry/route.js';
import type { MirrorOptions } from '../../src/router/mirror-lane.js';
import type { TargetFactories } from '../../src/router/targets.js';
import type { Digest, TargetRole } from '../../src/vocabulary.js';
import { optionsOf, temporaryFolder } from '../index/corpus.js';
import { createRig, type Rig } from './harness.js';
import {
  type BuildPlan,
  CORPUS,
  createEngines,
  DIMENSIONS,
  embedText,
  fingerprintOf,
  target,
} from './small-engines.js';

interface Tap {
  teardown(fn: () => unknown): unknown;
}

export const QUEUE_LENGTH_MAX = 64;

/** Where the shadow differs from what the gateway ships: quicker to be given up, and to come back. */
const QUICK = {
  workers: 1,
  niceness: 0,
  silentMsMax: 1_000,
  closeGraceMs: 500,
  backoff: { ...DEFAULT_BACKOFF, delayMsFirst: 20, delayMsMax: 100 },
};

export interface RealPlan extends BuildPlan {
  readonly bundle: Awaited<ReturnType<typeof buildBundle>>;
}

/** A real bundle whose ids are its texts. */
export async function realBuild(t: Tap, plan: BuildPlan): Promise<RealPlan> {
  const { model, version, documents } = plan;
  const vectors = new Float32Array(documents.length * DIMENSIONS);
  documents.forEach((text, at) => {
    vectors.set(embedText(model, text), at * DIMENSIONS);
  });
  async function* batches() {
    yield {
      vectors,
      rows: documents.map((text) => ({ documentId: text, chunk: 0, truncated: false, document: { text } })),
    };
  }
  const options = optionsOf(temporaryFolder(t), {
    corpus: CORPUS,
    version,
    model: { name: model, version: '1', fingerprint: fingerprintOf(model) },
    dimensions: DIMENSIONS,
    quantization: 'f32',
  });
  return { ...plan, bundle: await buildBundle(options, batches()) };
}

export const realTarget = (plan: RealPlan, role: TargetRole, weightBps = 0, mirrorBps = 0): RouteTarget => ({
  ...target(plan, role, weightBps, mirrorBps),
  build: plan.bundle.digest as Digest,
});

export interface IsolatedRig extends Rig {
  readonly pool: SearchPool;
  readonly processes: IndexProcesses;
  /** The one shadow's. */
  readonly shadow: () => ProcessIndex;
}

export interface IsolatedRigOptions {
  readonly mirror?: Partial<MirrorOptions>;
  /** Of the index processes. */
  readonly queueLengthMax?: number;
  readonly topKMax?: number;
}

/** A router over real search workers for what serves, and real index processes for shadows. */
export function isolatedRig(
  t: Tap,
  plans: readonly RealPlan[],
  { mirror = {}, queueLengthMax = QUEUE_LENGTH_MAX, topKMax = 1000 }: IsolatedRigOptions = {},
): IsolatedRig {
  const pool = new SearchPool({ workers: 1, queueLengthMax: 1000 });
  const processes = new IndexProcesses({ ...QUICK, queueLengthMax, log: () => undefined });
  const engines = createEngines(plans);
  const factories: TargetFactories = {
    openEncoder: engines.factories.openEncoder,
    async openTarget({ build, isolation, fingerprint }) {
      const plan = plans.find(({ bundle }) => bundle.digest === build);
      if (plan === undefined) throw new Error(`no build ${build}`);
      const expected = { fingerprint, dimensions: DIMENSIONS, metric: 'cosine' };
      return (isolation === 'isolated' ? processes : pool).open(plan.bundle, { expected });
    },
  };
  const rig = createRig({
    engines: { ...engines, factories },
    mirror,
    over: { limits: { textBytesMax: 1000, topKMax } },
  });
  t.teardown(async () => {
    await rig.router.close();
    await processes.close();
    await pool.close();
  });
  return {
    ...rig,
    pool,
    processes,
    shadow: () => {
      const [index] = processes.indexes;
      if (index === undefined) throw new Error('the shadow is not open');
      return index;
    },
  };
}
