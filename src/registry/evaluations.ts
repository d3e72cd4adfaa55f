import { SwitchyardError } from '../errors.js';
import type { Digest, Fingerprint } from '../vocabulary.js';
import { modelRef } from '../vocabulary.js';
import { type ChangeAuthor, checkAuthor, recordChange } from './changes.js';
import { type CorpusVersionName, getVersion } from './corpus-versions.js';
import type { Database, Tables } from './database.js';
import { type Gain, QUALITY_METRICS, type QualityMetric } from './schema.js';

/** How a golden set was put to a version. Two evaluations compare only where these are the same. */
export interface EvaluationSettings {
  readonly goldenSetId: string;
  /** Of recall@k. */
  readonly k: number;
  /** Documents asked for, for MAP. */
  readonly depth: number;
  readonly gain: Gain;
}

export type QueryScores = Readonly<Record<QualityMetric, number>>;

/** A finished evaluation of one build of a corpus version. */
export interface Evaluation extends CorpusVersionName, EvaluationSettings {
  readonly evaluationId: string;
  readonly build: Digest;
  readonly modelRef: string;
  readonly fingerprint: Fingerprint;
  readonly goldenSet: { readonly name: string; readonly number: number };
  /** Over all queries of the golden set. */
  readonly means: QueryScores;
  readonly queryCount: number;
  readonly finishedAt: Date;
}

export interface NewEvaluation extends CorpusVersionName, EvaluationSettings {
  readonly build: Digest;
}

const SCORES_PER_STATEMENT = 2_000;

export class Evaluations {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Its id. Nobody sees it before it is finished. Errors: UNKNOWN_CORPUS(_VERSION), UNKNOWN_GOLDEN_SET, UNKNOWN_BUILD. */
  async begin(evaluation: NewEvaluation): Promise<string> {
    return this.#database.change(async (transaction) => {
      const version = await getVersion(transaction, evaluation);
      const set = await transaction
        .selectFrom('golden_sets')
        .select('golden_set_id')
        .where('golden_set_id', '=', evaluation.goldenSetId)
        .where('sealed_at', 'is not', null)
        .executeTakeFirst();
      if (set === undefined)
        throw new SwitchyardError('UNKNOWN_GOLDEN_SET', 'there is no such version of a golden set');
      const { evaluation_id } = await transaction
        .insertInto('evaluations')
        .values({
          golden_set_id: set.golden_set_id,
          corpus_version_id: version.corpusVersionId,
          build_digest: evaluation.build,
          k: evaluation.k,
          depth: evaluation.depth,
          gain: evaluation.gain,
        })
        .returning('evaluation_id')
        .executeTakeFirstOrThrow();
      return evaluation_id;
    });
  }

  /** Query id → scores, each from 0 to 1. Errors: UNKNOWN_EVALUATION, STATUS_CONFLICT when finished, INVALID_ARGUMENT. */
  async addScores(evaluationId: string, scores: ReadonlyMap<string, QueryScores>): Promise<void> {
    checkId(evaluationId);
    await this.#database.change(async (transaction) => {
      const begun = await transaction
        .selectFrom('evaluations')
        .select('finished_at')
        .where('evaluation_id', '=', evaluationId)
        .executeTakeFirst();
      if (begun === undefined) throw unknownEvaluation(evaluationId);
      if (scores.size === 0) return;
      await transaction
        .insertInto('evaluation_scores')
        .values(
          [...scores].map(([queryId, { recall, mrr, ndcg, map, judged }]) => ({
            evaluation_id: evaluationId,
            query_id: queryId,
            recall,
            mrr,
            ndcg,
            map,
            judged,
          })),
        )
        .onConflict((conflict) => conflict.columns(['evaluation_id', 'query_id']).doNothing())
        .execute();
    });
  }

  /**
   * Once every query of the golden set has its scores, and no other has: the means are taken here.
   * Errors: UNKNOWN_EVALUATION, INVALID_ARGUMENT when scores are missing or of other queries.
   */
  async finish(evaluationId: string, author: ChangeAuthor): Promise<Evaluation> {
    checkAuthor(author);
    checkId(evaluationId);
    return this.#database.change(async (transaction) => {
      const begun = await transaction
        .selectFrom('evaluations')
        .select(['golden_set_id', 'finished_at'])
        .where('evaluation_id', '=', evaluationId)
        .forUpdate()
        .executeTakeFirst();
      if (begun === undefined) throw unknownEvaluation(evaluationId);
      if (begun.finished_at !== null) return getEvaluation(transaction, evaluationId);
      const scores = await readScores(transaction, evaluationId);
      const queries = await transaction
        .selectFrom('golden_queries')
        .select('query_id')
        .where('golden_set_id', '=', begun.golden_set_id)
        .execute();
      const missing = queries.filter(({ query_id }) => !scores.has(query_id)).length;
      const foreign = scores.size - (queries.length - missing);
      if (missing > 0 || foreign > 0)
        throw new SwitchyardError(
          'INVALID_ARGUMENT',
          `the evaluation is not whole: ${missing} of ${queries.length} queries have no scores, ${foreign} scores are of other queries`,
        );
      const means = meansOf([...scores.values()]);
      await transaction
        .updateTable('evaluations')
        .set({ means: JSON.stringify(means), query_count: scores.size, finished_at: new Date() })
        .where('evaluation_id', '=', evaluationId)
        .execute();
      const finished = await getEvaluation(transaction, evaluationId);
      await recordChange(transaction, {
        ...author,
        subject: `evaluation ${finished.corpus}/${finished.version}`,
        before: null,
        after: {
          evaluation_id: evaluationId,
          golden_set: `${finished.goldenSet.name}@${finished.goldenSet.number}`,
          build: finished.build,
          means,
        },
      });
      return finished;
    });
  }

  /** A whole evaluation at once. Errors: those of `begin`, `addScores` and `finish`. */
  async record(
    evaluation: NewEvaluation,
    scores: ReadonlyMap<string, QueryScores>,
    author: ChangeAuthor,
  ): Promise<Evaluation> {
    const evaluationId = await this.begin(evaluation);
    const entries = [...scores];
    for (let at = 0; at < entries.length; at += SCORES_PER_STATEMENT)
      await this.addScores(evaluationId, new Map(entries.slice(at, at + SCORES_PER_STATEMENT)));
    return this.finish(evaluationId, author);
  }

  /** Latest first. */
  async list(
    filter: { readonly corpus?: string; readonly version?: string; readonly limit?: number } = {},
  ): Promise<readonly Evaluation[]> {
    const rows = await this.#database.read((tables) => {
      let query = selectEvaluations(tables).orderBy('e.finished_at', 'desc');
      if (filter.corpus !== undefined) query = query.where('v.corpus_name', '=', filter.corpus);
      if (filter.version !== undefined) query = query.where('v.label', '=', filter.version);
      return query.limit(filter.limit ?? 100).execute();
    });
    return rows.map(toEvaluation);
  }

  /** Errors: UNKNOWN_EVALUATION. */
  async get(evaluationId: string): Promise<Evaluation> {
    checkId(evaluationId);
    return this.#database.read((tables) => getEvaluation(tables, evaluationId));
  }

  /** Of every query. Errors: UNKNOWN_EVALUATION. */
  async scores(evaluationId: string): Promise<ReadonlyMap<string, QueryScores>> {
    await this.get(evaluationId);
    return this.#database.read((tables) => readScores(tables, evaluationId));
  }
}

