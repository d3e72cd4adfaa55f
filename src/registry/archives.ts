import { sql } from 'kysely';
import { SwitchyardError } from '../errors.js';
import type { Digest } from '../vocabulary.js';
import { type ChangeAuthor, recordChange } from './changes.js';
import { type CorpusVersionName, getVersion, subjectOf } from './corpus-versions.js';
import type { Database, Tables } from './database.js';
import type { ArchiveStep } from './schema.js';

/** Where a build of a version lies as Parquet, and how far its retirement got. */
export interface VersionArchive extends CorpusVersionName {
  readonly build: Digest;
  readonly uri: string;
  /** SHA-256 of its archive.json: another archive in this place is seen. */
  readonly sha256: string;
  readonly archivedAt: Date;
  readonly verifiedAt: Date | null;
  /** When the serving copy was deleted; null while there is one. */
  readonly deletedAt: Date | null;
  readonly restoredAt: Date | null;
}

export class Archives {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * An archive that was written whole. The same again changes nothing; another one in the same place takes its row.
   * Errors: UNKNOWN_CORPUS(_VERSION), UNKNOWN_BUILD.
   */
  async record(
    archive: CorpusVersionName & { readonly build: Digest; readonly uri: string; readonly sha256: string },
    author: ChangeAuthor,
  ): Promise<VersionArchive> {
    return this.#database.change(async (transaction) => {
      const version = await getVersion(transaction, archive);
      const before = await find(transaction, archive.uri);
      if (before?.sha256 === archive.sha256 && before.build === archive.build) return before;
      const build = await transaction
        .selectFrom('builds')
        .select('digest')
        .where('digest', '=', archive.build)
        .where('corpus_version_id', '=', version.corpusVersionId)
        .executeTakeFirst();
      if (build === undefined)
        throw new SwitchyardError(
          'UNKNOWN_BUILD',
          `${archive.corpus}/${archive.version} has no build ${archive.build.slice(0, 16)} that could be archived`,
        );
      const values = {
        corpus_version_id: version.corpusVersionId,
        build_digest: archive.build,
        uri: archive.uri,
        sha256: archive.sha256,
      };
      await transaction
        .insertInto('version_archives')
        .values(values)
        .onConflict((conflict) =>
          conflict.column('uri').doUpdateSet({
            ...values,
            archived_at: sql<Date>`clock_timestamp()`,
            verified_at: null,
            deleted_at: null,
            restored_at: null,
          }),
        )
        .execute();
      await recordChange(transaction, {
        ...author,
        subject: subjectOf(archive),
        before: before === null ? null : { archive: before.uri, sha256: before.sha256 },
        after: { archive: archive.uri, sha256: archive.sha256, build: archive.build },
      });
      return known(await find(transaction, archive.uri), archive.uri);
    });
  }

  /**
   * Notes that an archive was verified, that the serving copy was deleted, or that it came back. `restored` makes an
   * archived version ready again. Errors: UNKNOWN_ARCHIVE, STATUS_CONFLICT for a copy deleted before the archive was
   * verified, or a version that cannot come back.
   */
  async note(uri: string, step: ArchiveStep, author: ChangeAuthor): Promise<VersionArchive> {
    return this.#database.change(async (transaction) => {
      const before = known(await find(transaction, uri), uri);
      if (step === 'deleted' && before.verifiedAt === null)
        throw new SwitchyardError(
          'STATUS_CONFLICT',
          `the archive ${uri} was not verified: the serving copy is not deleted before`,
        );
      await transaction
        .updateTable('version_archives')
        .set({ [`${step}_at`]: sql<Date>`clock_timestamp()` })
        .where('uri', '=', uri)
        .execute();
      const after: Record<string, string> = { archive: uri, step };
      if (step === 'restored') {
        const { status, corpusVersionId } = await getVersion(transaction, before);
        if (status === 'archived') {
          await transaction
            .updateTable('embedding_corpus_versions')
            .set({ status: 'ready' })
            .where('corpus_version_id', '=', corpusVersionId)
            .execute();
          after.status = 'ready';
        }
      }
      await recordChange(transaction, { ...author, subject: subjectOf(before), before: null, after });
      return known(await find(transaction, uri), uri);
    });
  }

  /** Latest first. */
  async list(
    filter: { readonly corpus?: string; readonly version?: string } = {},
  ): Promise<VersionArchive[]> {
    const rows = await this.#database.read((tables) => {
      let query = selectArchives(tables).orderBy('a.archive_id', 'desc');
      if (filter.corpus !== undefined) query = query.where('v.corpus_name', '=', filter.corpus);
      if (filter.version !== undefined) query = query.where('v.label', '=', filter.version);
      return query.execute();
    });
    return rows.map(toArchive);
  }
}

function selectArchives(tables: Tables) {
  return tables
    .selectFrom('version_archives as a')
    .innerJoin('embedding_corpus_versions as v', 'v.corpus_version_id', 'a.corpus_version_id')
    .selectAll('a')
    .select(['v.corpus_name', 'v.label']);
}

async function find(tables: Tables, uri: string): Promise<VersionArchive | null> {
  const [row] = await selectArchives(tables).where('a.uri', '=', uri).execute();
  return row === undefined ? null : toArchive(row);
}

function known(archive: VersionArchive | null, uri: string): VersionArchive {
  if (archive !== null) return archive;
  throw new SwitchyardError(
    'UNKNOWN_ARCHIVE',
    `no archive is recorded at ${uri.slice(0, 200)}: \`switchyard archives\` shows them`,
  );
}

const toArchive = (
  row: Awaited<ReturnType<ReturnType<typeof selectArchives>['execute']>>[number],
): VersionArchive =>
  Object.freeze({
    corpus: row.corpus_name,
    version: row.label,
    build: row.build_digest as Digest,
    uri: row.uri,
    sha256: row.sha256,
    archivedAt: row.archived_at,
    verifiedAt: row.verified_at,
    deletedAt: row.deleted_at,
    restoredAt: row.restored_at,
  });
