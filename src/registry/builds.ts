import { isDeepStrictEqual } from 'node:util';
import { SwitchyardError } from '../errors.js';
import {
  type Digest,
  digestPrefix,
  type Fingerprint,
  isDigest,
  type Metric,
  type Quantization,
} from '../vocabulary.js';
import { type ChangeAuthor, recordChange, UNSTATED } from './changes.js';
import { type CorpusVersion, type CorpusVersionName, getVersion, subjectOf } from './corpus-versions.js';
import type { Database, RegistryTransaction, Tables } from './database.js';
import { resolveBuild } from './route-rules.js';

/** What the registry reads of a bundle's manifest; the whole of it is stored. */
export interface RecordableManifest {
  readonly corpus: string;
  readonly version: string;
  readonly model: { readonly fingerprint: Fingerprint };
  readonly dimensions: number;
  readonly full_dimensions: number;
  readonly metric: Metric;
  readonly quantization: Quantization;
  readonly row_count: number;
  readonly document_template: string;
  readonly text_normalisation: string;
  readonly recall_at_10: { readonly value: number };
}

export interface RecordedBuild extends CorpusVersionName {
  readonly digest: Digest;
  readonly bundleUri: string;
  readonly isDefault: boolean;
  readonly quantization: Quantization;
  readonly dimensions: number;
  readonly rowCount: number;
  readonly recallAt10: number;
  /** As it was published. */
  readonly manifest: unknown;
  readonly createdAt: Date;
}

export class Builds {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * Records a published bundle that its caller verified; the first build of a version makes the version ready and is
   * its default. Recording it again may move the bundle.
   * Errors: UNKNOWN_CORPUS(_VERSION); FINGERPRINT_MISMATCH when another model made it (invariant 1); CORRUPT_BUNDLE when
   * the manifest names another version, metric or dimensions; STATUS_CONFLICT for an archived version; ALREADY_EXISTS.
   */
  async record(build: {
    readonly bundle: { readonly digest: Digest; readonly manifest: RecordableManifest };
    readonly uri: string;
    /** Also of a version that has a default build. */
    readonly makeDefault?: boolean;
    readonly author?: ChangeAuthor;
  }): Promise<RecordedBuild> {
    const { digest, manifest } = build.bundle;
    const { author = UNSTATED } = build;
    if (!isDigest(digest))
      throw new SwitchyardError('INVALID_ARGUMENT', 'the digest of a build must be 64 hex characters');
    return this.#database.change(async (transaction) => {
      const version = await getVersion(transaction, manifest);
      if (manifest.model.fingerprint !== version.fingerprint)
        throw new SwitchyardError(
          'FINGERPRINT_MISMATCH',
          `the build was made by model ${manifest.model.fingerprint}, ${manifest.corpus}/${manifest.version} belongs to ${version.fingerprint} (${version.modelRef}): build it with that model, or begin another version`,
          { details: { expected: version.fingerprint, actual: manifest.model.fingerprint } },
        );
      const known = await transaction
        .selectFrom('builds')
        .select('bundle_uri')
        .where('digest', '=', digest)
        .executeTakeFirst();
      const inserted = await transaction
        .insertInto('builds')
        .values({
          digest,
          corpus_version_id: version.corpusVersionId,
          bundle_uri: build.uri,
          manifest: JSON.stringify(manifest),
        })
        .onConflict((conflict) =>
          conflict
            .column('digest')
            .doUpdateSet({ bundle_uri: build.uri })
            .where('builds.corpus_version_id', '=', version.corpusVersionId),
        )
        .returning('digest')
        .executeTakeFirst();
      if (inserted === undefined)
        throw new SwitchyardError(
          'ALREADY_EXISTS',
          `build ${digestPrefix(digest)} is recorded for another corpus version`,
        );
      if (version.defaultBuild === null || version.defaultBuild === digest || build.makeDefault === true)
        await setDefault(transaction, version, digest, build.uri, manifest);
      const recorded = await getBuild(transaction, version, digest);
      const before = known === undefined ? null : buildAudit(digest, known.bundle_uri, version.defaultBuild);
      const after = buildAudit(
        digest,
        recorded.bundleUri,
        recorded.isDefault ? digest : version.defaultBuild,
      );
      if (before === null || !isDeepStrictEqual(before, after))
        await recordChange(transaction, { ...author, subject: subjectOf(version), before, after });
      return recorded;
    });
  }

  /** The build that routes take when they name none. Errors: UNKNOWN_BUILD and those of `get`. */
  async setDefault(name: CorpusVersionName, build: string, author: ChangeAuthor): Promise<RecordedBuild> {
    return this.#database.change(async (transaction) => {
      const version = await getVersion(transaction, name);
      const found = await findBuild(transaction, version, build);
      if (found.isDefault) return found;
      await setDefault(
        transaction,
        version,
        found.digest,
        found.bundleUri,
        found.manifest as RecordableManifest,
      );
      await recordChange(transaction, {
        ...author,
        subject: subjectOf(name),
        before: { default_build: version.defaultBuild },
        after: { default_build: found.digest },
      });
      return getBuild(transaction, version, found.digest);
    });
  }

  /** Oldest first. */
  async list(filter: { readonly corpus?: string; readonly version?: string } = {}): Promise<RecordedBuild[]> {
    const rows = await this.#database.read((tables) => {
      let query = selectBuilds(tables).orderBy('v.corpus_name').orderBy('b.created_at').orderBy('b.digest');
      if (filter.corpus !== undefined) query = query.where('v.corpus_name', '=', filter.corpus);
      if (filter.version !== undefined) query = query.where('v.label', '=', filter.version);
      return query.execute();
    });
    return rows.map(toBuild);
  }

  /** `build`: a digest or its prefix; null for the default one. Errors: UNKNOWN_CORPUS(_VERSION), UNKNOWN_BUILD. */
  async get(name: CorpusVersionName, build: string | null = null): Promise<RecordedBuild> {
    return this.#database.read(async (tables) => findBuild(tables, await getVersion(tables, name), build));
  }
}

