import { sql } from 'kysely';
import { SwitchyardError } from '../errors.js';
import { type ChangeAuthor, checkAuthor, recordChange } from './changes.js';
import { type CorpusVersionName, getVersion, subjectOf } from './corpus-versions.js';
import type { Database, RegistryTransaction, Tables } from './database.js';
import type { RetirementState } from './schema.js';

export interface RetirementStepRecord {
  readonly step: string;
  readonly detail: string;
  /** ISO 8601, by the clock of whoever did it. */
  readonly at: string;
}

/** A retirement that gateways carry out, whoever began it. */
export interface Retirement extends CorpusVersionName, ChangeAuthor {
  readonly retirementId: string;
  /** Where the archive goes: a folder or s3://bucket/prefix. */
  readonly place: string;
  readonly quietDays: number;
  readonly state: RetirementState;
  /** Why it failed, or what is tried again; null: nothing. */
  readonly why: string | null;
  /** As they were done; of a step that was done again the last time. */
  readonly steps: readonly RetirementStepRecord[];
  readonly createdAt: Date;
  readonly updatedAt: Date;
  readonly finishedAt: Date | null;
  /** Who carries it out; null when nobody does, or the lease ran out. */
  readonly holder: string | null;
}

/** Retirements of corpus versions, and the lease of who carries one out. */
export class Retirements {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** One that is under way is given back as it is. Errors: UNKNOWN_CORPUS(_VERSION), INVALID_ARGUMENT. */
  async start(
    name: CorpusVersionName,
    { place, quietDays }: Pick<Retirement, 'place' | 'quietDays'>,
    author: ChangeAuthor,
  ): Promise<Retirement> {
    checkAuthor(author);
    return this.#database.change(async (transaction) => {
      const { corpusVersionId } = await getVersion(transaction, name);
      const inserted = await transaction
        .insertInto('retirements')
        .values({
          corpus_version_id: corpusVersionId,
          place,
          quiet_days: quietDays,
          actor: author.actor,
          reason: author.reason,
        })
        .onConflict((conflict) =>
          conflict.column('corpus_version_id').where('finished_at', 'is', null).doNothing(),
        )
        .returning('retirement_id')
        .executeTakeFirst();
      if (inserted !== undefined)
        await recordChange(transaction, {
          ...author,
          subject: subjectOf(name),
          before: null,
          after: { retirement: 'running', place, quiet_days: quietDays },
        });
      return latestOf(transaction, name, corpusVersionId);
    });
  }

  /** The latest of a version. Errors: UNKNOWN_CORPUS(_VERSION), UNKNOWN_RETIREMENT. */
  async latest(name: CorpusVersionName): Promise<Retirement> {
    return this.#database.read(async (tables) =>
      latestOf(tables, name, (await getVersion(tables, name)).corpusVersionId),
    );
  }

  /** Oldest first. */
  async unfinished(): Promise<readonly Retirement[]> {
    const rows = await this.#database.read((tables) =>
      select(tables).where('r.finished_at', 'is', null).orderBy('r.created_at').execute(),
    );
    return rows.map(toRetirement);
  }

  /** False while another one holds it, or when it ended. Taking one's own again renews it. */
  async takeLease(retirementId: string, holder: string, ttlMs: number): Promise<boolean> {
    const row = await this.#database.read((tables) =>
      tables
        .updateTable('retirements')
        .set({
          lease_holder: holder,
          lease_expires_at: sql<Date>`clock_timestamp() + make_interval(secs => ${ttlMs / 1000})`,
        })
        .where('retirement_id', '=', retirementId)
        .where('finished_at', 'is', null)
        .where((where) =>
          where.or([
            where('lease_holder', 'is', null),
            where('lease_holder', '=', holder),
            sql<boolean>`lease_expires_at <= clock_timestamp()`,
          ]),
        )
        .returning('retirement_id')
        .executeTakeFirst(),
    );
    return row !== undefined;
  }

  /** So that another one need not wait for it to run out. */
  async releaseLease(retirementId: string, holder: string): Promise<void> {
    await this.#ofHolder(retirementId, holder, { lease_holder: null, lease_expires_at: null });
  }

  /** What was done so far, and what it waits for. Of a lease that is lost nothing is written. */
  async note(
    retirementId: string,
    holder: string,
    { steps, why }: Pick<Retirement, 'steps' | 'why'>,
  ): Promise<void> {
    await this.#ofHolder(retirementId, holder, { steps: JSON.stringify(steps), why });
  }

  /** False when the lease was lost meanwhile: then nothing is written. */
  async finish(
    { retirementId, corpus, version, actor, reason }: Retirement,
    holder: string,
    state: 'completed' | 'failed',
    why: string | null,
  ): Promise<boolean> {
    return this.#database.change(async (transaction) => {
      const row = await transaction
        .updateTable('retirements')
        .set({ ...ended(state), why })
        .where('retirement_id', '=', retirementId)
        .where('lease_holder', '=', holder)
        .where('finished_at', 'is', null)
        .returning('retirement_id')
        .executeTakeFirst();
      if (row === undefined) return false;
      const after = why === null ? { retirement: state } : { retirement: state, why };
      const change = { subject: subjectOf({ corpus, version }), before: { retirement: 'running' }, after };
      await recordChange(transaction, { actor, reason, ...change });
      return true;
    });
  }

  /**
   * Whoever carries it out stops before its next step. Errors: UNKNOWN_RETIREMENT, STATUS_CONFLICT for one that ended, or
   * whose version is archived already: what is left is deleting, and half a deletion helps nobody.
   */
  async cancel(name: CorpusVersionName, author: ChangeAuthor): Promise<Retirement> {
    checkAuthor(author);
    return this.#database.change(async (transaction) => {
      const { corpusVersionId, status } = await getVersion(transaction, name);
      const before = await latestOf(transaction, name, corpusVersionId);
      if (status === 'archived' && before.finishedAt === null)
        throw new SwitchyardError(
          'STATUS_CONFLICT',
          `${name.corpus}/${name.version} is archived already, only its serving copy is still to be deleted: \`switchyard restore ${name.corpus}/${name.version}\` brings it back afterwards`,
        );
      const row = await transaction
        .updateTable('retirements')
        .set({ ...ended('cancelled'), why: author.reason })
        .where('retirement_id', '=', before.retirementId)
        .where('finished_at', 'is', null)
        .returning('retirement_id')
        .executeTakeFirst();
      if (row === undefined)
        throw new SwitchyardError(
          'STATUS_CONFLICT',
          `the retirement of ${name.corpus}/${name.version} is over: it ${before.state}`,
        );
      await recordChange(transaction, {
        ...author,
        subject: subjectOf(name),
        before: { retirement: 'running' },
        after: { retirement: 'cancelled' },
      });
      return latestOf(transaction, name, corpusVersionId);
    });
  }

  async #ofHolder(
    retirementId: string,
    holder: string,
    values: {
      readonly lease_holder?: null;
      readonly lease_expires_at?: null;
      readonly steps?: string;
      readonly why?: string | null;
    },
  ): Promise<void> {
    await this.#database.read((tables) =>
      tables
        .updateTable('retirements')
        .set({ ...values, updated_at: sql<Date>`clock_timestamp()` })
        .where('retirement_id', '=', retirementId)
        .where('lease_holder', '=', holder)
        .where('finished_at', 'is', null)
        .execute(),
    );
  }
}

