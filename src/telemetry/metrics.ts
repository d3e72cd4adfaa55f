import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import { PRIORITIES, type Priority } from '../vocabulary.js';
import { delaySeconds, looksAtEventLoop } from './event-loop-delay.js';
import { DurationTally, type HistogramSeries, LabelledDurations, LabelledTally } from './tally.js';

/** Seconds; from 100 µs, where a cache hit lies, to the default deadline. */
const DURATION_BUCKETS = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];
export const STAGES = ['queue', 'encode', 'search', 'total'] as const;
export type Stage = (typeof STAGES)[number];

/** The labels of a target; `build` as its digest's prefix. */
export type TargetSeries = Readonly<Record<'corpus' | 'version' | 'build', string>>;

const durationsByStage = (): Readonly<Record<Stage, DurationTally>> => ({
  queue: new DurationTally(DURATION_BUCKETS),
  encode: new DurationTally(DURATION_BUCKETS),
  search: new DurationTally(DURATION_BUCKETS),
  total: new DurationTally(DURATION_BUCKETS),
});

/**
 * The gateway's metrics, prefix `switchyard_`. Labels have few values by construction: corpora, versions, builds,
 * models and reasons of the catalogue; never a client's free text.
 */
export class Metrics {
  readonly registry = new Registry();
  readonly requests = new LabelledTally(['rpc', 'protocol', 'reason']);
  /** Apart by priority, since bulk work may wait ten times as long by design. */
  readonly duration: Readonly<Record<Priority, Readonly<Record<Stage, DurationTally>>>> = {
    live: durationsByStage(),
    bulk: durationsByStage(),
  };
  /** From its whole arrival to its finished answer or refusal. */
  readonly rpcDuration = new LabelledDurations(['rpc', 'protocol', 'priority'], DURATION_BUCKETS);
  readonly targetRequests = new LabelledTally(['corpus', 'version', 'build', 'kind']);
  /** Kind `mirror` besides those of what is served. */
  readonly targetFailures = new LabelledTally(['corpus', 'version', 'build', 'kind', 'reason']);
  readonly mispairings = new LabelledTally(['kind']);
  readonly batchItems = new LabelledTally(['protocol', 'reason']);
  readonly mirrors = new LabelledTally(['corpus', 'version', 'outcome']);
  private readonly loopLooks = looksAtEventLoop();
  #heldTargets: () => Iterable<TargetSeries> = () => [];

