import { sql } from 'kysely';
import { SwitchyardError } from '../errors.js';
import type { Revision } from '../vocabulary.js';
import { type ChangeAuthor, checkAuthor } from './changes.js';
import { getVersion, unknownCorpus } from './corpus-versions.js';
import type { Database } from './database.js';
import {
  type MigrationLease,
  type MigrationRecord,
  readMigrationRecord,
  selectMigrations,
  toRecord,
  unknownMigration,
} from './migration-record.js';
import { type MigrationSample, MigrationSamples } from './migration-samples.js';
import { GATEWAY_ALIVE_MS_MAX } from './readiness.js';
import { changeRoute, type RouteChange } from './routes.js';

export interface MigrationEvent extends ChangeAuthor {
  readonly sequence: number;
  readonly at: Date;
  readonly event: unknown;
  readonly routeRevision: Revision | null;
  readonly before: unknown;
  readonly after: unknown;
}

export interface MigrationAdvance extends ChangeAuthor {
  readonly migrationId: string;
  /** The event it is based on: optimistic concurrency. */
  readonly expectedSequence: number;
  /** Of the driver; null for an operator, whose word takes the lease from whoever drives. */
  readonly leaseToken: number | null;
  readonly event: unknown;
  readonly state: unknown;
  readonly isFinished: boolean;
  /** Changed in the same transaction. */
  readonly route: Omit<RouteChange, 'actor' | 'reason' | 'corpus'> | null;
  /** Refused with these words when this version is archived by then. */
  readonly unlessArchived?: { readonly version: string; readonly refusal: string } | null;
}

const LISTED_MAX = 1_000;

/** Migrations of corpora, their append-only audit, and the lease of who drives. */
export class CorpusMigrations {
  readonly #database: Database;
  readonly #aliveMsMax: number;
  readonly #samples: MigrationSamples;

  constructor(database: Database, aliveMsMax: number = GATEWAY_ALIVE_MS_MAX) {
    this.#database = database;
    this.#samples = new MigrationSamples(database);
    this.#aliveMsMax = aliveMsMax;
  }

