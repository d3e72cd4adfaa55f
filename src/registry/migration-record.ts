import { sql } from 'kysely';
import { SwitchyardError } from '../errors.js';
import type { RegistryTransaction, Tables } from './database.js';

/** The right to drive one migration: every write of its holder carries the token. */
export interface MigrationLease {
  readonly holder: string;
  readonly token: number;
}

/** A migration as it is written down. Plan and state are the lifecycle's words; here they are JSON with a `kind`. */
export interface MigrationRecord {
  readonly migrationId: string;
  readonly corpus: string;
  readonly fromVersion: string;
  readonly toVersion: string;
  readonly plan: unknown;
  readonly state: unknown;
  /** Number of its last event. */
  readonly sequence: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  readonly finishedAt: Date | null;
  /** When the report of its end was written; null while somebody still has to. */
  readonly reportedAt: Date | null;
  /** Of the step in hand, as its driver last said; null when it says nothing. */
  readonly progress: unknown;
  /** Who drives it; null when nobody does, or the lease ran out. */
  readonly lease: (MigrationLease & { readonly expiresInMs: number }) | null;
}

/** With what is left of the lease. */
export function selectMigrations(tables: Tables | RegistryTransaction) {
  return tables
    .selectFrom('migrations')
    .selectAll()
    .select(
      sql<number | null>`(extract(epoch FROM lease_expires_at - clock_timestamp()) * 1000)::FLOAT8`.as(
        'lease_ms',
      ),
    );
}

/** Errors: UNKNOWN_MIGRATION. */
export async function readMigrationRecord(
  tables: Tables | RegistryTransaction,
  migrationId: string,
): Promise<MigrationRecord> {
  const isUuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(migrationId);
  const row = isUuid
    ? await selectMigrations(tables).where('migration_id', '=', migrationId).executeTakeFirst()
    : undefined;
  if (row === undefined) throw unknownMigration(migrationId);
  return toRecord(row);
}

export const unknownMigration = (migrationId: string): SwitchyardError =>
  new SwitchyardError(
    'UNKNOWN_MIGRATION',
    `there is no migration ${migrationId.slice(0, 80)}: \`switchyard migrate list\` shows them`,
  );

export function toRecord(
  row: Awaited<ReturnType<ReturnType<typeof selectMigrations>['execute']>>[number],
): MigrationRecord {
  const { lease_holder: holder, lease_ms: expiresInMs } = row;
  return Object.freeze({
    migrationId: row.migration_id,
    corpus: row.corpus_name,
    fromVersion: row.from_version,
    toVersion: row.to_version,
    plan: row.plan,
    state: row.state,
    sequence: row.sequence,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    finishedAt: row.finished_at,
    reportedAt: row.reported_at,
    progress: row.progress,
    lease:
      holder === null || expiresInMs === null || expiresInMs <= 0
        ? null
        : { holder, token: Number(row.lease_token), expiresInMs },
  });
}
