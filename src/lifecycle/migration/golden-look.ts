import { SwitchyardError } from '../../errors.js';
import type { GoldenQuery, GoldenSet } from '../../registry/golden-sets.js';
import { parseGoldenSetName } from '../../registry/golden-sets.js';
import type { Registry } from '../../registry/registry.js';
import type { QualityMetric } from '../../registry/schema.js';
import { type Digest, digestPrefix } from '../../vocabulary.js';
import { compareEvaluations, gateConfidence, type ScoredVersion } from '../evaluation/compare.js';
import { CONCURRENCY_DEFAULT, DEPTH_DEFAULT, evaluateVersion } from '../evaluation/evaluate.js';
import type { VersionSearch } from '../evaluation/version-search.js';
import type { GoldenFinding, GoldenRequest, Work } from './ports.js';

const K = 10;
const GAIN = 'graded';
const SCORES_PER_STATEMENT = 500;
const AUTHOR = 'migration';
const METRICS: Readonly<Record<GoldenRequest['metric'], QualityMetric>> = {
  'ndcg@10': 'ndcg',
  'mrr@10': 'mrr',
  'recall@10': 'recall',
  map: 'map',
};

/**
 * Asks both versions every question of a golden set by the way of clients' searches, pinned and in the bulk lane,
 * writes both evaluations down, and compares them query by query. Null: there is no such golden set.
 * Errors: those of searching and of the registry; STATUS_CONFLICT when another build of a version answered than the one
 * that the migration started from, or verified; what the signal was aborted with.
 */
export async function lookAtGoldenSet(
  registry: Registry,
  search: VersionSearch,
  request: GoldenRequest,
  work: Work,
): Promise<GoldenFinding | null> {
  const { corpus, fromVersion, toVersion, fromBuild, toBuild, metric, margin, looks } = request;
  const set = await findSet(registry, request.goldenSet ?? corpus);
  if (set === null) return null;
  const questions = await registry.goldenSets.allQueries(set.goldenSetId);
  const total = 2 * questions.length;
  const evaluated = async (version: string, build: Digest, doneBefore: number): Promise<ScoredVersion> => {
    const found = await evaluateVersion(
      { version, queries: questions, k: K, depth: DEPTH_DEFAULT, gain: GAIN },
      {
        search,
        concurrency: CONCURRENCY_DEFAULT,
        signal: work.signal,
        onQuery: (done) =>
          work.onProgress({ what: 'golden queries', done: doneBefore + done, total, etaMs: null }),
      },
    );
    refuseOther(`${corpus}/${version}`, found.servedBy.build, build);
    const { goldenSetId } = set;
    const evaluationId = await registry.evaluations.begin({
      corpus,
      version,
      build,
      goldenSetId,
      k: K,
      depth: DEPTH_DEFAULT,
      gain: GAIN,
    });
    const scores = [...found.scores];
    for (let at = 0; at < scores.length; at += SCORES_PER_STATEMENT)
      await registry.evaluations.addScores(
        evaluationId,
        new Map(scores.slice(at, at + SCORES_PER_STATEMENT)),
      );
    await registry.evaluations.finish(evaluationId, {
      actor: AUTHOR,
      reason: `the migration of ${corpus} from ${fromVersion} to ${toVersion}`,
    });
    return { goldenSetId, k: K, depth: DEPTH_DEFAULT, gain: GAIN, scores: found.scores };
  };
  // The one that may be refused comes first.
  const candidate = await evaluated(toVersion, toBuild, 0);
  const baseline = await evaluated(fromVersion, fromBuild, questions.length);
  const compared = await compareEvaluations(baseline, candidate, {
    metric: METRICS[metric],
    marginAbsolute: margin,
    confidence: gateConfidence(looks),
  });
  const texts = new Map(questions.map(({ id, text }: GoldenQuery) => [id, text]));
  return {
    golden_set: `${set.name}@${set.number}`,
    metric,
    verdict: compared.verdict,
    is_non_inferior: compared.isNonInferior,
    baseline: compared.baseline,
    candidate: compared.candidate,
    difference: compared.difference,
    low: compared.interval.low,
    high: compared.interval.high,
    confidence: compared.confidence,
    margin: compared.marginAbsolute,
    query_count: compared.queryCount,
    queries_needed: compared.queriesNeeded,
    judged_at_10: compared.judgedAt10,
    warnings: compared.warnings,
    worst: compared.worst.map((query) => ({
      query_id: query.queryId,
      text: texts.get(query.queryId) ?? '',
      baseline: query.baseline,
      candidate: query.candidate,
    })),
  };
}

/** `answered` may be a prefix. Errors: STATUS_CONFLICT. */
function refuseOther(version: string, answered: string, wanted: Digest): void {
  if (answered !== '' && wanted.startsWith(answered)) return;
  throw new SwitchyardError(
    'STATUS_CONFLICT',
    `build ${answered.slice(0, 16)} of ${version} answered the golden queries, but ${digestPrefix(wanted)} is the one that is migrated: nothing was judged; resume asks again`,
  );
}

async function findSet(registry: Registry, wanted: string): Promise<GoldenSet | null> {
  const { name, number } = parseGoldenSetName(wanted);
  try {
    return await registry.goldenSets.get(name, number);
  } catch (error) {
    if (error instanceof SwitchyardError && error.reason === 'UNKNOWN_GOLDEN_SET') return null;
    throw error;
  }
}
