import { type Kysely, type Migration, sql } from 'kysely';

/** Who searches which version, what a retired version was archived as, and the way back of an archived version. */
export const consumersAndArchives: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await sql`
      -- Compares scores with numbers of its own, which another model's scores do not fit.
      ALTER TABLE embedding_consumers ADD COLUMN uses_score_thresholds BOOLEAN NOT NULL DEFAULT FALSE;

      -- Requests by key and day, as the gateways counted them. The name of the key, not its id: keys are rotated.
      CREATE TABLE version_traffic (
        corpus_version_id UUID NOT NULL REFERENCES embedding_corpus_versions (corpus_version_id),
        key_name          VARCHAR(128) NOT NULL, -- '': no key was asked for
        kind              VARCHAR(8) NOT NULL,
        day               DATE NOT NULL,
        requests          BIGINT NOT NULL,
        last_at           TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (corpus_version_id, key_name, kind, day),
        CONSTRAINT version_traffic_kind_known CHECK (kind IN ('split', 'pinned')),
        CONSTRAINT version_traffic_requests_positive CHECK (requests > 0)
      );
      CREATE INDEX version_traffic_by_day ON version_traffic (day);

      CREATE TABLE version_archives (
        archive_id        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        corpus_version_id UUID NOT NULL,
        build_digest      VARCHAR(64) NOT NULL,
        uri               TEXT NOT NULL,
        sha256            VARCHAR(64) NOT NULL, -- of archive.json
        archived_at       TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
        verified_at       TIMESTAMPTZ,
        deleted_at        TIMESTAMPTZ, -- the serving copy was deleted
        restored_at       TIMESTAMPTZ,
        CONSTRAINT version_archives_build_of_version FOREIGN KEY (corpus_version_id, build_digest)
          REFERENCES builds (corpus_version_id, digest),
        CONSTRAINT version_archives_place_unique UNIQUE (uri),
        CONSTRAINT version_archives_sha256_form CHECK (sha256 ~ '^[0-9a-f]{64}$'),
        CONSTRAINT version_archives_deleted_verified CHECK (deleted_at IS NULL OR verified_at IS NOT NULL)
      );

      -- As before, but an archived version is ready again once it was restored from its archive.
      CREATE OR REPLACE FUNCTION switchyard_version_rules() RETURNS TRIGGER LANGUAGE plpgsql AS $f$
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
        IF NEW.status = 'building' THEN
          PERFORM switchyard_refuse('version_status_path', 'no way from this status to that');
        END IF;
        IF OLD.status = 'archived' THEN
          SELECT status INTO model_status FROM embedding_models WHERE model_id = NEW.model_id FOR NO KEY UPDATE;
          IF NEW.status <> 'ready' OR model_status = 'archived' OR NOT EXISTS (
            SELECT FROM version_archives a
              WHERE a.corpus_version_id = NEW.corpus_version_id AND a.build_digest = NEW.default_build
                AND a.restored_at >= coalesce(a.deleted_at, a.archived_at)
          ) THEN
            PERFORM switchyard_refuse('version_status_path', 'no way from this status to that');
          END IF;
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
    `.execute(db);
  },
};
