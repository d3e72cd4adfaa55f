import type { MigrationMeter } from '../../lifecycle/migration/meter.js';
import type { RouterMetrics } from '../../router/metrics.js';
import type { Logger } from '../../telemetry/log.js';
import type { Metrics } from '../../telemetry/metrics.js';
import { digestPrefix, LANES, modelRef, PRIORITIES } from '../../vocabulary.js';
import { type FaceMetrics, OPERATIONS, OWN_FAILURES, PROTOCOLS } from '../requests.js';
import type { Engines } from './engines.js';
import { TargetFailures } from './target-failures.js';
import { poolsOf } from './tier-metrics.js';

const MICROSECONDS = 1e-6;

export function routerMetrics(metrics: Metrics, meter: MigrationMeter, log: Logger): RouterMetrics {
  const failures = new TargetFailures(metrics, log);
  return {
    served: (target, kind, times, priority) => {
      const { corpus, version, build } = target;
      const duration = metrics.duration[priority];
      metrics.targetRequests.add(corpus, version, digestPrefix(build), kind);
      duration.queue.observe(times.queueUs * MICROSECONDS);
      duration.encode.observe(times.encodeUs * MICROSECONDS);
      duration.search.observe(times.searchUs * MICROSECONDS);
      duration.total.observe(times.totalUs * MICROSECONDS);
      meter.served(target, kind, times);
    },
    failed: (target, kind, error, blame) => {
      failures.count(target, kind, error);
      meter.failed(target, kind, blame);
    },
    mirrorOffered: ({ corpus, version }) => metrics.mirrors.add(corpus, version, 'offered'),
    mirrorDropped: (shadow, why) => {
      metrics.mirrors.add(shadow.corpus, shadow.version, why);
      meter.mirrorDropped(shadow, why);
    },
    mirrorFailed: (shadow, error) => failures.count(shadow, 'mirror', error),
    embedFailed: (model, error) => failures.countEmbed(model, error),
    mirrorCompared: (primary, shadow, comparison) => {
      metrics.mirrors.add(shadow.corpus, shadow.version, 'compared');
      meter.mirrorCompared(primary, shadow, comparison);
    },
  };
}

export function faceMetrics(metrics: Metrics): FaceMetrics {
  const tallies = recordOf(PROTOCOLS, (protocol) =>
    recordOf(OPERATIONS, (rpc) =>
      recordOf(PRIORITIES, (priority) => metrics.rpcDuration.of(rpc, protocol, priority)),
    ),
  );
  // What alerts divide by and count is known at nought: of a counter that begins with a burst no increase is seen.
  for (const reason of ['OK', ...OWN_FAILURES])
    for (const protocol of PROTOCOLS) {
      metrics.batchItems.declare(protocol, reason);
      for (const rpc of OPERATIONS) metrics.requests.declare(rpc, protocol, reason);
    }
  return {
    requestFinished: (protocol, rpc, reason, durationMs, priority) => {
      metrics.requests.add(rpc, protocol, reason);
      if (durationMs !== null) tallies[protocol][rpc][priority].observe(durationMs / 1000);
    },
    batchItems: (protocol, reason, count) => metrics.batchItems.addSome(count, protocol, reason),
  };
}

const recordOf = <Key extends string, Value>(
  keys: readonly Key[],
  of: (key: Key) => Value,
): Readonly<Record<Key, Value>> =>
  Object.fromEntries(keys.map((key) => [key, of(key)])) as Record<Key, Value>;

/** What the engines count themselves is read when Prometheus asks. */
export function observeEngines(metrics: Metrics, engines: Engines): void {
  const { processes } = engines;
  const pools = poolsOf(engines);
  metrics.observe('switchyard_index_open_files', 'Indexes that are open', ['tier'], () =>
    pools.map(([tier, { counters }]) => [{ tier }, counters.openIndexes]),
  );
  metrics.observe('switchyard_index_open_bytes', 'Bytes of the files of open indexes', ['tier'], () =>
    pools.map(([tier, { counters }]) => [{ tier }, counters.openBytes]),
  );
  metrics.observe('switchyard_search_workers_ready', 'Search workers that can answer', ['tier'], () =>
    pools.map(([tier, { workersReady }]) => [{ tier }, workersReady]),
  );
  metrics.observe('switchyard_search_queue_length', 'Searches that wait', ['lane', 'tier'], () =>
    pools.flatMap(([tier, pool]) => LANES.map((lane) => [{ lane, tier }, pool.queueLength(lane)] as const)),
  );
  metrics.observeTotal(
    'switchyard_search_shed_total',
    'Searches refused since they waited too long in a queue that stands',
    ['tier'],
    () => pools.map(([tier, { counters }]) => [{ tier }, counters.shed]),
  );
  metrics.observe('switchyard_index_process_open', 'Index processes that can answer', [], () => [
    [{}, processes.counters.openIndexes],
  ]);
  metrics.observeTotal('switchyard_index_process_restarts_total', 'Restarts of index processes', [], () => [
    [{}, processes.counters.restarts],
  ]);
  metrics.observe(
    'switchyard_index_process_info',
    '1 for each index process, with the state it is in',
    ['corpus', 'version', 'build', 'state'],
    () =>
      processes.indexes.map(({ bundle, state }) => [
        {
          corpus: bundle.manifest.corpus,
          version: bundle.manifest.version,
          build: digestPrefix(bundle.digest),
          state: state.kind,
        },
        1,
      ]),
  );
  observeEncoders(metrics, engines);
}

const ENCODER_TOTALS = {
  batches: 'Runs of the model',
  texts: 'Texts encoded',
  tokens: 'Tokens encoded',
  paddedTokens: 'Tokens encoded, padding included',
  restarts: 'Restarts of the encoder process',
  shed: 'Requests refused since they waited too long in a queue that stands',
} as const;

function observeEncoders(metrics: Metrics, engines: Engines): void {
  const label = ({ model }: { readonly model: { readonly name: string; readonly version: string } }) => ({
    model: modelRef(model),
  });
  for (const [counter, help] of Object.entries(ENCODER_TOTALS) as [keyof typeof ENCODER_TOTALS, string][]) {
    const name = counter.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    metrics.observeTotal(`switchyard_encoder_${name}_total`, help, ['model'], () =>
      engines.encoders().map((encoder) => [label(encoder), encoder.counters[counter]]),
    );
  }
  const isOpen = (ref: string): boolean => engines.encoders().some(({ model }) => modelRef(model) === ref);
  metrics.observeHistogram('switchyard_encoder_batch_texts', 'Texts of one run of the model, by lane', () =>
    engines.runs.series('texts', isOpen),
  );
  metrics.observeHistogram(
    'switchyard_encoder_run_seconds',
    'Duration of one run of the model, by lane',
    () => engines.runs.series('seconds', isOpen),
  );
  metrics.observe(
    'switchyard_encoder_queue_length',
    'Requests accepted by the encoder and not answered yet, by lane',
    ['model', 'lane'],
    () =>
      engines
        .encoders()
        .flatMap((encoder) =>
          LANES.map((lane) => [{ ...label(encoder), lane }, encoder.counters.queueLength[lane]] as const),
        ),
  );
}
