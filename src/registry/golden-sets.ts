import { createHash } from 'node:crypto';
import { sql } from 'kysely';
import { SwitchyardError } from '../errors.js';
import { isCorpusName } from '../vocabulary.js';
import { type ChangeAuthor, checkAuthor, recordChange } from './changes.js';
import type { Database, RegistryTransaction, Tables } from './database.js';

/** One question of a golden set, and what people said of documents that might answer it. */
export interface GoldenQuery {
  readonly id: string;
  readonly text: string;
  /** Document id → grade. Above 0 is relevant; 0 and below were looked at and are not. */
  readonly judgements: ReadonlyMap<string, number>;
}

/** A sealed version of a golden set: its content never changes. */
export interface GoldenSet {
  readonly goldenSetId: string;
  readonly name: string;
  /** Running number of its name, from 1. */
  readonly number: number;
  readonly contentSha256: string;
  /** Where it was read from, e.g. the name of a folder. */
  readonly source: string;
  readonly queryCount: number;
  readonly judgementCount: number;
  readonly sealedAt: Date;
}

export const GOLDEN_QUERIES_MAX = 50_000;
export const QUERY_ID_BYTES_MAX = 512;
const GRADE_MAX = 1_000;
const JUDGEMENTS_PER_QUERY_MAX = 5_000;
const SOURCE_LENGTH_MAX = 512;
const ABANDONED_AFTER = '1 day';
/** What PostgreSQL takes in no text. */
const UNSTORABLE = /\0|\p{Surrogate}/u;

/** Of one query, whatever order its judgements came in. */
export function goldenQuerySha256({ id, text, judgements }: GoldenQuery): string {
  const sorted = [...judgements].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return createHash('sha256')
    .update(JSON.stringify([id, text, sorted]))
    .digest('hex');
}

/** Of a whole set, whatever order its queries came in: the same questions and judgements are the same version. */
export const goldenSetSha256 = (queries: readonly GoldenQuery[]): string =>
  hashOf(queries.map(goldenQuerySha256));

function hashOf(queryHashes: readonly string[]): string {
  const hash = createHash('sha256');
  for (const one of [...queryHashes].sort()) hash.update(one);
  return hash.digest('hex');
}

/** `name`, or `name@number`. Errors: INVALID_ARGUMENT. */
export function parseGoldenSetName(text: string): { readonly name: string; readonly number: number | null } {
  const [name = '', number, ...rest] = text.split('@');
  const isNumber = number === undefined || /^[1-9]\d{0,8}$/.test(number);
  if (isCorpusName(name) && isNumber && rest.length === 0)
    return { name, number: number === undefined ? null : Number(number) };
  throw new SwitchyardError(
    'INVALID_ARGUMENT',
    `${JSON.stringify(text.slice(0, 80))} is no golden set: a name of lower-case letters, digits, _ and -, with @<number> for one of its versions`,
  );
}