const ended = (state: RetirementState) => ({
  state,
  updated_at: sql<Date>`clock_timestamp()`,
  finished_at: sql<Date>`clock_timestamp()`,
  lease_holder: null,
  lease_expires_at: null,
});

function select(tables: Tables | RegistryTransaction) {
  return tables
    .selectFrom('retirements as r')
    .innerJoin('embedding_corpus_versions as v', 'v.corpus_version_id', 'r.corpus_version_id')
    .selectAll('r')
    .select(['v.corpus_name', 'v.label'])
    .select(sql<boolean | null>`r.lease_expires_at > clock_timestamp()`.as('is_held'));
}

async function latestOf(
  tables: Tables | RegistryTransaction,
  { corpus, version }: CorpusVersionName,
  corpusVersionId: string,
): Promise<Retirement> {
  const row = await select(tables)
    .where('r.corpus_version_id', '=', corpusVersionId)
    .orderBy('r.created_at', 'desc')
    .limit(1)
    .executeTakeFirst();
  if (row !== undefined) return toRetirement(row);
  throw new SwitchyardError(
    'UNKNOWN_RETIREMENT',
    `no gateway was asked to retire ${corpus}/${version}: \`switchyard corpus retire ${corpus} ${version}\` asks one`,
  );
}

const toRetirement = (row: Awaited<ReturnType<ReturnType<typeof select>['execute']>>[number]): Retirement =>
  Object.freeze({
    retirementId: row.retirement_id,
    corpus: row.corpus_name,
    version: row.label,
    place: row.place,
    quietDays: row.quiet_days,
    actor: row.actor,
    reason: row.reason,
    state: row.state,
    why: row.why,
    steps: row.steps as readonly RetirementStepRecord[],
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    finishedAt: row.finished_at,
    holder: row.is_held === true ? row.lease_holder : null,
  });
