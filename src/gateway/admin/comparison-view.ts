import type { ComparedTarget, PairReport, WorstQuery } from '../../router/comparison-recorder.js';
import type { DistributionReport } from '../../router/distribution.js';
import type { PairKind } from '../../router/pair-kind.js';
import { digestPrefix } from '../../vocabulary.js';
import type {
  ComparedTargetView,
  ComparisonView,
  DistributionView,
  PairView,
  WorstQueryView,
} from './comparison-views.js';

export function comparisonView(
  corpus: string,
  gatewayId: string,
  reports: readonly PairReport[],
): ComparisonView {
  const of = (kind: PairKind): readonly PairView[] =>
    reports.filter(({ pair }) => pair.kind === kind).map(pairView);
  return { corpus, gateway_id: gatewayId, pairs: of('candidate'), noise_floor: of('noise_floor') };
}

const pairView = (report: PairReport): PairView => ({
  primary: targetView(report.pair.primary),
  shadow: targetView(report.pair.shadow),
  compared: report.compared,
  top1_match_share: report.compared === 0 ? null : report.top1Matches / report.compared,
  shadow_shorter: report.shadowShorter,
  distributions: Object.fromEntries(
    Object.entries(report.distributions).map(([measure, value]) => [measure, distributionView(value)]),
  ),
  worst: report.worst.map(worstView),
});

const targetView = (target: ComparedTarget): ComparedTargetView => ({
  version: target.version,
  build: digestPrefix(target.build),
  model: target.model,
  fingerprint: target.fingerprint,
});

const distributionView = ({ count, sum, min, max, buckets }: DistributionReport): DistributionView => ({
  count,
  mean: count === 0 ? null : sum / count,
  min,
  max,
  buckets: buckets
    .filter((bucket) => bucket.count > 0)
    .map(({ le, count: inBucket }) => ({ le: Number.isFinite(le) ? le : null, count: inBucket })),
});

const worstView = (query: WorstQuery): WorstQueryView => ({
  query_hash: query.queryHash,
  text: query.text,
  k: query.k,
  rbo: query.rbo,
  overlap: query.overlap,
  jaccard: query.jaccard,
  primary_ids: query.primaryIds,
  shadow_ids: query.shadowIds,
  at: new Date(query.atMs).toISOString(),
});
