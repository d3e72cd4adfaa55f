import { nearMatches } from '../config/near.js';
import { SwitchyardError } from '../errors.js';
import { type Digest, type Fingerprint, isCorpusName, isVersionName, modelRef } from '../vocabulary.js';
import { type ChangeAuthor, recordChange, UNSTATED } from './changes.js';
import type { Database, RegistryTransaction, Tables } from './database.js';
import { holdMigrationAt, type MigrationAt } from './migration-at.js';
import type { CorpusVersionStatus } from './schema.js';

export interface CorpusVersionName {
  readonly corpus: string;
  readonly version: string;
}

export interface CorpusVersion extends CorpusVersionName {
  readonly corpusVersionId: string;
  readonly status: CorpusVersionStatus;
  readonly modelId: string;
  readonly modelRef: string;
  readonly fingerprint: Fingerprint;
  /** Null until they were given or the first build was recorded; the same for every build. */
  readonly documentTemplate: string | null;
  readonly textNormalisation: string | null;
  /** Rows of the default build; 0 before there is one. */
  readonly totalEmbeddings: number;
  /** Folder of the version's bundles. */
  readonly storageUri: string;
  /** Bundle of the default build. */
  readonly indexUri: string | null;
  readonly defaultBuild: Digest | null;
  readonly qualityMetrics: unknown;
  readonly createdAt: Date;
  readonly completedAt: Date | null;
  /** Why its last build failed; null while it is well. */
  readonly failure: { readonly at: Date; readonly why: string } | null;
}

export interface NewCorpusVersion extends CorpusVersionName {
  /** Fingerprint of a registered model that is not archived. */
  readonly fingerprint: Fingerprint;
  /** Where they are not given, those of the first build count from then on. */
  readonly documentTemplate?: string;
  readonly textNormalisation?: string;
  readonly storageUri: string;
}

const FAILURE_LENGTH_MAX = 2_000;

export class CorpusVersions {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * Begins a version as `building`, or begins again: the same call for a version of the same model, template and
   * normalisation clears a failure and changes nothing else, so an interrupted build is simply started once more.
   * Errors: UNKNOWN_MODEL, ALREADY_EXISTS when it differs, STATUS_CONFLICT for an archived model or version.
   */
  async begin(version: NewCorpusVersion, author: ChangeAuthor = UNSTATED): Promise<CorpusVersion> {
    const { corpus, version: label } = version;
    if (!isCorpusName(corpus))
      throw new SwitchyardError(
        'INVALID_ARGUMENT',
        `${corpus.slice(0, 80)} is no corpus name: lower-case letters, digits, _ and -, 1..64 characters`,
      );
    if (!isVersionName(label))
      throw new SwitchyardError(
        'INVALID_ARGUMENT',
        `${label.slice(0, 80)} is no version name: letters, digits, . _ and -, 1..32 characters`,
      );
    return this.#database.change(async (transaction) => {
      const model = await transaction
        .selectFrom('embedding_models')
        .select(['model_id', 'model_name', 'model_version'])
        .where('fingerprint', '=', version.fingerprint)
        .executeTakeFirst();
      if (model === undefined)
        throw new SwitchyardError(
          'UNKNOWN_MODEL',
          `there is no model of fingerprint ${version.fingerprint}: register it first with \`switchyard model import\``,
        );
      const inserted = await transaction
        .insertInto('embedding_corpus_versions')
        .values({
          corpus_name: corpus,
          label,
          model_id: model.model_id,
          total_embeddings: 0,
          storage_uri: version.storageUri,
          document_template: version.documentTemplate ?? null,
          text_normalisation: version.textNormalisation ?? null,
        })
        .onConflict((conflict) => conflict.columns(['corpus_name', 'label']).doNothing())
        .returning('corpus_version_id')
        .executeTakeFirst();
      if (inserted === undefined) await beginAgain(transaction, version, author);
      const begun = await getVersion(transaction, version);
      if (inserted !== undefined)
        await recordChange(transaction, {
          ...author,
          subject: subjectOf(version),
          before: null,
          after: { status: begun.status, model: begun.modelRef, fingerprint: begun.fingerprint },
        });
      return begun;
    });
  }

  /** Notes why a build failed. The version stays `building` and can be begun again; a version that has builds is left as it is. */
  async fail(name: CorpusVersionName, why: string, author: ChangeAuthor = UNSTATED): Promise<CorpusVersion> {
    return this.#database.change(async (transaction) => {
      const version = await getVersion(transaction, name);
      if (version.status !== 'building') return version;
      await transaction
        .updateTable('embedding_corpus_versions')
        .set({ failed_at: new Date(), failure: why.slice(0, FAILURE_LENGTH_MAX) })
        .where('corpus_version_id', '=', version.corpusVersionId)
        .where('status', '=', 'building')
        .execute();
      const failed = await getVersion(transaction, name);
      await recordChange(transaction, {
        ...author,
        subject: subjectOf(name),
        before: { failure: version.failure?.why ?? null },
        after: { failure: failed.failure?.why ?? null },
      });
      return failed;
    });
  }

  /** By corpus, then oldest first. */
  async list(filter: { readonly corpus?: string } = {}): Promise<readonly CorpusVersion[]> {
    const rows = await this.#database.read((tables) => {
      const query = selectVersions(tables)
        .orderBy('v.corpus_name')
        .orderBy('v.created_at')
        .orderBy('v.label');
      return (
        filter.corpus === undefined ? query : query.where('v.corpus_name', '=', filter.corpus)
      ).execute();
    });
    return rows.map(toVersion);
  }

  /** Errors: UNKNOWN_CORPUS, UNKNOWN_CORPUS_VERSION. */
  get(name: CorpusVersionName): Promise<CorpusVersion> {
    return this.#database.read((tables) => getVersion(tables, name));
  }

  /**
   * An archived version takes no traffic ever again, and is unloaded. `during`: of a migration, whose driver says so.
   * Errors: STATUS_CONFLICT while it is in a route, or when the migration went on meanwhile.
   */
  async archive(
    name: CorpusVersionName,
    author: ChangeAuthor,
    during: MigrationAt | null = null,
  ): Promise<CorpusVersion> {
    return this.#database.change(async (transaction) => {
      if (during !== null) await holdMigrationAt(transaction, during);
      const before = await getVersion(transaction, name);
      if (before.status === 'archived') return before;
      await transaction
        .updateTable('embedding_corpus_versions')
        .set({ status: 'archived' })
        .where('corpus_version_id', '=', before.corpusVersionId)
        .execute();
      await recordChange(transaction, {
        ...author,
        subject: subjectOf(name),
        before: { status: before.status },
        after: { status: 'archived' },
      });
      return getVersion(transaction, name);
    });
  }
}

