import type { Digest, Fingerprint, Tier } from '../vocabulary.js';
import { modelRef } from '../vocabulary.js';
import { type ChangeAuthor, recordChange } from './changes.js';
import { type CorpusVersionName, getVersion, unknownCorpus } from './corpus-versions.js';
import type { Database, RegistryTransaction, Tables } from './database.js';
import { holdMigrationAt, type MigrationAt } from './migration-at.js';
import { readOffers } from './route-rows.js';
import { resolveBuild } from './route-rules.js';

/** A build that every replica should hold although no route needs it yet: loading comes before routing. */
export interface DesiredTarget extends CorpusVersionName {
  readonly build: Digest;
  readonly fingerprint: Fingerprint;
  readonly modelRef: string;
  readonly tier: Tier;
  readonly bundleUri: string;
}

/** What a replica holds is the targets of its routes and these. */
export class DesiredTargets {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * Asking again may change the tier. `during`: of a migration, whose driver asks. Errors: UNKNOWN_CORPUS(_VERSION),
   * UNKNOWN_BUILD, STATUS_CONFLICT for a version that is not ready, or when the migration went on meanwhile.
   */
  async add(
    target: CorpusVersionName & { readonly build: string | null; readonly tier: Tier },
    author: ChangeAuthor,
    during: MigrationAt | null = null,
  ): Promise<DesiredTarget> {
    return this.#database.change(async (transaction) => {
      if (during !== null) await holdMigrationAt(transaction, during);
      const { digest, corpusVersionId } = await findBuild(transaction, target, target.build);
      const before = await one(transaction, digest);
      if (before?.tier === target.tier) return before;
      await transaction
        .insertInto('desired_targets')
        .values({ build_digest: digest, corpus_version_id: corpusVersionId, tier: target.tier })
        .onConflict((conflict) => conflict.column('build_digest').doUpdateSet({ tier: target.tier }))
        .execute();
      await recordChange(transaction, {
        ...author,
        subject: `desired_target ${target.corpus}/${target.version}`,
        before: before === null ? null : { build: digest, tier: before.tier },
        after: { build: digest, tier: target.tier },
      });
      const after = await one(transaction, digest);
      if (after === null) throw new TypeError('a desired target that was just written is not there');
      return after;
    });
  }

  /** Removing what is not there changes nothing. Targets of routes stay loaded either way. */
  async remove(
    target: CorpusVersionName & { readonly build: string | null },
    author: ChangeAuthor,
  ): Promise<void> {
    await this.#database.change(async (transaction) => {
      const { digest } = await findBuild(transaction, target, target.build);
      const before = await one(transaction, digest);
      if (before === null) return;
      await transaction.deleteFrom('desired_targets').where('build_digest', '=', digest).execute();
      await recordChange(transaction, {
        ...author,
        subject: `desired_target ${target.corpus}/${target.version}`,
        before: { build: digest, tier: before.tier },
        after: null,
      });
    });
  }

  /** By corpus, oldest first. */
  async list(filter: { readonly corpus?: string } = {}): Promise<readonly DesiredTarget[]> {
    const rows = await this.#database.read((tables) => {
      const query = selectDesired(tables).orderBy('v.corpus_name').orderBy('d.created_at');
      return (
        filter.corpus === undefined ? query : query.where('v.corpus_name', '=', filter.corpus)
      ).execute();
    });
    return rows.map(toDesired);
  }
}

async function findBuild(
  transaction: RegistryTransaction,
  name: CorpusVersionName,
  wanted: string | null,
): Promise<{ readonly digest: Digest; readonly corpusVersionId: string }> {
  const { corpusVersionId } = await getVersion(transaction, name);
  const offers = await readOffers(transaction, name.corpus);
  const offer = offers.find(({ version }) => version === name.version);
  if (offer === undefined) throw await unknownCorpus(transaction, name.corpus);
  return { digest: resolveBuild(name.corpus, wanted, offer).digest, corpusVersionId };
}

async function one(tables: Tables, digest: Digest): Promise<DesiredTarget | null> {
  const row = await selectDesired(tables).where('d.build_digest', '=', digest).executeTakeFirst();
  return row === undefined ? null : toDesired(row);
}

function selectDesired(tables: Tables) {
  return tables
    .selectFrom('desired_targets as d')
    .innerJoin('builds as b', 'b.digest', 'd.build_digest')
    .innerJoin('embedding_corpus_versions as v', 'v.corpus_version_id', 'd.corpus_version_id')
    .innerJoin('embedding_models as m', 'm.model_id', 'v.model_id')
    .select(['d.build_digest', 'd.tier', 'b.bundle_uri', 'v.corpus_name', 'v.label'])
    .select(['m.model_name', 'm.model_version', 'm.fingerprint']);
}

function toDesired(
  row: Awaited<ReturnType<ReturnType<typeof selectDesired>['execute']>>[number],
): DesiredTarget {
  return Object.freeze({
    corpus: row.corpus_name,
    version: row.label,
    build: row.build_digest as Digest,
    fingerprint: row.fingerprint as Fingerprint,
    modelRef: modelRef({ name: row.model_name, version: row.model_version }),
    tier: row.tier,
    bundleUri: row.bundle_uri,
  });
}
