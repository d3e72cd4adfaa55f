import { SCORE_QUANTILES } from '../../router/comparison.js';
import type { ComparisonMeasure, ComparisonRecorder, PairReport } from '../../router/comparison-recorder.js';
import type { Metrics } from '../../telemetry/metrics.js';
import type { HistogramSeries } from '../../telemetry/tally.js';
import { digestPrefix } from '../../vocabulary.js';

const LABELS = ['corpus', 'kind', 'primary', 'primary_build', 'shadow', 'shadow_build'] as const;
type PairLabels = Record<(typeof LABELS)[number], string>;

const HISTOGRAMS: readonly {
  readonly measure: ComparisonMeasure;
  readonly name: string;
  readonly help: string;
  /** What a recorded value is multiplied by. */
  readonly scale: number;
}[] = [
  { measure: 'overlap', name: 'overlap', help: 'Share of common documents', scale: 1 },
  { measure: 'jaccard', name: 'jaccard', help: 'Common documents over documents in either answer', scale: 1 },
  { measure: 'rbo', name: 'rbo', help: 'Rank-biased overlap, p = 0.9', scale: 1 },
  { measure: 'primary_underfill', name: 'primary_underfill', help: 'Hits missing of k', scale: 1 },
  { measure: 'shadow_underfill', name: 'shadow_underfill', help: 'Hits missing of k', scale: 1 },
  ...SCORE_QUANTILES.flatMap((quantile) =>
    (['primary', 'shadow'] as const).map((side) => ({
      measure: `${side}_score_${quantile}` as const,
      name: `${side}_score_${quantile}`,
      help: `The ${quantile} of the scores in an answer`,
      scale: 1,
    })),
  ),
  {
    measure: 'service_delta_us',
    name: 'service_delta_seconds',
    help: 'Service time of the shadow less that of the primary, without queueing, where neither was remembered; of one model: of the searches alone',
    scale: 1e-6,
  },
];

/**
 * The recorder's own distributions, read when Prometheus asks. Few series by construction: the recorder keeps a bounded
 * number of pairs of builds and forgets the one compared longest ago.
 */
export function observeComparisons(
  metrics: Metrics,
  recorder: ComparisonRecorder,
  corpora: () => readonly string[],
): void {
  const reports = (): readonly PairReport[] => corpora().flatMap((corpus) => recorder.report(corpus));
  for (const { measure, name, help, scale } of HISTOGRAMS)
    metrics.observeHistogram(
      `switchyard_comparison_${name}`,
      `Mirrored answer against the primary's: ${help}`,
      () => reports().map((report) => seriesOf(report, measure, scale)),
    );
  metrics.observeTotal('switchyard_comparison_compared_total', 'Answers compared since start', LABELS, () =>
    reports().map((report) => [labelsOf(report), report.compared] as const),
  );
  metrics.observeTotal(
    'switchyard_comparison_top1_matches_total',
    'Compared answers with the same first document, since start',
    LABELS,
    () => reports().map((report) => [labelsOf(report), report.top1Matches] as const),
  );
}

function seriesOf(report: PairReport, measure: ComparisonMeasure, scale: number): HistogramSeries {
  const { count, sum, buckets } = report.distributions[measure];
  return {
    labels: labelsOf(report),
    count,
    sum: sum * scale,
    buckets: buckets.map(({ le, count: inBucket }) => ({ le: le * scale, count: inBucket })),
  };
}

const labelsOf = ({ pair }: PairReport): PairLabels => ({
  corpus: pair.corpus,
  kind: pair.kind,
  primary: pair.primary.version,
  primary_build: digestPrefix(pair.primary.build),
  shadow: pair.shadow.version,
  shadow_build: digestPrefix(pair.shadow.build),
});