export function meansOf(scores: readonly QueryScores[]): QueryScores {
  const mean = (metric: QualityMetric): number =>
    scores.reduce((sum, one) => sum + one[metric], 0) / Math.max(1, scores.length);
  const entries = QUALITY_METRICS.map((metric) => [metric, mean(metric)] as const);
  return Object.fromEntries(entries) as Record<QualityMetric, number>;
}

async function readScores(tables: Tables, evaluationId: string): Promise<ReadonlyMap<string, QueryScores>> {
  const rows = await tables
    .selectFrom('evaluation_scores')
    .selectAll()
    .where('evaluation_id', '=', evaluationId)
    .orderBy('query_id')
    .execute();
  return new Map(
    rows.map(({ query_id, recall, mrr, ndcg, map, judged }) => [
      query_id,
      { recall, mrr, ndcg, map, judged },
    ]),
  );
}

function checkId(evaluationId: string): void {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(evaluationId))
    throw unknownEvaluation(evaluationId);
}

const unknownEvaluation = (evaluationId: string): SwitchyardError =>
  new SwitchyardError(
    'UNKNOWN_EVALUATION',
    `there is no evaluation ${evaluationId.slice(0, 80)}: \`switchyard eval list\` shows them`,
  );

async function getEvaluation(tables: Tables, evaluationId: string): Promise<Evaluation> {
  const row = await selectEvaluations(tables).where('e.evaluation_id', '=', evaluationId).executeTakeFirst();
  if (row === undefined) throw unknownEvaluation(evaluationId);
  return toEvaluation(row);
}

const selectEvaluations = (tables: Tables) =>
  tables
    .selectFrom('evaluations as e')
    .innerJoin('golden_sets as g', 'g.golden_set_id', 'e.golden_set_id')
    .innerJoin('embedding_corpus_versions as v', 'v.corpus_version_id', 'e.corpus_version_id')
    .innerJoin('embedding_models as m', 'm.model_id', 'v.model_id')
    .selectAll('e')
    .select([
      'g.name as golden_name',
      'g.number as golden_number',
      'v.corpus_name',
      'v.label',
      'm.model_name',
      'm.model_version',
      'm.fingerprint',
    ])
    .where('e.finished_at', 'is not', null);

function toEvaluation(
  row: Awaited<ReturnType<ReturnType<typeof selectEvaluations>['execute']>>[number],
): Evaluation {
  return Object.freeze({
    evaluationId: row.evaluation_id,
    corpus: row.corpus_name,
    version: row.label,
    build: row.build_digest as Digest,
    modelRef: modelRef({ name: row.model_name, version: row.model_version }),
    fingerprint: row.fingerprint as Fingerprint,
    goldenSetId: row.golden_set_id,
    goldenSet: { name: row.golden_name, number: row.golden_number ?? 0 },
    k: row.k,
    depth: row.depth,
    gain: row.gain,
    means: row.means ?? meansOf([]),
    queryCount: row.query_count ?? 0,
    finishedAt: row.finished_at ?? row.created_at,
  });
}