export class GoldenSets {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * Adds queries to the set that will have this content; the same again changes nothing, so an interrupted import is
   * started once more. Nobody sees the set before it is sealed. Errors: INVALID_ARGUMENT, STATUS_CONFLICT when sealed.
   */
  async addQueries(name: string, contentSha256: string, queries: readonly GoldenQuery[]): Promise<void> {
    checkName(name);
    for (const query of queries) checkGoldenQuery(query);
    await this.#database.change(async (transaction) => {
      const goldenSetId = await beginSet(transaction, name, contentSha256);
      if (queries.length === 0) return;
      await transaction
        .insertInto('golden_queries')
        .values(
          queries.map((query) => ({
            golden_set_id: goldenSetId,
            query_id: query.id,
            text: query.text,
            judgements: JSON.stringify(Object.fromEntries(query.judgements)),
            sha256: goldenQuerySha256(query),
          })),
        )
        .onConflict((conflict) => conflict.columns(['golden_set_id', 'query_id']).doNothing())
        .execute();
    });
  }

  /**
   * Makes what was added a version, once it is what it was announced to be; the same content again is the version that
   * there is. Errors: INVALID_ARGUMENT when it is not whole, or asks nothing.
   */
  async seal(name: string, contentSha256: string, source: string, author: ChangeAuthor): Promise<GoldenSet> {
    checkName(name);
    checkAuthor(author);
    return this.#database.change(async (transaction) => {
      // One version of a name at a time, so that the numbers are running.
      await sql`SELECT pg_advisory_xact_lock(hashtextextended(${`golden set ${name}`}, 0))`.execute(
        transaction,
      );
      const known = await selectSets(transaction)
        .where('name', '=', name)
        .where('content_sha256', '=', contentSha256)
        .executeTakeFirst();
      if (known !== undefined) return toGoldenSet(known);
      const begun = await transaction
        .selectFrom('golden_sets')
        .select('golden_set_id')
        .where('name', '=', name)
        .where('content_sha256', '=', contentSha256)
        .forUpdate()
        .executeTakeFirst();
      const goldenSetId = begun?.golden_set_id ?? null;
      const rows =
        goldenSetId === null
          ? []
          : await transaction
              .selectFrom('golden_queries')
              .select([
                'sha256',
                sql<number>`(SELECT count(*) FROM jsonb_object_keys(judgements))::int`.as('judged'),
              ])
              .where('golden_set_id', '=', goldenSetId)
              .execute();
      if (
        goldenSetId === null ||
        rows.length === 0 ||
        hashOf(rows.map(({ sha256 }) => sha256)) !== contentSha256
      )
        throw new SwitchyardError(
          'INVALID_ARGUMENT',
          `golden set ${name} is not whole: ${rows.length} queries are there, and they are not the announced content; import it again`,
          { details: { queries: String(rows.length) } },
        );
      const last = await transaction
        .selectFrom('golden_sets')
        .select(({ fn }) => fn.max('number').as('number'))
        .where('name', '=', name)
        .executeTakeFirst();
      await transaction
        .updateTable('golden_sets')
        .set({
          number: (last?.number ?? 0) + 1,
          source: source.slice(0, SOURCE_LENGTH_MAX),
          query_count: rows.length,
          judgement_count: rows.reduce((sum, { judged }) => sum + judged, 0),
          sealed_at: new Date(),
        })
        .where('golden_set_id', '=', goldenSetId)
        .execute();
      const sealed = toGoldenSet(
        await selectSets(transaction).where('golden_set_id', '=', goldenSetId).executeTakeFirstOrThrow(),
      );
      await recordChange(transaction, {
        ...author,
        subject: `golden_set ${name}@${sealed.number}`,
        before: null,
        after: {
          content_sha256: contentSha256,
          queries: sealed.queryCount,
          judgements: sealed.judgementCount,
          source: sealed.source,
        },
      });
      return sealed;
    });
  }

  /** A whole set at once. Errors: those of `addQueries` and `seal`. */
  async add(
    name: string,
    queries: readonly GoldenQuery[],
    source: string,
    author: ChangeAuthor,
  ): Promise<GoldenSet> {
    const sha256 = goldenSetSha256(queries);
    const known = (await this.list({ name })).find(({ contentSha256 }) => contentSha256 === sha256);
    if (known !== undefined) return known;
    for (let at = 0; at < queries.length; at += QUERIES_PER_STATEMENT)
      await this.addQueries(name, sha256, queries.slice(at, at + QUERIES_PER_STATEMENT));
    return this.seal(name, sha256, source, author);
  }

  /** By name, latest version first. */
  async list(filter: { readonly name?: string } = {}): Promise<readonly GoldenSet[]> {
    const rows = await this.#database.read((tables) => {
      const query = selectSets(tables).orderBy('name').orderBy('number', 'desc');
      return (filter.name === undefined ? query : query.where('name', '=', filter.name)).execute();
    });
    return rows.map(toGoldenSet);
  }

  /** The latest version, or the numbered one. Errors: UNKNOWN_GOLDEN_SET. */
  async get(name: string, number: number | null): Promise<GoldenSet> {
    const versions = await this.list({ name });
    const found = number === null ? versions[0] : versions.find((version) => version.number === number);
    if (found !== undefined) return found;
    throw new SwitchyardError(
      'UNKNOWN_GOLDEN_SET',
      versions.length === 0
        ? `there is no golden set ${name.slice(0, 80)}: import it with \`switchyard eval golden import\``
        : `golden set ${name} has no version ${number}; it has ${versions.map((version) => version.number).join(', ')}`,
    );
  }

  /** By query id, bytewise; the queries after `after`. */
  async queries(
    goldenSetId: string,
    page: { readonly after: string | null; readonly limit: number },
  ): Promise<readonly GoldenQuery[]> {
    const rows = await this.#database.read((tables) => {
      const query = tables
        .selectFrom('golden_queries')
        .select(['query_id', 'text', 'judgements'])
        .where('golden_set_id', '=', goldenSetId)
        .orderBy(sql`query_id COLLATE "C"`)
        .limit(page.limit);
      return (
        page.after === null ? query : query.where(sql<boolean>`query_id COLLATE "C" > ${page.after}`)
      ).execute();
    });
    return rows.map((row) => ({
      id: row.query_id,
      text: row.text,
      judgements: new Map(Object.entries(row.judgements)),
    }));
  }

  async allQueries(goldenSetId: string): Promise<readonly GoldenQuery[]> {
    const all: GoldenQuery[] = [];
    for (;;) {
      const page = await this.queries(goldenSetId, {
        after: all.at(-1)?.id ?? null,
        limit: QUERIES_PER_STATEMENT,
      });
      all.push(...page);
      if (page.length < QUERIES_PER_STATEMENT) return all;
    }
  }
}

