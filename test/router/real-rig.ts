import type { ModelFolder } from '../../src/encoder/manifest.js';
import { startProcessEncoder } from '../../src/encoder/process-encoder.js';
import type { ProcessEncoder } from '../../src/encoder/process-encoder-options.js';
import { buildBundle } from '../../src/index/build-bundle.js';
import type { Bundle } from '../../src/index/manifest.js';
import { IndexProcesses } from '../../src/index/process/index-processes.js';
import type { ProcessIndex } from '../../src/index/process/process-index.js';
import { SearchPool } from '../../src/index/search-pool.js';
import type { RouteTarget } from '../../src/registry/route.js';
import type { MirrorOptions } from '../../src/router/mirror-lane.js';
import { type Digest, modelRef } from '../../src/vocabulary.js';
import { shortMiniLmFolder } from '../fixtures/model.js';
import { TestRandom } from '../fixtures/random.js';
import { optionsOf, temporaryFolder } from '../index/corpus.js';
import { until } from '../process/wait.js';
import { createRig, type Rig, route } from './harness.js';
import { CORPUS } from './small-engines.js';

interface Tap {
  teardown(fn: () => unknown): unknown;
}

/** Searches that one shadow process may owe an answer for. */
export const ANSWERS_OWED_MAX = 16;
/** Rows beside the texts, so that a search is work. */
const FILLER_ROWS = 1500;
const QUICK = { delayMsFirst: 20, delayMsMax: 200, factor: 2, jitter: 0.3, stableAfterMs: 60_000 };

interface Side {
  readonly model: ModelFolder;
  readonly bundle: Bundle;
}

export interface RealRig extends Rig {
  /** The encoder of the shadow's model. */
  readonly shadowEncoder: () => ProcessEncoder;
  /** Mirrors everything to a shadow in a process that runs `program`, the product's own when undefined. */
  openShadow(t: Tap, program?: URL): Promise<ProcessIndex>;
}

/**
 * Two real models in encoder processes, their bundles over the same texts, the primary (v1) on search workers and the
 * shadow (v2) in a supervised process of its own: nothing stands in for anything.
 */
export async function realRig(
  t: Tap,
  texts: readonly string[],
  mirror: Partial<MirrorOptions>,
): Promise<RealRig> {
  const sides = [
    await buildSide(t, 'v1', await shortMiniLmFolder('int8'), texts),
    await buildSide(t, 'v2', await shortMiniLmFolder('fp16'), texts),
  ] as const;
  const [primary, candidate] = sides;
  const pool = new SearchPool({ workers: 1, queueLengthMax: 1000 });
  let processes: IndexProcesses | null = null;
  let shadowEncoder: ProcessEncoder | null = null;
  const rig = createRig({
    mirror,
    over: {
      limits: { textBytesMax: 65_536, topKMax: 1000 },
      factories: {
        async openEncoder({ fingerprint }) {
          const model = sides.find((side) => side.model.manifest.fingerprint === fingerprint)?.model;
          if (model === undefined) throw new Error(`no model ${fingerprint}`);
          const encoder = startEncoder(model);
          if (model === candidate.model) shadowEncoder = encoder;
          return encoder;
        },
        async openTarget({ build, isolation }) {
          const side = sides.find(({ bundle }) => bundle.digest === build);
          const engine = isolation === 'isolated' ? processes : pool;
          if (side === undefined || engine === null) throw new Error(`no build ${build}`);
          const { fingerprint, dimensions, metric } = side.model.manifest;
          return engine.open(side.bundle, { expected: { fingerprint, dimensions, metric } });
        },
      },
    },
  });
  const { router } = rig;
  t.teardown(async () => {
    await router.close();
    await pool.close();
  });
  let revision = 0;
  const apply = async (targets: readonly RouteTarget[]): Promise<void> => {
    const outcome = await router.apply(route(++revision, targets));
    if (outcome.kind !== 'applied') throw new Error(`revision ${revision} was ${outcome.kind}`);
  };
  const serving = targetOf(primary, { role: 'active', weightBps: 10_000, mirrorBps: 0 });
  const shadow = targetOf(candidate, { role: 'shadow', weightBps: 0, mirrorBps: 10_000 });
  await apply([serving]);
  // Its encoder is loaded once, whatever shadows come and go.
  const { fingerprint, modelRef: ref } = shadow;
  router.hold({ targets: [], models: [{ fingerprint, modelRef: ref }] });
  return {
    ...rig,
    shadowEncoder: () => {
      if (shadowEncoder === null) throw new Error("the shadow's encoder was never opened");
      return shadowEncoder;
    },
    async openShadow(t, program) {
      const own = new IndexProcesses({
        workers: 1,
        queueLengthMax: ANSWERS_OWED_MAX,
        // Tests share their cores with other tests.
        niceness: 0,
        silentMsMax: 1_000,
        closeGraceMs: 500,
        backoff: QUICK,
        log: () => undefined,
        ...(program === undefined ? {} : { program }),
      });
      processes = own;
      t.teardown(async () => {
        await apply([serving]);
        await own.close();
      });
      await apply([serving, shadow]);
      await until(
        'the shadow is loaded',
        () => router.targets().every(({ state }) => state === 'ready'),
        60_000,
      );
      return own.indexes[0] as ProcessIndex;
    },
  };
}

const startEncoder = (folder: ModelFolder): ProcessEncoder =>
  startProcessEncoder({
    folder,
    providers: ['cpu'],
    require: true,
    threads: 1,
    batchTokensMax: 1024,
    queueLengthMax: { live: 64, shadow: 16, bulk: 4 },
    textBytesMax: 65_536,
    backoff: QUICK,
    log: () => undefined,
  });

async function buildSide(
  t: Tap,
  version: string,
  model: ModelFolder,
  texts: readonly string[],
): Promise<Side> {
  const encoder = startEncoder(model);
  try {
    await encoder.ready();
    const { dimensions, name, version: modelVersion, fingerprint } = model.manifest;
    const { values } = await encoder.encode({
      texts,
      role: 'document',
      lane: 'bulk',
      deadlineAtMs: Number.POSITIVE_INFINITY,
    });
    const random = new TestRandom(1);
    const rowCount = texts.length + FILLER_ROWS;
    const vectors = new Float32Array(rowCount * dimensions).map(() => random.next() - 0.5);
    vectors.set(values);
    const rows = Array.from({ length: rowCount }, (_, at) => ({
      documentId: `document ${at}`,
      chunk: 0,
      truncated: false,
    }));
    async function* batches() {
      yield { vectors, rows };
    }
    const options = optionsOf(temporaryFolder(t), {
      corpus: CORPUS,
      version,
      model: { name, version: modelVersion, fingerprint },
      dimensions,
    });
    return { model, bundle: await buildBundle(options, batches()) };
  } finally {
    await encoder.close();
  }
}

const targetOf = (
  { model, bundle }: Side,
  { role, weightBps, mirrorBps }: Pick<RouteTarget, 'role' | 'weightBps' | 'mirrorBps'>,
): RouteTarget => ({
  version: bundle.manifest.version,
  build: bundle.digest as Digest,
  fingerprint: model.manifest.fingerprint,
  modelRef: modelRef(model.manifest),
  role,
  weightBps,
  tier: 'dram',
  mirrorBps,
  bundleUri: `file://${bundle.folder}`,
});
