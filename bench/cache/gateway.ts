import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { loadConfig } from '../../src/config/load.js';
import { ArrivingRequests } from '../../src/gateway/arriving/arriving-requests.js';
import { OPEN_GUARD } from '../../src/gateway/auth/guard.js';
import { Calls } from '../../src/gateway/calls.js';
import { ConnectionLimit, connectionsMax } from '../../src/gateway/connection-limit.js';
import { startGrpcFace } from '../../src/gateway/grpc/server.js';
import { InFlight } from '../../src/gateway/in-flight.js';
import { Overload } from '../../src/gateway/overload/overload.js';
import { Readiness } from '../../src/gateway/readiness.js';
import { Requests } from '../../src/gateway/requests.js';
import { ListenerAnswers } from '../../src/gateway/unread/listener-answers.js';
import { UnreadAnswers } from '../../src/gateway/unread/unread-answers.js';
import { observeCaches } from '../../src/gateway/wiring/cache-metrics.js';
import { openCaches } from '../../src/gateway/wiring/caches.js';
import { faceMetrics, routerMetrics } from '../../src/gateway/wiring/metrics.js';
import { buildBundle } from '../../src/index/build-bundle.js';
import { SearchPool } from '../../src/index/search-pool.js';
import { SeededRandom } from '../../src/index/seeded-random.js';
import { MigrationMeter } from '../../src/lifecycle/migration/meter.js';
import { systemTimers } from '../../src/process/timers.js';
import { ComparisonRecorder, DEFAULT_RECORDER } from '../../src/router/comparison-recorder.js';
import { DEFAULT_MIRROR } from '../../src/router/mirror-lane.js';
import { Router } from '../../src/router/router.js';
import { createLogger } from '../../src/telemetry/log.js';
import { Metrics } from '../../src/telemetry/metrics.js';
import type { Digest, Revision } from '../../src/vocabulary.js';
import type { CacheCounts } from './protocol.js';
import { CORPUS, DIMENSIONS, MODEL, MODEL_REF, seededEncoder } from './seeded-encoder.js';

const ARRIVAL_MS_MAX = 30_000;

export interface BenchGateway {
  readonly port: number;
  counts(): CacheCounts;
  close(): Promise<void>;
}

/**
 * The gRPC face over router, caches and search workers, all as they ship and with the shipped settings, on one route.
 * Only the encoder is seeded: what is measured never reaches it.
 */
export async function startBenchGateway(seed: number, rowCount: number): Promise<BenchGateway> {
  const folder = await mkdtemp(path.join(tmpdir(), 'switchyard-bench-'));
  const closers: (() => Promise<unknown> | unknown)[] = [() => rm(folder, { recursive: true, force: true })];
  const close = async (): Promise<void> => {
    for (const one of closers.splice(0).reverse()) await one();
  };
  try {
    // A machine that others use too may take long; what is late is slow here, not refused.
    const overrides = { var_dir: folder, 'limits.deadline_ms_default': 60_000 };
    const config = loadConfig({ file: null, env: {}, cwd: folder, overrides });
    const log = createLogger('error');
    const bundle = await buildRows(folder, seed, rowCount);
    const metrics = new Metrics();
    closers.push(() => metrics.close());
    const pool = new SearchPool({ workers: 1, queueLengthMax: 4096 });
    closers.push(() => pool.close());
    const caches = await openCaches(config, log);
    closers.push(() => caches.close());
    observeCaches(metrics, caches);
    const { fingerprint } = MODEL;
    const router = new Router({
      factories: {
        openEncoder: async () => seededEncoder(),
        openTarget: () =>
          pool.open(bundle, { expected: { fingerprint, dimensions: DIMENSIONS, metric: 'cosine' } }),
      },
      limits: config.limits,
      metrics: routerMetrics(metrics, new MigrationMeter(), log),
      mirror: DEFAULT_MIRROR,
      recorder: new ComparisonRecorder({ ...DEFAULT_RECORDER, hashKey: Buffer.from('bench') }),
      caches,
      isKnownModel: (model) => model === MODEL_REF,
      onError: (_, error) => {
        throw error;
      },
    });
    closers.push(() => router.close());
    await router.apply({
      corpus: CORPUS,
      revision: 1 as Revision,
      salt: 'bench',
      targets: [
        {
          version: 'v1',
          build: bundle.digest as Digest,
          fingerprint,
          modelRef: MODEL_REF,
          role: 'active',
          weightBps: 10_000,
          tier: 'dram',
          mirrorBps: 0,
          bundleUri: `file://${bundle.folder}`,
        },
      ],
    });
    const readiness = new Readiness(router);
    closers.push(() => readiness.close());
    // The limit is at work and refuses nobody: the bench saturates on purpose.
    const overload = new Overload({ ...config.overload, queueMsTarget: 10_000 }, systemTimers);
    const bounds = { bytesMax: config.arrivingBytesMax, arrivalMsMax: ARRIVAL_MS_MAX };
    const arriving = new ArrivingRequests(bounds, systemTimers, log);
    closers.push(() => arriving.close());
    const face = await startGrpcFace({
      calls: new Calls(router, config.limits, new InFlight(), overload),
      readiness,
      limits: config.limits,
      listener: { host: '127.0.0.1', port: 0 },
      connectionAgeMsMax: null,
      context: {
        log,
        overload,
        requests: new Requests({ log, metrics: faceMetrics(metrics), tracer: null, slowRequestMs: 0 }),
        guard: OPEN_GUARD,
        certificates: null,
        listener: 'grpc',
        arrivalMsMax: ARRIVAL_MS_MAX,
        arriving,
        keepaliveMs: 60_000,
        answers: new ListenerAnswers(new UnreadAnswers(config.unread, systemTimers, log), 'grpc'),
        connections: new ConnectionLimit(connectionsMax(null).publicListeners),
      },
    });
    closers.push(() => face.destroy());
    return {
      port: face.address.port,
      counts: () => {
        const { hits, misses } = caches.results?.layers.counters.memory ?? { hits: 0, misses: 0 };
        return { hits, misses };
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function buildRows(folder: string, seed: number, rowCount: number) {
  const random = new SeededRandom(seed);
  const vectors = Float32Array.from({ length: rowCount * DIMENSIONS }, () => random.normal());
  const rows = Array.from({ length: rowCount }, (_, row) => ({
    documentId: `document-${row}`,
    chunk: 0,
    truncated: false,
  }));
  return buildBundle(
    {
      bundlesFolder: path.join(folder, 'bundles'),
      corpus: CORPUS,
      version: 'v1',
      model: MODEL,
      dimensions: DIMENSIONS,
      metric: 'cosine',
      documentTemplate: '{text}',
      textNormalisation: 'none',
      storeDocuments: false,
      truncatedShareMax: 1,
      source: { name: 'seeded', sha256: '0'.repeat(64), watermark: null },
      recall: { sampleCount: 10, seed: 1 },
    },
    (async function* () {
      yield { vectors, rows };
    })(),
  );
}
