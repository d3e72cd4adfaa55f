import { type Kysely, type Migration, sql } from 'kysely';

/** Routes, their append-only audit, and the statuses of corpus versions that follow from them (invariants 2 and 5). */
export const routes: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await sql`
      CREATE TABLE route_revisions (
        corpus_name    VARCHAR(128) NOT NULL,
        revision       INT NOT NULL,
        changed_at     TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
        actor          TEXT NOT NULL,
        reason         TEXT NOT NULL,
        forced         BOOLEAN NOT NULL,
        rolled_back_to INT, -- null for an ordinary change
        before         JSONB, -- null for the first revision
        after          JSONB NOT NULL,
        PRIMARY KEY (corpus_name, revision),
        CONSTRAINT route_revisions_actor_given CHECK (btrim(actor) <> ''),
        CONSTRAINT route_revisions_reason_given CHECK (btrim(reason) <> ''),
        CONSTRAINT route_revisions_before_known CHECK ((before IS NULL) = (revision = 1))
      );
      CREATE TRIGGER route_revisions_fixed BEFORE UPDATE OR DELETE ON route_revisions
        FOR EACH ROW EXECUTE FUNCTION switchyard_never('route_revisions_append_only');
      CREATE TRIGGER route_revisions_kept BEFORE TRUNCATE ON route_revisions
        FOR EACH STATEMENT EXECUTE FUNCTION switchyard_never('route_revisions_append_only');

      CREATE TABLE routes (
        corpus_name VARCHAR(128) PRIMARY KEY,
        revision    INT NOT NULL,
        salt        VARCHAR(64) NOT NULL,
        CONSTRAINT routes_salt_given CHECK (salt <> ''),
        -- Invariant 5: no revision without its audit row.
        CONSTRAINT routes_audited FOREIGN KEY (corpus_name, revision)
          REFERENCES route_revisions (corpus_name, revision) DEFERRABLE INITIALLY DEFERRED
      );

      CREATE TABLE route_targets (
        corpus_name       VARCHAR(128) NOT NULL REFERENCES routes (corpus_name),
        position          INT NOT NULL, -- as the operator wrote them
        corpus_version_id UUID NOT NULL,
        build_digest      VARCHAR(64) NOT NULL,
        role              VARCHAR(16) NOT NULL,
        weight_bps        INT NOT NULL,
        tier              VARCHAR(8) NOT NULL,
        mirror_bps        INT NOT NULL,
        CONSTRAINT route_targets_once PRIMARY KEY (corpus_name, build_digest),
        CONSTRAINT route_targets_build_of_version FOREIGN KEY (corpus_version_id, build_digest)
          REFERENCES builds (corpus_version_id, digest),
        CONSTRAINT route_targets_role_known CHECK (role IN ('active', 'shadow', 'draining')),
        CONSTRAINT route_targets_tier_known CHECK (tier IN ('dram', 'ssd')),
        CONSTRAINT route_targets_weight_range CHECK (weight_bps BETWEEN 0 AND 10000),
        CONSTRAINT route_targets_mirror_range CHECK (mirror_bps BETWEEN 0 AND 10000),
        CONSTRAINT route_targets_weight_only_active CHECK (role = 'active' OR weight_bps = 0),
        CONSTRAINT route_targets_mirror_only_shadow CHECK (role = 'shadow' OR mirror_bps = 0)
      );
      CREATE INDEX route_targets_by_version ON route_targets (corpus_version_id);

      CREATE FUNCTION switchyard_route_rules() RETURNS TRIGGER LANGUAGE plpgsql AS $f$
      BEGIN
        IF TG_OP = 'DELETE' THEN
          PERFORM switchyard_refuse('route_kept', 'a route is never deleted');
        END IF;
        IF TG_OP = 'INSERT' THEN
          IF NEW.revision <> 1 THEN
            PERFORM switchyard_refuse('route_revision_step', 'a route begins with revision 1');
          END IF;
        ELSIF (NEW.corpus_name, NEW.salt) IS DISTINCT FROM (OLD.corpus_name, OLD.salt) THEN
          PERFORM switchyard_refuse('route_salt_fixed', 'the salt of a route never changes');
        ELSIF NEW.revision <> OLD.revision + 1 THEN
          PERFORM switchyard_refuse('route_revision_step', 'a revision is one more than the one before');
        END IF;
        PERFORM pg_notify('switchyard_registry', json_build_object(
          'kind', 'route', 'corpus', NEW.corpus_name, 'revision', NEW.revision)::TEXT);
        RETURN NEW;
      END $f$;
      CREATE TRIGGER routes_rules BEFORE INSERT OR UPDATE OR DELETE ON routes
        FOR EACH ROW EXECUTE FUNCTION switchyard_route_rules();

      CREATE FUNCTION switchyard_target_rules() RETURNS TRIGGER LANGUAGE plpgsql AS $f$
      DECLARE
        version embedding_corpus_versions;
      BEGIN
        IF TG_OP = 'UPDATE' THEN
          PERFORM switchyard_refuse('route_targets_replaced', 'targets are replaced, not edited');
        END IF;
        SELECT * INTO version FROM embedding_corpus_versions
          WHERE corpus_version_id = NEW.corpus_version_id FOR NO KEY UPDATE;
        IF version.corpus_name IS DISTINCT FROM NEW.corpus_name THEN
          PERFORM switchyard_refuse('route_targets_of_corpus', 'the version belongs to another corpus');
        END IF;
        IF version.status NOT IN ('ready', 'active', 'draining') THEN
          PERFORM switchyard_refuse('route_targets_version_ready', 'a version takes traffic only when it is ready');
        END IF;
        RETURN NEW;
      END $f$;
      CREATE TRIGGER route_targets_rules BEFORE INSERT OR UPDATE ON route_targets
        FOR EACH ROW EXECUTE FUNCTION switchyard_target_rules();

      -- What a version's status must be, given the routes; null: the routes say nothing about it.
      CREATE FUNCTION switchyard_routed_status(version UUID) RETURNS TEXT LANGUAGE sql AS $f$
        SELECT CASE WHEN bool_or(role = 'active') THEN 'active' WHEN bool_or(role = 'draining') THEN 'draining' END
        FROM route_targets WHERE corpus_version_id = version
      $f$;

      CREATE FUNCTION switchyard_follow_route() RETURNS TRIGGER LANGUAGE plpgsql AS $f$
      DECLARE
        target route_targets := coalesce(NEW, OLD);
      BEGIN
        UPDATE embedding_corpus_versions v
          SET status = coalesce(switchyard_routed_status(v.corpus_version_id), 'ready')
          WHERE v.corpus_version_id = target.corpus_version_id
            AND v.status IS DISTINCT FROM coalesce(switchyard_routed_status(v.corpus_version_id), 'ready');
        RETURN NULL;
      END $f$;
      CREATE TRIGGER route_targets_status AFTER INSERT OR DELETE ON route_targets
        FOR EACH ROW EXECUTE FUNCTION switchyard_follow_route();

      CREATE FUNCTION switchyard_version_rules() RETURNS TRIGGER LANGUAGE plpgsql AS $f$
      DECLARE
        model_status TEXT;
        routed TEXT;
      BEGIN
        IF TG_OP = 'DELETE' THEN
          PERFORM switchyard_refuse('version_kept', 'a corpus version is archived, never deleted');
        END IF;
        IF TG_OP = 'INSERT' THEN
          SELECT status INTO model_status FROM embedding_models WHERE model_id = NEW.model_id FOR NO KEY UPDATE;
          IF model_status = 'archived' THEN
            PERFORM switchyard_refuse('version_of_archived_model', 'an archived model embeds no new version');
          END IF;
          IF NEW.status IS DISTINCT FROM 'building' THEN
            PERFORM switchyard_refuse('version_begins_building', 'a version begins as building');
          END IF;
          RETURN NEW;
        END IF;
        IF (NEW.corpus_version_id, NEW.model_id, NEW.corpus_name, NEW.label, NEW.document_template,
            NEW.text_normalisation)
           IS DISTINCT FROM
           (OLD.corpus_version_id, OLD.model_id, OLD.corpus_name, OLD.label,
            coalesce(OLD.document_template, NEW.document_template),
            coalesce(OLD.text_normalisation, NEW.text_normalisation)) THEN
          PERFORM switchyard_refuse('version_identity_fixed', 'the identity of a corpus version never changes');
        END IF;
        IF NEW.status NOT IN ('building', 'archived') AND NEW.default_build IS NULL THEN
          PERFORM switchyard_refuse('version_ready_needs_build', 'a version is ready only when a build is recorded');
        END IF;
        IF NEW.status IS NOT DISTINCT FROM OLD.status THEN
          RETURN NEW;
        END IF;
        IF OLD.status = 'archived' OR NEW.status = 'building' THEN
          PERFORM switchyard_refuse('version_status_path', 'no way from this status to that');
        END IF;
        routed := switchyard_routed_status(NEW.corpus_version_id);
        IF NEW.status = 'archived' AND EXISTS (
          SELECT FROM route_targets WHERE corpus_version_id = NEW.corpus_version_id
        ) THEN
          PERFORM switchyard_refuse('version_archived_not_routed', 'a version in a route cannot be archived');
        END IF;
        IF NEW.status <> 'archived' AND NEW.status IS DISTINCT FROM coalesce(routed, 'ready') THEN
          PERFORM switchyard_refuse('version_status_follows_route', 'active and draining follow from the routes');
        END IF;
        RETURN NEW;
      END $f$;
      CREATE TRIGGER embedding_corpus_versions_rules BEFORE INSERT OR UPDATE OR DELETE ON embedding_corpus_versions
        FOR EACH ROW EXECUTE FUNCTION switchyard_version_rules();

      -- At commit: the targets are a valid route, and the audit row of the current revision says exactly them.
      CREATE FUNCTION switchyard_route_whole() RETURNS TRIGGER LANGUAGE plpgsql AS $f$
      DECLARE
        corpus TEXT := coalesce(NEW.corpus_name, OLD.corpus_name);
        total INT;
        actives INT;
        audited JSONB;
        present JSONB;
      BEGIN
        SELECT coalesce(sum(weight_bps) FILTER (WHERE role = 'active'), 0), count(*) FILTER (WHERE role = 'active')
          INTO total, actives FROM route_targets WHERE corpus_name = corpus;
        IF actives = 0 THEN
          PERFORM switchyard_refuse('route_has_active', 'a route needs an active target');
        END IF;
        IF total <> 10000 THEN
          PERFORM switchyard_refuse('route_weights_total', 'the weights of active targets sum to 10000');
        END IF;
        SELECT jsonb_agg(jsonb_build_array(t ->> 'version', t ->> 'build', t ->> 'role', (t ->> 'weight_bps')::INT,
                 t ->> 'tier', (t ->> 'mirror_bps')::INT) ORDER BY t ->> 'build')
          INTO audited
          FROM routes r JOIN route_revisions a USING (corpus_name, revision),
               jsonb_array_elements(a.after -> 'targets') t
          WHERE r.corpus_name = corpus;
        SELECT jsonb_agg(jsonb_build_array(v.label, t.build_digest, t.role, t.weight_bps, t.tier, t.mirror_bps)
                 ORDER BY t.build_digest)
          INTO present
          FROM route_targets t JOIN embedding_corpus_versions v USING (corpus_version_id)
          WHERE t.corpus_name = corpus;
        IF audited IS DISTINCT FROM present THEN
          PERFORM switchyard_refuse('route_audit_says_targets', 'the audit row does not say what the route is');
        END IF;
        RETURN NULL;
      END $f$;
      CREATE CONSTRAINT TRIGGER route_targets_whole AFTER INSERT OR DELETE ON route_targets
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION switchyard_route_whole();
      CREATE CONSTRAINT TRIGGER routes_whole AFTER INSERT OR UPDATE ON routes
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION switchyard_route_whole();
    `.execute(db);
  },
};
