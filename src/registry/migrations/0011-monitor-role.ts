import { type Kysely, type Migration, sql } from 'kysely';

/** A role of keys for what only looks: a scraper of metrics need not be able to change routes. */
export const monitorRole: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await sql`
      ALTER TABLE api_keys
        DROP CONSTRAINT api_keys_role_known,
        ADD CONSTRAINT api_keys_role_known CHECK (role IN ('search', 'monitor', 'operator', 'admin'));
    `.execute(db);
  },
};