const QUERIES_PER_STATEMENT = 500;

/** Errors: INVALID_ARGUMENT, naming the query. */
export function checkGoldenQuery({ id, text, judgements }: GoldenQuery): void {
  const refuse = (why: string): never => {
    throw new SwitchyardError('INVALID_ARGUMENT', `query ${JSON.stringify(id.slice(0, 64))}: ${why}`);
  };
  if (id === '' || Buffer.byteLength(id) > QUERY_ID_BYTES_MAX)
    refuse(`its id has ${Buffer.byteLength(id)} bytes, must be 1..${QUERY_ID_BYTES_MAX}`);
  if (text.trim() === '') refuse('it has no text');
  if ([id, text, ...judgements.keys()].some((part) => UNSTORABLE.test(part)))
    refuse('it has a character that cannot be stored: NUL, or half of a surrogate pair');
  if (judgements.size > JUDGEMENTS_PER_QUERY_MAX)
    refuse(`it has ${judgements.size} judgements, must be <= ${JUDGEMENTS_PER_QUERY_MAX}`);
  let isAsked = false;
  for (const [document, grade] of judgements) {
    if (document === '') refuse('a judgement has an empty document id');
    if (!Number.isInteger(grade) || Math.abs(grade) > GRADE_MAX)
      refuse(`grade ${grade} of ${document.slice(0, 64)} must be a whole number within ±${GRADE_MAX}`);
    isAsked ||= grade > 0;
  }
  if (!isAsked) refuse('no document is relevant to it, so nothing can be measured by it');
}

function checkName(name: string): void {
  if (parseGoldenSetName(name).number === null) return;
  throw new SwitchyardError('INVALID_ARGUMENT', `${name} names a version: numbers are given by the registry`);
}

/** The row that queries are added to; what was abandoned long ago goes. */
async function beginSet(
  transaction: RegistryTransaction,
  name: string,
  contentSha256: string,
): Promise<string> {
  if (!/^[0-9a-f]{64}$/.test(contentSha256))
    throw new SwitchyardError('INVALID_ARGUMENT', 'content_sha256 must be 64 hex digits');
  await transaction
    .deleteFrom('golden_sets')
    .where('sealed_at', 'is', null)
    .where(sql<boolean>`created_at < now() - ${ABANDONED_AFTER}::interval`)
    .execute();
  await transaction
    .insertInto('golden_sets')
    .values({ name, content_sha256: contentSha256 })
    .onConflict((conflict) => conflict.columns(['name', 'content_sha256']).doNothing())
    .execute();
  const { golden_set_id, queries } = await transaction
    .selectFrom('golden_sets as g')
    .select((select) => [
      'g.golden_set_id',
      select
        .selectFrom('golden_queries as q')
        .whereRef('q.golden_set_id', '=', 'g.golden_set_id')
        .select(({ fn }) => fn.countAll<string>().as('count'))
        .as('queries'),
    ])
    .where('name', '=', name)
    .where('content_sha256', '=', contentSha256)
    .executeTakeFirstOrThrow();
  if (Number(queries) > GOLDEN_QUERIES_MAX)
    throw new SwitchyardError(
      'INVALID_ARGUMENT',
      `golden set ${name} has more than ${GOLDEN_QUERIES_MAX} queries: a sample of them gives the same verdict`,
    );
  return golden_set_id;
}

const selectSets = (tables: Tables) =>
  tables.selectFrom('golden_sets').selectAll().where('sealed_at', 'is not', null);

function toGoldenSet(row: Awaited<ReturnType<ReturnType<typeof selectSets>['execute']>>[number]): GoldenSet {
  return Object.freeze({
    goldenSetId: row.golden_set_id,
    name: row.name,
    number: row.number ?? 0,
    contentSha256: row.content_sha256,
    source: row.source ?? '',
    queryCount: row.query_count ?? 0,
    judgementCount: row.judgement_count ?? 0,
    sealedAt: row.sealed_at ?? row.created_at,
  });
}
