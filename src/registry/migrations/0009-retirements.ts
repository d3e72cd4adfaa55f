import { type Kysely, type Migration, sql } from 'kysely';

/** Retirements of versions that gateways carry out: one unfinished per version, by a lease that another gateway takes over. */
export const retirements: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await sql`
      CREATE TABLE retirements (
        retirement_id     UUID PRIMARY KEY DEFAULT gen_random_uuid(),
        corpus_version_id UUID NOT NULL REFERENCES embedding_corpus_versions (corpus_version_id),
        place             TEXT NOT NULL, -- of the archive
        quiet_days        DOUBLE PRECISION NOT NULL,
        actor             TEXT NOT NULL,
        reason            TEXT NOT NULL,
        state             VARCHAR(16) NOT NULL DEFAULT 'running',
        why               TEXT, -- it failed, or what it waits for
        steps             JSONB NOT NULL DEFAULT '[]', -- as they were done
        created_at        TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
        updated_at        TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
        finished_at       TIMESTAMPTZ,
        lease_holder      VARCHAR(64),
        lease_expires_at  TIMESTAMPTZ,
        CONSTRAINT retirements_state_known CHECK (state IN ('running', 'completed', 'failed', 'cancelled')),
        CONSTRAINT retirements_finished CHECK ((state = 'running') = (finished_at IS NULL)),
        CONSTRAINT retirements_quiet_days_range CHECK (quiet_days >= 0),
        CONSTRAINT retirements_lease_whole CHECK ((lease_holder IS NULL) = (lease_expires_at IS NULL))
      );
      CREATE UNIQUE INDEX retirements_one_unfinished ON retirements (corpus_version_id) WHERE finished_at IS NULL;
      CREATE INDEX retirements_by_version ON retirements (corpus_version_id, created_at);
      CREATE TRIGGER retirements_kept BEFORE DELETE ON retirements
        FOR EACH ROW EXECUTE FUNCTION switchyard_never('retirement_kept');
    `.execute(db);
  },
};