  constructor() {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry, prefix: 'switchyard_' });
    this.observeTotal(
      'switchyard_requests_total',
      'Requests by RPC, protocol and error reason (OK when answered)',
      ['rpc', 'protocol', 'reason'],
      () => this.requests.read(),
    );
    this.observeHistogram(
      'switchyard_request_duration_seconds',
      'Duration of searches by stage and priority',
      () =>
        PRIORITIES.flatMap((priority) =>
          STAGES.map((stage) => this.duration[priority][stage].series({ stage, priority })),
        ),
    );
    this.observeHistogram(
      'switchyard_rpc_duration_seconds',
      'From the whole arrival of a request to its finished answer or refusal, by RPC, protocol and priority; not of those refused at the door',
      () => this.rpcDuration.series(),
    );
    this.observeTotal(
      'switchyard_target_requests_total',
      'Requests served by target: kind split follows the weights, pinned does not',
      ['corpus', 'version', 'build', 'kind'],
      () => {
        for (const { corpus, version, build } of this.#heldTargets())
          this.targetRequests.declare(corpus, version, build, 'split');
        return this.targetRequests.read();
      },
    );
    this.observeTotal(
      'switchyard_target_failures_total',
      'Failures at a target by error reason, whatever became of the request; kind mirror is of mirrored reads',
      ['corpus', 'version', 'build', 'kind', 'reason'],
      () => this.targetFailures.read(),
    );
    this.observeTotal(
      'switchyard_mispairings_refused_total',
      'Vectors of another model than is needed, refused before a search: of requests, items of batches, mirrors and embeddings',
      ['kind'],
      () => this.mispairings.read(),
    );
    this.observeTotal(
      'switchyard_batch_items_total',
      'Items of batches that were answered, by error reason (OK when found)',
      ['protocol', 'reason'],
      () => this.batchItems.read(),
    );
    this.observeTotal(
      'switchyard_mirrors_total',
      'Mirrored reads by outcome: offered, compared, or the reason why they were dropped',
      ['corpus', 'version', 'outcome'],
      () => {
        // Where none is ever compared, their share is nought and not unknown.
        for (const [{ corpus, version }] of [...this.mirrors.read()])
          this.mirrors.declare(corpus, version, 'compared');
        return this.mirrors.read();
      },
    );
    const { loopLooks } = this;
    loopLooks.enable();
    new Gauge({
      name: 'switchyard_event_loop_delay_seconds',
      help: 'How late the event loop was since the last scrape',
      labelNames: ['quantile'],
      registers,
      collect() {
        for (const quantile of [0.5, 0.99, 1])
          this.set({ quantile: String(quantile) }, delaySeconds(loopLooks, quantile));
        loopLooks.reset();
      },
    });
  }

  /** A value that is read when scraped. `read` gives one entry per label set. */
  observe<Label extends string>(
    name: string,
    help: string,
    labelNames: readonly Label[],
    read: () => Iterable<readonly [Record<Label, string>, number]>,
  ): void {
    new Gauge({
      name,
      help,
      labelNames: [...labelNames],
      registers: [this.registry],
      collect() {
        this.reset();
        for (const [labels, value] of read()) this.set(labels, value);
      },
    });
  }

  /** Like `observe`, for totals that only rise and are counted elsewhere. */
  observeTotal<Label extends string>(
    name: string,
    help: string,
    labelNames: readonly Label[],
    read: () => Iterable<readonly [Record<Label, string>, number]>,
  ): void {
    new Counter({
      name,
      help,
      labelNames: [...labelNames],
      registers: [this.registry],
      collect() {
        this.reset();
        for (const [labels, value] of read()) this.inc(labels, value);
      },
    });
  }

  /** Like `observe`, for distributions that are counted elsewhere: a prom-client histogram cannot be set. */
  observeHistogram(name: string, help: string, read: () => Iterable<HistogramSeries>): void {
    // prom-client asks a metric for its name and its values, and for nothing else.
    const metric = {
      name,
      get: async () => ({
        name,
        help,
        type: 'histogram',
        aggregator: 'sum',
        values: [...read()].flatMap((series) => histogramValues(name, series)),
      }),
      reset: () => undefined,
    };
    this.registry.registerMetric(metric as unknown as Gauge<string>);
  }

  /** Targets whose requests are shown at nought before the first comes: an increase is seen from there only. */
  declareTargets(held: () => Iterable<TargetSeries>): void {
    this.#heldTargets = held;
  }

  /** Ends the series of targets that are gone, so that builds which were retired do not add up. */
  forgetTargets(isHeld: (corpus: string, version: string, build: string) => boolean): void {
    const isGone = (of: TargetSeries): boolean => !isHeld(of.corpus, of.version, of.build);
    this.targetRequests.forget(isGone);
    this.targetFailures.forget(isGone);
  }

  text(): Promise<string> {
    return this.registry.metrics();
  }

  close(): void {
    this.loopLooks.disable();
  }
}

function histogramValues(name: string, { labels, count, sum, buckets }: HistogramSeries) {
  let below = 0;
  const bucketValues = buckets.map(({ le, count: inBucket }) => {
    below += inBucket;
    const bound = Number.isFinite(le) ? String(Number(le.toPrecision(12))) : '+Inf';
    return { metricName: `${name}_bucket`, labels: { ...labels, le: bound }, value: below };
  });
  return [
    ...bucketValues,
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: count },
  ];
}