export const subjectOf = ({ corpus, version }: CorpusVersionName): string =>
  `corpus_version ${corpus}/${version}`;

async function beginAgain(
  transaction: RegistryTransaction,
  wanted: NewCorpusVersion,
  author: ChangeAuthor,
): Promise<void> {
  const known = await getVersion(transaction, wanted);
  const name = `${wanted.corpus}/${wanted.version}`;
  if (known.status === 'archived')
    throw new SwitchyardError('STATUS_CONFLICT', `${name} is archived: begin another version`, {
      details: { corpus: wanted.corpus, version: wanted.version, status: known.status },
    });
  const differs = [
    known.fingerprint === wanted.fingerprint ? null : `model (${known.modelRef})`,
    agree(known.documentTemplate, wanted.documentTemplate) ? null : 'document template',
    agree(known.textNormalisation, wanted.textNormalisation) ? null : 'text normalisation',
  ].filter((what) => what !== null);
  if (differs.length > 0)
    throw new SwitchyardError(
      'ALREADY_EXISTS',
      `${name} exists with another ${differs.join(' and ')}: a version keeps those forever; begin another version`,
      { details: { corpus: wanted.corpus, version: wanted.version, model: known.modelRef } },
    );
  await transaction
    .updateTable('embedding_corpus_versions')
    .set({ failed_at: null, failure: null, storage_uri: wanted.storageUri })
    .where('corpus_version_id', '=', known.corpusVersionId)
    .execute();
  const before = { failure: known.failure?.why ?? null, storage_uri: known.storageUri };
  if (before.failure === null && before.storage_uri === wanted.storageUri) return;
  await recordChange(transaction, {
    ...author,
    subject: subjectOf(wanted),
    before,
    after: { failure: null, storage_uri: wanted.storageUri },
  });
}

const agree = (known: string | null, wanted: string | undefined): boolean =>
  known === null || wanted === undefined || known === wanted;

function selectVersions(tables: Tables) {
  return tables
    .selectFrom('embedding_corpus_versions as v')
    .innerJoin('embedding_models as m', 'm.model_id', 'v.model_id')
    .selectAll('v')
    .select(['m.model_name', 'm.model_version', 'm.fingerprint']);
}

/** Errors: UNKNOWN_CORPUS, UNKNOWN_CORPUS_VERSION. */
export async function getVersion(tables: Tables, name: CorpusVersionName): Promise<CorpusVersion> {
  const rows = await selectVersions(tables).where('v.corpus_name', '=', name.corpus).execute();
  if (rows.length === 0) throw await unknownCorpus(tables, name.corpus);
  const row = rows.find(({ label }) => label === name.version);
  if (row !== undefined) return toVersion(row);
  const known = rows.map(({ label }) => label).join(', ');
  throw new SwitchyardError(
    'UNKNOWN_CORPUS_VERSION',
    `corpus ${name.corpus} has no version ${name.version.slice(0, 80)}; it has ${known}`,
    { details: { corpus: name.corpus, known } },
  );
}

export async function unknownCorpus(tables: Tables, corpus: string): Promise<SwitchyardError> {
  const rows = await tables
    .selectFrom('embedding_corpus_versions')
    .select('corpus_name')
    .distinct()
    .execute();
  const near = nearMatches(
    corpus.slice(0, 128),
    rows.map(({ corpus_name }) => corpus_name),
  ).join(', ');
  return new SwitchyardError(
    'UNKNOWN_CORPUS',
    `there is no corpus ${corpus.slice(0, 80)}; ${near ? `the nearest are ${near}` : 'none was built: see `switchyard corpus build`'}`,
    { details: { known: near } },
  );
}

type VersionRow = Awaited<ReturnType<ReturnType<typeof selectVersions>['execute']>>[number];

function toVersion(row: VersionRow): CorpusVersion {
  return Object.freeze({
    corpus: row.corpus_name,
    version: row.label,
    corpusVersionId: row.corpus_version_id,
    status: row.status,
    modelId: row.model_id,
    modelRef: modelRef({ name: row.model_name, version: row.model_version }),
    fingerprint: row.fingerprint as Fingerprint,
    documentTemplate: row.document_template,
    textNormalisation: row.text_normalisation,
    totalEmbeddings: Number(row.total_embeddings),
    storageUri: row.storage_uri,
    indexUri: row.index_uri,
    defaultBuild: row.default_build as Digest | null,
    qualityMetrics: row.quality_metrics,
    createdAt: row.created_at,
    completedAt: row.completed_at,
    failure: row.failed_at === null ? null : { at: row.failed_at, why: row.failure ?? '' },
  });
}
