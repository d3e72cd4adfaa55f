import { Type } from '@sinclair/typebox';
import { VERDICTS } from '../../lifecycle/evaluation/compare.js';
import { GAINS, QUALITY_METRICS } from '../../registry/schema.js';
import { closed, count, oneOf, type Plain, text, time } from './schema-words.js';

const share = (description: string) => Type.Number({ minimum: 0, maximum: 1, description });

export const GoldenSetView = Type.Object(
  {
    name: Type.String(),
    number: count('Running number of its name, from 1.'),
    content_sha256: text('Of its queries and judgements, in whatever order.'),
    source: text('Where it was read from.'),
    queries: count('Each with at least one relevant document.'),
    judgements: count('Documents that somebody looked at.'),
    created_at: time('When it was sealed.'),
  },
  { ...closed, description: 'A version of a golden set; it never changes.' },
);
export type GoldenSetView = Plain<typeof GoldenSetView>;

export const GoldenQueryView = Type.Object(
  {
    query_id: Type.String(),
    text: Type.String(),
    judgements: Type.Array(Type.Object({ document_id: Type.String(), grade: Type.Integer() }, closed), {
      description: 'Above 0 is relevant; 0 and below were looked at and are not.',
    }),
  },
  closed,
);
export type GoldenQueryView = Plain<typeof GoldenQueryView>;

const scores = {
  recall: share('Share of the relevant documents among the first k.'),
  mrr: share('One over the rank of the first relevant document among ten.'),
  ndcg: share('nDCG@10.'),
  map: share('Average precision of the answer of `depth` documents.'),
  judged: share('Share of the first ten documents that were judged.'),
};
export const QualityScores = Type.Object(scores, closed);
export type QualityScores = Plain<typeof QualityScores>;

export const QueryScoresView = Type.Object({ query_id: Type.String(), ...scores }, closed);
export type QueryScoresView = Plain<typeof QueryScoresView>;

export const EvaluationView = Type.Object(
  {
    evaluation_id: Type.String(),
    corpus: Type.String(),
    version: Type.String(),
    build: text('Digest prefix.'),
    model: text('name@version'),
    fingerprint: Type.String(),
    golden_set: Type.String(),
    golden_set_number: count('Which version of it.'),
    k: count('Of recall@k.'),
    depth: count('Documents asked for, for MAP.'),
    gain: oneOf(GAINS),
    queries: count('All of the golden set.'),
    means: QualityScores,
    finished_at: time('When.'),
  },
  closed,
);
export type EvaluationView = Plain<typeof EvaluationView>;

export const BegunEvaluationView = Type.Object({ evaluation_id: Type.String() }, closed);
export type BegunEvaluationView = Plain<typeof BegunEvaluationView>;

const LostQueryView = Type.Object(
  { query_id: Type.String(), baseline: share('Its score.'), candidate: share('Its score.') },
  closed,
);

export const EvaluationComparisonView = Type.Object(
  {
    verdict: oneOf(
      VERDICTS,
      'equivalent: the interval lies within ±margin; better, worse: above, below 0; else underpowered.',
    ),
    metric: oneOf(QUALITY_METRICS),
    queries: count('Pairs.'),
    baseline: share('Mean.'),
    candidate: share('Mean.'),
    difference: Type.Number({ description: 'Candidate minus baseline.' }),
    low: Type.Number({ description: 'Lower end of the interval of the difference.' }),
    high: Type.Number({ description: 'Upper end.' }),
    confidence: share('Of the interval, two-sided.'),
    margin: share('In the units of the metric.'),
    paired_sd: Type.Number({ description: "Standard deviation of the queries' differences." }),
    wins: count('Queries that the candidate answers better.'),
    ties: count('Alike.'),
    losses: count('Worse.'),
    non_inferior: Type.Boolean({ description: 'A loss of the margin or more is ruled out.' }),
    queries_needed: count('To see a loss of the margin with 80 % power.'),
    queries_needed_for_equivalence: count('To show that two that do not differ do not, with 80 % power.'),
    judged_at_10_baseline: share('Mean.'),
    judged_at_10_candidate: share('Mean.'),
    warnings: Type.Array(Type.String()),
    worst: Type.Array(LostQueryView, { description: 'The queries that lost most.' }),
  },
  closed,
);
export type EvaluationComparisonView = Plain<typeof EvaluationComparisonView>;