const buildAudit = (build: Digest, bundle_uri: string, default_build: Digest | null) => ({
  build,
  bundle_uri,
  default_build,
});

async function setDefault(
  transaction: RegistryTransaction,
  version: CorpusVersion,
  digest: Digest,
  bundleUri: string,
  manifest: RecordableManifest,
): Promise<void> {
  await transaction
    .updateTable('embedding_corpus_versions')
    .set((column) => ({
      default_build: digest,
      index_uri: bundleUri,
      total_embeddings: manifest.row_count,
      document_template: manifest.document_template,
      text_normalisation: manifest.text_normalisation,
      quality_metrics: JSON.stringify({ recall_at_10: manifest.recall_at_10 }),
      failed_at: null,
      failure: null,
      completed_at: column.fn.coalesce('completed_at', column.fn<Date>('now', [])),
    }))
    .where('corpus_version_id', '=', version.corpusVersionId)
    .execute();
  await transaction
    .updateTable('embedding_corpus_versions')
    .set({ status: 'ready' })
    .where('corpus_version_id', '=', version.corpusVersionId)
    .where('status', '=', 'building')
    .execute();
}

export function selectBuilds(tables: Tables) {
  return tables
    .selectFrom('builds as b')
    .innerJoin('embedding_corpus_versions as v', 'v.corpus_version_id', 'b.corpus_version_id')
    .selectAll('b')
    .select(['v.corpus_name', 'v.label', 'v.default_build']);
}

async function getBuild(tables: Tables, version: CorpusVersion, digest: Digest): Promise<RecordedBuild> {
  const rows = await selectBuilds(tables)
    .where('b.digest', '=', digest)
    .where('b.corpus_version_id', '=', version.corpusVersionId)
    .execute();
  const [row] = rows;
  if (row === undefined) throw new TypeError('a build that was just written is not there');
  return toBuild(row);
}

/** Errors: UNKNOWN_BUILD. */
async function findBuild(
  tables: Tables,
  version: CorpusVersion,
  wanted: string | null,
): Promise<RecordedBuild> {
  const rows = await selectBuilds(tables)
    .where('b.corpus_version_id', '=', version.corpusVersionId)
    .execute();
  const builds = rows.map(toBuild);
  const { digest } = resolveBuild(version.corpus, wanted, { ...version, builds });
  return getBuild(tables, version, digest);
}

type BuildRow = Awaited<ReturnType<ReturnType<typeof selectBuilds>['execute']>>[number];

function toBuild(row: BuildRow): RecordedBuild {
  const manifest = row.manifest as RecordableManifest;
  return Object.freeze({
    corpus: row.corpus_name,
    version: row.label,
    digest: row.digest as Digest,
    bundleUri: row.bundle_uri,
    isDefault: row.default_build === row.digest,
    quantization: manifest.quantization,
    dimensions: manifest.dimensions,
    rowCount: manifest.row_count,
    recallAt10: manifest.recall_at_10.value,
    manifest,
    createdAt: row.created_at,
  });
}
