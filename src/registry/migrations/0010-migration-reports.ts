import { type Kysely, type Migration, sql } from 'kysely';

/**
 * Whether the report of a migration that ended was written: until then some gateway still has to. Those of before were
 * either written or can be asked for.
 */
export const migrationReports: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await sql`
      ALTER TABLE migrations ADD COLUMN reported_at TIMESTAMPTZ;
      UPDATE migrations SET reported_at = finished_at WHERE finished_at IS NOT NULL;
      CREATE INDEX migrations_unreported ON migrations (finished_at)
        WHERE finished_at IS NOT NULL AND reported_at IS NULL;
    `.execute(db);
  },
};
