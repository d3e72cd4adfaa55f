import { compareEvaluations, type EvaluationComparison } from '../../lifecycle/evaluation/compare.js';
import type { Evaluation } from '../../registry/evaluations.js';
import type { GoldenQuery, GoldenSet } from '../../registry/golden-sets.js';
import type { Registry } from '../../registry/registry.js';
import { digestPrefix } from '../../vocabulary.js';
import { invalidArgument } from '../limits.js';
import { listLimit } from './callers.js';
import type { EVALUATION_OPERATIONS } from './evaluation-operations.js';
import type {
  EvaluationComparisonView,
  EvaluationView,
  GoldenQueryView,
  GoldenSetView,
} from './evaluation-views.js';
import type { InputOf, OutputOf } from './operation.js';

type Operations = typeof EVALUATION_OPERATIONS;
type Input<Name extends keyof Operations> = InputOf<Operations[Name]>;
type Answer<Name extends keyof Operations> = Promise<OutputOf<Operations[Name]>>;

/** The operations on golden sets and evaluations, over the registry. */
export const evaluationAdmin = (registry: () => Registry) => ({
  listGoldenSets: async ({ golden_set }: Input<'listGoldenSets'> = {}): Answer<'listGoldenSets'> =>
    (await registry().goldenSets.list(golden_set === undefined ? {} : { name: golden_set })).map(
      goldenSetView,
    ),

  listGoldenQueries: async (input: Input<'listGoldenQueries'>): Answer<'listGoldenQueries'> => {
    const { goldenSets } = registry();
    const { goldenSetId } = await goldenSets.get(input.golden_set, input.number ?? null);
    const page = { after: input.after ?? null, limit: listLimit(input.limit) };
    return (await goldenSets.queries(goldenSetId, page)).map(goldenQueryView);
  },

  addGoldenQueries: async (input: Input<'addGoldenQueries'>): Answer<'addGoldenQueries'> => {
    await registry().goldenSets.addQueries(
      input.golden_set,
      input.content_sha256,
      input.queries.map(goldenQueryOf),
    );
    return undefined;
  },

  sealGoldenSet: async (input: Input<'sealGoldenSet'>): Answer<'sealGoldenSet'> =>
    goldenSetView(
      await registry().goldenSets.seal(input.golden_set, input.content_sha256, input.source, authorOf(input)),
    ),

  listEvaluations: async (input: Input<'listEvaluations'> = {}): Answer<'listEvaluations'> => {
    const { corpus, version } = input;
    const evaluations = await registry().evaluations.list({
      limit: listLimit(input.limit),
      ...(corpus === undefined ? {} : { corpus }),
      ...(version === undefined ? {} : { version }),
    });
    return evaluations.map(evaluationView);
  },

  beginEvaluation: async (input: Input<'beginEvaluation'>): Answer<'beginEvaluation'> => {
    const { corpus, version, k, depth, gain } = input;
    const { goldenSets, builds, evaluations } = registry();
    if (!Number.isInteger(k) || !Number.isInteger(depth) || k < 1 || depth < Math.max(k, 10) || depth > 1_000)
      throw invalidArgument(
        'depth',
        `depth ${depth} must be a whole number, at least k (${k}) and 10, at most 1000`,
      );
    const { goldenSetId } = await goldenSets.get(input.golden_set, input.number);
    const { digest } = await builds.get({ corpus, version }, input.build);
    return {
      evaluation_id: await evaluations.begin({ corpus, version, build: digest, goldenSetId, k, depth, gain }),
    };
  },

  addEvaluationScores: async (input: Input<'addEvaluationScores'>): Answer<'addEvaluationScores'> => {
    const scores = new Map(input.scores.map(({ query_id, ...values }) => [query_id, values]));
    await registry().evaluations.addScores(input.evaluation_id, scores);
    return undefined;
  },

  finishEvaluation: async (input: Input<'finishEvaluation'>): Answer<'finishEvaluation'> =>
    evaluationView(await registry().evaluations.finish(input.evaluation_id, authorOf(input))),

  compareEvaluations: async (input: Input<'compareEvaluations'>): Answer<'compareEvaluations'> => {
    const { metric, margin, confidence } = input;
    const { evaluations } = registry();
    const scored = async (evaluationId: string) => ({
      ...(await evaluations.get(evaluationId)),
      scores: await evaluations.scores(evaluationId),
    });
    const compared = await compareEvaluations(
      await scored(input.baseline),
      await scored(input.evaluation_id),
      {
        ...(metric === undefined ? {} : { metric }),
        ...(margin === undefined ? {} : { marginAbsolute: margin }),
        ...(confidence === undefined ? {} : { confidence }),
      },
    );
    return evaluationComparisonView(compared);
  },
});

const authorOf = ({ actor, reason }: { readonly actor: string; readonly reason: string }) => ({
  actor,
  reason,
});

const goldenSetView = (set: GoldenSet): GoldenSetView => ({
  name: set.name,
  number: set.number,
  content_sha256: set.contentSha256,
  source: set.source,
  queries: set.queryCount,
  judgements: set.judgementCount,
  created_at: set.sealedAt.toISOString(),
});

export const goldenQueryView = ({ id, text, judgements }: GoldenQuery): GoldenQueryView => ({
  query_id: id,
  text,
  judgements: [...judgements].map(([document_id, grade]) => ({ document_id, grade })),
});

export const goldenQueryOf = ({ query_id, text, judgements }: GoldenQueryView): GoldenQuery => ({
  id: query_id,
  text,
  judgements: new Map(judgements.map(({ document_id, grade }) => [document_id, grade])),
});

const evaluationView = (evaluation: Evaluation): EvaluationView => ({
  evaluation_id: evaluation.evaluationId,
  corpus: evaluation.corpus,
  version: evaluation.version,
  build: digestPrefix(evaluation.build),
  model: evaluation.modelRef,
  fingerprint: evaluation.fingerprint,
  golden_set: evaluation.goldenSet.name,
  golden_set_number: evaluation.goldenSet.number,
  k: evaluation.k,
  depth: evaluation.depth,
  gain: evaluation.gain,
  queries: evaluation.queryCount,
  means: evaluation.means,
  finished_at: evaluation.finishedAt.toISOString(),
});

const evaluationComparisonView = (compared: EvaluationComparison): EvaluationComparisonView => ({
  verdict: compared.verdict,
  metric: compared.metric,
  queries: compared.queryCount,
  baseline: compared.baseline,
  candidate: compared.candidate,
  difference: compared.difference,
  low: compared.interval.low,
  high: compared.interval.high,
  confidence: compared.confidence,
  margin: compared.marginAbsolute,
  paired_sd: compared.pairedSd,
  wins: compared.wins,
  ties: compared.ties,
  losses: compared.losses,
  non_inferior: compared.isNonInferior,
  queries_needed: compared.queriesNeeded,
  queries_needed_for_equivalence: compared.queriesNeededForEquivalence,
  judged_at_10_baseline: compared.judgedAt10.baseline,
  judged_at_10_candidate: compared.judgedAt10.candidate,
  warnings: compared.warnings,
  worst: compared.worst.map(({ queryId, baseline, candidate }) => ({
    query_id: queryId,
    baseline,
    candidate,
  })),
});
