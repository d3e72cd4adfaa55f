import { type Kysely, type Migration, sql } from 'kysely';

/** Which targets replicas should hold, what each replica reports, and the audit of changes that are not routes. */
export const replicas: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await sql`
      -- Loading comes before routing: builds that every replica should hold beside those of the routes.
      CREATE TABLE desired_targets (
        build_digest      VARCHAR(64) PRIMARY KEY,
        corpus_version_id UUID NOT NULL,
        tier              VARCHAR(8) NOT NULL,
        created_at        TIMESTAMPTZ NOT NULL DEFAULT now(),
        CONSTRAINT desired_targets_build_of_version FOREIGN KEY (corpus_version_id, build_digest)
          REFERENCES builds (corpus_version_id, digest),
        CONSTRAINT desired_targets_tier_known CHECK (tier IN ('dram', 'ssd'))
      );

      CREATE FUNCTION switchyard_desired_rules() RETURNS TRIGGER LANGUAGE plpgsql AS $f$
      DECLARE
        version embedding_corpus_versions;
        target desired_targets := coalesce(NEW, OLD);
      BEGIN
        SELECT * INTO version FROM embedding_corpus_versions
          WHERE corpus_version_id = target.corpus_version_id FOR NO KEY UPDATE;
        IF TG_OP <> 'DELETE' AND version.status NOT IN ('ready', 'active', 'draining') THEN
          PERFORM switchyard_refuse('desired_targets_version_ready', 'a version is loaded only when it is ready');
        END IF;
        PERFORM pg_notify('switchyard_registry',
          json_build_object('kind', 'desired_targets', 'corpus', version.corpus_name)::TEXT);
        RETURN target;
      END $f$;
      CREATE TRIGGER desired_targets_rules BEFORE INSERT OR UPDATE OR DELETE ON desired_targets
        FOR EACH ROW EXECUTE FUNCTION switchyard_desired_rules();

      CREATE FUNCTION switchyard_unload_archived() RETURNS TRIGGER LANGUAGE plpgsql AS $f$
      BEGIN
        DELETE FROM desired_targets WHERE corpus_version_id = NEW.corpus_version_id;
        RETURN NULL;
      END $f$;
      CREATE TRIGGER embedding_corpus_versions_unload AFTER UPDATE OF status ON embedding_corpus_versions
        FOR EACH ROW WHEN (NEW.status = 'archived') EXECUTE FUNCTION switchyard_unload_archived();

      CREATE TABLE gateways (
        gateway_id        VARCHAR(64) PRIMARY KEY,
        address           TEXT NOT NULL,
        started_at        TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
        heartbeat_at      TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
        applied_revisions JSONB NOT NULL, -- { corpus: revision }
        ready_targets     JSONB NOT NULL, -- [ digest ]
        last_error        TEXT,
        CONSTRAINT gateways_applied_form CHECK (jsonb_typeof(applied_revisions) = 'object'),
        CONSTRAINT gateways_ready_form CHECK (jsonb_typeof(ready_targets) = 'array')
      );

      CREATE TABLE registry_changes (
        change_id  BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        changed_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
        actor      TEXT NOT NULL,
        reason     TEXT NOT NULL,
        subject    TEXT NOT NULL, -- 'model minilm@1', 'corpus_version docs_kb/v2', ...
        before     JSONB,
        after      JSONB,
        CONSTRAINT registry_changes_actor_given CHECK (btrim(actor) <> ''),
        CONSTRAINT registry_changes_reason_given CHECK (btrim(reason) <> '')
      );
      CREATE TRIGGER registry_changes_fixed BEFORE UPDATE OR DELETE ON registry_changes
        FOR EACH ROW EXECUTE FUNCTION switchyard_never('registry_changes_append_only');
      CREATE TRIGGER registry_changes_kept BEFORE TRUNCATE ON registry_changes
        FOR EACH STATEMENT EXECUTE FUNCTION switchyard_never('registry_changes_append_only');
    `.execute(db);
  },
};
