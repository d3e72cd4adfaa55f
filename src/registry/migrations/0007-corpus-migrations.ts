import { type Kysely, type Migration, sql } from 'kysely';

/**
 * Migrations of corpora from one version to another: one unfinished per corpus, every transition with its audit row in
 * the same transaction, and a lease whose token fences off a driver that lost it.
 */
export const corpusMigrations: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await sql`
      CREATE TABLE migrations (
        migration_id     UUID PRIMARY KEY DEFAULT gen_random_uuid(),
        corpus_name      VARCHAR(128) NOT NULL,
        from_version     VARCHAR(64) NOT NULL,
        to_version       VARCHAR(64) NOT NULL,
        plan             JSONB NOT NULL,
        state            JSONB NOT NULL,
        sequence         INT NOT NULL, -- of its last event
        progress         JSONB, -- of the step in hand
        created_at       TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
        updated_at       TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
        finished_at      TIMESTAMPTZ,
        lease_holder     VARCHAR(64),
        lease_token      BIGINT NOT NULL DEFAULT 0, -- rises with every change of holder
        lease_expires_at TIMESTAMPTZ,
        CONSTRAINT migrations_versions_differ CHECK (from_version <> to_version),
        CONSTRAINT migrations_state_form CHECK (jsonb_typeof(state -> 'kind') = 'string'),
        CONSTRAINT migrations_lease_whole CHECK ((lease_holder IS NULL) = (lease_expires_at IS NULL))
      );
      CREATE UNIQUE INDEX migrations_one_unfinished ON migrations (corpus_name) WHERE finished_at IS NULL;
      CREATE INDEX migrations_by_corpus ON migrations (corpus_name, created_at);

      CREATE TABLE migration_events (
        migration_id   UUID NOT NULL REFERENCES migrations (migration_id),
        sequence       INT NOT NULL,
        at             TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
        actor          TEXT NOT NULL,
        reason         TEXT NOT NULL,
        event          JSONB NOT NULL,
        lease_token    BIGINT, -- of the driver; null: an operator
        route_revision INT, -- that the same transaction made
        before         JSONB, -- null for the first
        after          JSONB NOT NULL,
        PRIMARY KEY (migration_id, sequence),
        CONSTRAINT migration_events_actor_given CHECK (btrim(actor) <> ''),
        CONSTRAINT migration_events_reason_given CHECK (btrim(reason) <> ''),
        CONSTRAINT migration_events_before_known CHECK ((before IS NULL) = (sequence = 1))
      );
      CREATE TRIGGER migration_events_fixed BEFORE UPDATE OR DELETE ON migration_events
        FOR EACH ROW EXECUTE FUNCTION switchyard_never('migration_events_append_only');
      CREATE TRIGGER migration_events_kept BEFORE TRUNCATE ON migration_events
        FOR EACH STATEMENT EXECUTE FUNCTION switchyard_never('migration_events_append_only');
      ALTER TABLE migrations ADD CONSTRAINT migrations_audited FOREIGN KEY (migration_id, sequence)
        REFERENCES migration_events (migration_id, sequence) DEFERRABLE INITIALLY DEFERRED;

      -- What each gateway measured of the two versions while a migration goes on.
      CREATE TABLE migration_samples (
        migration_id UUID NOT NULL REFERENCES migrations (migration_id),
        gateway_id   VARCHAR(64) NOT NULL,
        at           TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
        sample       JSONB NOT NULL,
        PRIMARY KEY (migration_id, at, gateway_id)
      );

      CREATE FUNCTION switchyard_migration_rules() RETURNS TRIGGER LANGUAGE plpgsql AS $f$
      BEGIN
        IF TG_OP = 'DELETE' THEN
          PERFORM switchyard_refuse('migration_kept', 'a migration is never deleted');
        END IF;
        IF TG_OP = 'UPDATE' THEN
          IF (NEW.migration_id, NEW.corpus_name, NEW.from_version, NEW.to_version, NEW.plan, NEW.created_at)
             IS DISTINCT FROM
             (OLD.migration_id, OLD.corpus_name, OLD.from_version, OLD.to_version, OLD.plan, OLD.created_at) THEN
            PERFORM switchyard_refuse('migration_fixed', 'versions and plan of a migration never change');
          END IF;
          IF NEW.lease_token < OLD.lease_token
             OR (NEW.lease_holder IS NOT NULL AND NEW.lease_holder IS DISTINCT FROM OLD.lease_holder
                 AND NEW.lease_token = OLD.lease_token) THEN
            PERFORM switchyard_refuse('migration_lease_rises', 'a new holder of the lease has a new token');
          END IF;
          IF NEW.sequence = OLD.sequence AND (NEW.state, NEW.finished_at) IS DISTINCT FROM (OLD.state, OLD.finished_at)
             OR NEW.sequence NOT IN (OLD.sequence, OLD.sequence + 1) THEN
            PERFORM switchyard_refuse('migration_step', 'a state changes with one more event');
          END IF;
          IF OLD.finished_at IS NOT NULL AND NEW.state IS DISTINCT FROM OLD.state
             AND NOT (OLD.state ->> 'kind' = 'completed' AND NEW.state ->> 'kind' = 'rolled_back') THEN
            PERFORM switchyard_refuse('migration_finished', 'a migration that ended does not go on');
          END IF;
        ELSIF NEW.sequence <> 1 OR NEW.finished_at IS NOT NULL THEN
          PERFORM switchyard_refuse('migration_step', 'a migration begins with its first event');
        END IF;
        IF TG_OP = 'INSERT' OR NEW.sequence <> OLD.sequence THEN
          PERFORM pg_notify('switchyard_registry', json_build_object(
            'kind', 'migration', 'corpus', NEW.corpus_name)::TEXT);
        END IF;
        RETURN NEW;
      END $f$;
      CREATE TRIGGER migrations_rules BEFORE INSERT OR UPDATE OR DELETE ON migrations
        FOR EACH ROW EXECUTE FUNCTION switchyard_migration_rules();

      -- Fencing: what a driver writes carries the token of the lease, and a lease that passed on has another one.
      CREATE FUNCTION switchyard_migration_event_rules() RETURNS TRIGGER LANGUAGE plpgsql AS $f$
      DECLARE
        migration migrations;
      BEGIN
        SELECT * INTO migration FROM migrations WHERE migration_id = NEW.migration_id FOR NO KEY UPDATE;
        IF NEW.lease_token IS NOT NULL
           AND (NEW.lease_token <> migration.lease_token OR migration.lease_expires_at IS NULL
                OR migration.lease_expires_at < clock_timestamp()) THEN
          PERFORM switchyard_refuse('migration_lease_lost', 'the lease passed on or ran out');
        END IF;
        RETURN NEW;
      END $f$;
      CREATE TRIGGER migration_events_fenced BEFORE INSERT ON migration_events
        FOR EACH ROW EXECUTE FUNCTION switchyard_migration_event_rules();

      CREATE FUNCTION switchyard_migration_whole() RETURNS TRIGGER LANGUAGE plpgsql AS $f$
      BEGIN
        IF NOT EXISTS (
          SELECT FROM migrations m JOIN migration_events e USING (migration_id, sequence)
            WHERE m.migration_id = NEW.migration_id AND e.after = m.state
        ) THEN
          PERFORM switchyard_refuse('migration_audit_says_state', 'the audit row does not say what the state is');
        END IF;
        RETURN NULL;
      END $f$;
      CREATE CONSTRAINT TRIGGER migrations_whole AFTER INSERT OR UPDATE OF state, sequence ON migrations
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION switchyard_migration_whole();
    `.execute(db);
  },
};