  /** Errors: STATUS_CONFLICT while another one of the corpus is not finished. */
  async start(
    migration: Pick<MigrationRecord, 'corpus' | 'fromVersion' | 'toVersion' | 'plan' | 'state'> & {
      readonly event: unknown;
    },
    author: ChangeAuthor,
  ): Promise<MigrationRecord> {
    checkAuthor(author);
    return this.#database.change(async (transaction) => {
      const state = JSON.stringify(migration.state);
      const { migration_id } = await transaction
        .insertInto('migrations')
        .values({
          corpus_name: migration.corpus,
          from_version: migration.fromVersion,
          to_version: migration.toVersion,
          plan: JSON.stringify(migration.plan),
          state,
          sequence: 1,
        })
        .returning('migration_id')
        .executeTakeFirstOrThrow();
      await transaction
        .insertInto('migration_events')
        .values({
          migration_id,
          sequence: 1,
          actor: author.actor,
          reason: author.reason,
          event: JSON.stringify(migration.event),
          lease_token: null,
          route_revision: null,
          before: null,
          after: state,
        })
        .execute();
      return readMigrationRecord(transaction, migration_id);
    });
  }

  /** Latest first. */
  async list(
    filter: { readonly corpus?: string; readonly isUnfinished?: boolean; readonly limit?: number } = {},
  ): Promise<readonly MigrationRecord[]> {
    const rows = await this.#database.read((tables) => {
      let query = selectMigrations(tables).orderBy('created_at', 'desc').orderBy('migration_id');
      if (filter.corpus !== undefined) query = query.where('corpus_name', '=', filter.corpus);
      if (filter.isUnfinished === true) query = query.where('finished_at', 'is', null);
      return query.limit(filter.limit ?? LISTED_MAX).execute();
    });
    return rows.map(toRecord);
  }

  /** The latest of a corpus. Errors: UNKNOWN_CORPUS, also for one that never had any. */
  async latest(corpus: string): Promise<MigrationRecord> {
    const [latest] = await this.list({ corpus, limit: 1 });
    if (latest !== undefined) return latest;
    return this.#database.read(async (tables) => {
      const known = await tables
        .selectFrom('embedding_corpus_versions')
        .select('label')
        .where('corpus_name', '=', corpus)
        .executeTakeFirst();
      if (known === undefined) throw await unknownCorpus(tables, corpus);
      throw new SwitchyardError(
        'UNKNOWN_MIGRATION',
        `corpus ${corpus} has had no migration: start one with \`switchyard migrate start ${corpus} --to <version>\``,
      );
    });
  }

  /** Errors: UNKNOWN_MIGRATION. */
  get(migrationId: string): Promise<MigrationRecord> {
    return this.#database.read((tables) => readMigrationRecord(tables, migrationId));
  }

  /** Oldest first. */
  async events(migrationId: string): Promise<readonly MigrationEvent[]> {
    const rows = await this.#database.read((tables) =>
      tables
        .selectFrom('migration_events')
        .selectAll()
        .where('migration_id', '=', migrationId)
        .orderBy('sequence')
        .execute(),
    );
    return rows.map((row) => ({
      sequence: row.sequence,
      at: row.at,
      actor: row.actor,
      reason: row.reason,
      event: row.event,
      routeRevision: row.route_revision as Revision | null,
      before: row.before,
      after: row.after,
    }));
  }

  /**
   * One transition: state, audit row and, where it has one, the route's change, all or nothing. A driver writes only
   * with the token of a lease that holds; an operator's word ends the lease of whoever drives.
   * Errors: STATUS_CONFLICT when the migration changed since it was read, the lease is lost, or a version that it takes is
   * archived; those of a route change.
   */
  async advance(advance: MigrationAdvance): Promise<MigrationRecord> {
    checkAuthor(advance);
    const { migrationId, expectedSequence, leaseToken } = advance;
    return this.#database.change(async (transaction) => {
      const locked = await transaction
        .selectFrom('migrations')
        .select(['sequence', 'corpus_name', 'lease_token', 'state'])
        .where('migration_id', '=', migrationId)
        .forUpdate()
        .executeTakeFirst();
      if (locked === undefined) throw unknownMigration(migrationId);
      if (locked.sequence !== expectedSequence)
        throw new SwitchyardError(
          'STATUS_CONFLICT',
          `the migration of ${locked.corpus_name} is at event ${locked.sequence}, the change was based on ${expectedSequence}: look again`,
        );
      const { actor, reason, unlessArchived = null } = advance;
      const corpus = locked.corpus_name;
      if (unlessArchived !== null) {
        const { status } = await getVersion(transaction, { corpus, version: unlessArchived.version });
        if (status === 'archived') throw new SwitchyardError('STATUS_CONFLICT', unlessArchived.refusal);
      }
      const sequence = expectedSequence + 1;
      const route =
        advance.route === null
          ? null
          : await changeRoute(transaction, { ...advance.route, corpus, actor, reason }, this.#aliveMsMax);
      const state = JSON.stringify(advance.state);
      await transaction
        .insertInto('migration_events')
        .values({
          migration_id: migrationId,
          sequence,
          actor,
          reason,
          event: JSON.stringify(advance.event),
          lease_token: leaseToken,
          route_revision: route?.revision ?? null,
          before: JSON.stringify(locked.state),
          after: state,
        })
        .execute();
      await transaction
        .updateTable('migrations')
        .set({
          state,
          sequence,
          progress: null,
          updated_at: sql<Date>`clock_timestamp()`,
          finished_at: advance.isFinished ? sql<Date>`clock_timestamp()` : null,
          reported_at: null,
          ...(leaseToken === null
            ? { lease_token: Number(locked.lease_token) + 1, lease_holder: null, lease_expires_at: null }
            : {}),
        })
        .where('migration_id', '=', migrationId)
        .execute();
      return readMigrationRecord(transaction, migrationId);
    });
  }

  /** Null while another one holds it. Taking one's own again renews it under the same token. */
  async takeLease(migrationId: string, holder: string, ttlMs: number): Promise<MigrationLease | null> {
    const row = await this.#database.read((tables) =>
      tables
        .updateTable('migrations')
        .set({
          lease_token: sql<number>`CASE WHEN lease_holder = ${holder} AND lease_expires_at > clock_timestamp()
            THEN lease_token ELSE lease_token + 1 END`,
          lease_holder: holder,
          lease_expires_at: inMs(ttlMs),
        })
        .where('migration_id', '=', migrationId)
        .where((where) =>
          where.or([
            where('lease_holder', 'is', null),
            where('lease_holder', '=', holder),
            sql<boolean>`lease_expires_at <= clock_timestamp()`,
          ]),
        )
        .returning('lease_token')
        .executeTakeFirst(),
    );
    return row === undefined ? null : { holder, token: Number(row.lease_token) };
  }

  /** The migration as it is now; null when the lease is lost. */
  async renewLease(
    migrationId: string,
    { token }: MigrationLease,
    ttlMs: number,
    progress: unknown = null,
  ): Promise<MigrationRecord | null> {
    return this.#database.change(async (transaction) => {
      const row = await transaction
        .updateTable('migrations')
        .set({ lease_expires_at: inMs(ttlMs), progress: JSON.stringify(progress) })
        .where('migration_id', '=', migrationId)
        .where('lease_token', '=', String(token))
        .where('lease_expires_at', '>', sql<Date>`clock_timestamp()`)
        .returning('migration_id')
        .executeTakeFirst();
      return row === undefined ? null : readMigrationRecord(transaction, migrationId);
    });
  }

  /** So that another one need not wait for it to run out. A lost lease is not touched. */
  async releaseLease(migrationId: string, { token }: MigrationLease): Promise<void> {
    await this.#database.read((tables) =>
      tables
        .updateTable('migrations')
        .set({ lease_holder: null, lease_expires_at: null })
        .where('migration_id', '=', migrationId)
        .where('lease_token', '=', String(token))
        .execute(),
    );
  }

  /** Those that ended and whose report nobody has written yet, oldest first. */
  async unreported(): Promise<readonly MigrationRecord[]> {
    const rows = await this.#database.read((tables) =>
      selectMigrations(tables)
        .where('finished_at', 'is not', null)
        .where('reported_at', 'is', null)
        .orderBy('finished_at')
        .limit(LISTED_MAX)
        .execute(),
    );
    return rows.map(toRecord);
  }

  /** False when the lease was lost, or the migration went on meanwhile. */
  async noteReport(migrationId: string, { token }: MigrationLease): Promise<boolean> {
    const row = await this.#database.read((tables) =>
      tables
        .updateTable('migrations')
        .set({ reported_at: sql<Date>`clock_timestamp()` })
        .where('migration_id', '=', migrationId)
        .where('lease_token', '=', String(token))
        .where('finished_at', 'is not', null)
        .returning('migration_id')
        .executeTakeFirst(),
    );
    return row !== undefined;
  }

  addSample(migrationId: string, gatewayId: string, sample: unknown): Promise<void> {
    return this.#samples.add(migrationId, gatewayId, sample);
  }

  /** As `MigrationSamples.since`. */
  samplesSince(migrationId: string, since: Date): AsyncGenerator<MigrationSample> {
    return this.#samples.since(migrationId, since);
  }

  pruneSamples(keepDays: number): Promise<number> {
    return this.#samples.prune(keepDays);
  }

  /** The database's clock: what samples and events are dated by. */
  async now(): Promise<Date> {
    const { now } = await this.#database.read((tables) =>
      tables.selectNoFrom(sql<Date>`clock_timestamp()`.as('now')).executeTakeFirstOrThrow(),
    );
    return now;
  }
}

const inMs = (ms: number) => sql<Date>`clock_timestamp() + make_interval(secs => ${ms / 1000})`;
