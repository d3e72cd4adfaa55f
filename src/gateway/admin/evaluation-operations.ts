import { Type } from '@sinclair/typebox';
import { GAINS, QUALITY_METRICS } from '../../registry/schema.js';
import {
  BegunEvaluationView,
  EvaluationComparisonView,
  EvaluationView,
  GoldenQueryView,
  GoldenSetView,
  QueryScoresView,
} from './evaluation-views.js';
import { operation } from './operation.js';
import { author, corpus, limit, version } from './router-operations.js';
import { closed, count, oneOf, text } from './schema-words.js';

const golden_set = text('Name of the golden set.');
const content_sha256 = text('SHA-256 of the whole content, 64 hex.');
const evaluation_id = text('As it was given when it began.');

/** Golden sets and evaluations arrive in parts, since either may be larger than one request. */
export const EVALUATION_OPERATIONS = {
  listGoldenSets: operation({
    method: 'GET',
    address: '/v1/golden-sets',
    summary: 'Golden sets, each name with its latest version first.',
    input: Type.Object({ golden_set: Type.Optional(text('Of this name only.')) }, closed),
    output: Type.Array(GoldenSetView),
    envelope: 'golden_sets',
    reasons: [],
  }),
  listGoldenQueries: operation({
    method: 'GET',
    address: '/v1/golden-sets/{golden_set}/queries',
    summary: 'Queries of a golden set with their judgements, by id.',
    input: Type.Object(
      {
        golden_set,
        number: Type.Optional(count('Which version; absent: the latest.')),
        after: Type.Optional(text('Only queries whose id follows this one.')),
        limit,
      },
      closed,
    ),
    output: Type.Array(GoldenQueryView),
    envelope: 'queries',
    reasons: ['UNKNOWN_GOLDEN_SET'],
  }),
  addGoldenQueries: operation({
    method: 'POST',
    address: '/v1/golden-sets/{golden_set}/queries',
    summary:
      'Add queries to the version that will have this content. Nobody sees it before it is sealed; the same again changes nothing.',
    input: Type.Object(
      { golden_set, content_sha256, queries: Type.Array(GoldenQueryView), ...author },
      closed,
    ),
    output: null,
    reasons: ['STATUS_CONFLICT'],
  }),
  sealGoldenSet: operation({
    method: 'POST',
    address: '/v1/golden-sets/{golden_set}:seal',
    summary:
      'Make what was added the next version, once it is what was announced. Content that is a version already is that version.',
    input: Type.Object(
      { golden_set, content_sha256, source: text('Where it was read from.'), ...author },
      closed,
    ),
    output: GoldenSetView,
    reasons: [],
  }),
  listEvaluations: operation({
    method: 'GET',
    address: '/v1/evaluations',
    summary: 'Finished evaluations, latest first.',
    input: Type.Object(
      {
        corpus: Type.Optional(text('Of this corpus only.')),
        version: Type.Optional(text('Of this version only.')),
        limit,
      },
      closed,
    ),
    output: Type.Array(EvaluationView),
    envelope: 'evaluations',
    reasons: [],
  }),
  beginEvaluation: operation({
    method: 'POST',
    address: '/v1/evaluations',
    summary: 'Begin an evaluation of one build of a version. Nobody sees it before it is finished.',
    input: Type.Object(
      {
        corpus,
        version,
        build: text('Digest or at least 8 characters of it: what served the answers.'),
        golden_set,
        number: count('Which version of it.'),
        k: count('Of recall@k.'),
        depth: count('Documents asked for, for MAP; at least k and 10.'),
        gain: oneOf(GAINS),
        ...author,
      },
      closed,
    ),
    output: BegunEvaluationView,
    reasons: ['UNKNOWN_CORPUS', 'UNKNOWN_CORPUS_VERSION', 'UNKNOWN_BUILD', 'UNKNOWN_GOLDEN_SET'],
  }),
  addEvaluationScores: operation({
    method: 'POST',
    address: '/v1/evaluations/{evaluation_id}/scores',
    summary: 'Scores of queries, each from 0 to 1. The same again changes nothing.',
    input: Type.Object({ evaluation_id, scores: Type.Array(QueryScoresView), ...author }, closed),
    output: null,
    reasons: ['UNKNOWN_EVALUATION', 'STATUS_CONFLICT'],
  }),
  finishEvaluation: operation({
    method: 'POST',
    address: '/v1/evaluations/{evaluation_id}:finish',
    summary: 'Take the means, once every query of the golden set has its scores.',
    input: Type.Object({ evaluation_id, ...author }, closed),
    output: EvaluationView,
    reasons: ['UNKNOWN_EVALUATION'],
  }),
  compareEvaluations: operation({
    method: 'POST',
    address: '/v1/evaluations/{evaluation_id}:compare',
    summary: 'A candidate against a baseline, query by query: difference, interval, verdict.',
    input: Type.Object(
      {
        evaluation_id: text('The candidate.'),
        baseline: text('Id of the evaluation it is compared with; of the same golden set.'),
        metric: Type.Optional(oneOf(QUALITY_METRICS, 'Absent: ndcg.')),
        margin: Type.Optional(Type.Number({ description: 'δ, absolute. Absent: 0.02.' })),
        confidence: Type.Optional(
          Type.Number({ description: 'Two-sided. Absent: 0.9, two one-sided tests of 5 %.' }),
        ),
      },
      closed,
    ),
    output: EvaluationComparisonView,
    reasons: ['UNKNOWN_EVALUATION'],
  }),
};
