import { type Kysely, type Migration, sql } from 'kysely';

/** What identifies a vector space and a build beside the seed's columns, and the rules of their lives as triggers. */
export const modelsAndBuilds: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await sql`
      ALTER TABLE embedding_models
        ADD COLUMN fingerprint  VARCHAR(36) NOT NULL,
        ADD COLUMN artifact_uri TEXT NOT NULL,
        ADD COLUMN manifest     JSONB NOT NULL,
        ADD CONSTRAINT embedding_models_fingerprint_unique UNIQUE (fingerprint),
        ADD CONSTRAINT embedding_models_fingerprint_form CHECK (fingerprint ~ '^mf1_[0-9a-f]{32}$');

      CREATE TABLE embedding_model_probes (
        model_id   UUID NOT NULL REFERENCES embedding_models (model_id) ON DELETE CASCADE,
        ordinal    INT NOT NULL,
        input_role VARCHAR(16) NOT NULL,
        text       TEXT NOT NULL,
        vector     BYTEA NOT NULL, -- little-endian float32, the model's dimensions
        PRIMARY KEY (model_id, ordinal),
        CONSTRAINT embedding_model_probes_role_known CHECK (input_role IN ('query', 'document'))
      );

      ALTER TABLE embedding_corpus_versions
        ADD COLUMN label              VARCHAR(32) NOT NULL,
        ADD COLUMN document_template  TEXT, -- null until given or until the first build
        ADD COLUMN text_normalisation TEXT,
        ADD COLUMN default_build      VARCHAR(64),
        ADD COLUMN failed_at          TIMESTAMPTZ,
        ADD COLUMN failure            TEXT,
        ADD CONSTRAINT embedding_corpus_versions_label_unique UNIQUE (corpus_name, label),
        ADD CONSTRAINT embedding_corpus_versions_failure_only_building
          CHECK (failed_at IS NULL OR status IN ('building', 'archived'));

      CREATE TABLE builds (
        digest            VARCHAR(64) PRIMARY KEY,
        corpus_version_id UUID NOT NULL REFERENCES embedding_corpus_versions (corpus_version_id),
        bundle_uri        TEXT NOT NULL,
        manifest          JSONB NOT NULL,
        created_at        TIMESTAMPTZ NOT NULL DEFAULT now(),
        CONSTRAINT builds_digest_form CHECK (digest ~ '^[0-9a-f]{64}$'),
        CONSTRAINT builds_of_version UNIQUE (corpus_version_id, digest)
      );
      ALTER TABLE embedding_corpus_versions
        ADD CONSTRAINT embedding_corpus_versions_default_build_exists
          FOREIGN KEY (corpus_version_id, default_build) REFERENCES builds (corpus_version_id, digest);

      CREATE FUNCTION switchyard_refuse(rule TEXT, explanation TEXT) RETURNS VOID LANGUAGE plpgsql AS $f$
      BEGIN
        RAISE EXCEPTION '%', explanation USING ERRCODE = '23000', CONSTRAINT = rule;
      END $f$;

      CREATE FUNCTION switchyard_model_rules() RETURNS TRIGGER LANGUAGE plpgsql AS $f$
      BEGIN
        IF TG_OP = 'DELETE' THEN
          PERFORM switchyard_refuse('model_kept', 'a model is archived, never deleted');
        END IF;
        IF (NEW.model_id, NEW.model_name, NEW.model_version, NEW.dimensions, NEW.similarity_metric, NEW.fingerprint,
            NEW.max_tokens, NEW.manifest)
           IS DISTINCT FROM
           (OLD.model_id, OLD.model_name, OLD.model_version, OLD.dimensions, OLD.similarity_metric, OLD.fingerprint,
            OLD.max_tokens, OLD.manifest) THEN
          PERFORM switchyard_refuse('model_identity_fixed', 'the identity of a model never changes');
        END IF;
        IF NEW.status IS DISTINCT FROM OLD.status THEN
          IF OLD.status = 'archived' OR NEW.status = 'staging' THEN
            PERFORM switchyard_refuse('model_status_path', 'no way from this status to that');
          END IF;
          IF NEW.status = 'archived' AND EXISTS (
            SELECT FROM embedding_corpus_versions v WHERE v.model_id = NEW.model_id AND v.status <> 'archived'
          ) THEN
            PERFORM switchyard_refuse('model_has_live_versions', 'a model with live versions cannot be archived');
          END IF;
        END IF;
        RETURN NEW;
      END $f$;
      CREATE TRIGGER embedding_models_rules BEFORE UPDATE OR DELETE ON embedding_models
        FOR EACH ROW EXECUTE FUNCTION switchyard_model_rules();

      CREATE FUNCTION switchyard_never() RETURNS TRIGGER LANGUAGE plpgsql AS $f$
      BEGIN
        PERFORM switchyard_refuse(TG_ARGV[0], TG_TABLE_NAME || ' are never changed');
      END $f$;
      CREATE TRIGGER embedding_model_probes_fixed BEFORE UPDATE OR DELETE ON embedding_model_probes
        FOR EACH ROW EXECUTE FUNCTION switchyard_never('model_probes_fixed');

      -- The row locks below make each rule hold against a transaction that commits at the same moment.
      CREATE FUNCTION switchyard_build_rules() RETURNS TRIGGER LANGUAGE plpgsql AS $f$
      DECLARE
        version embedding_corpus_versions;
        model embedding_models;
      BEGIN
        IF TG_OP = 'DELETE' THEN
          PERFORM switchyard_refuse('build_kept', 'a build is never deleted');
        END IF;
        IF TG_OP = 'UPDATE' THEN
          IF (NEW.digest, NEW.corpus_version_id, NEW.manifest) IS DISTINCT FROM
             (OLD.digest, OLD.corpus_version_id, OLD.manifest) THEN
            PERFORM switchyard_refuse('build_fixed', 'a published build never changes');
          END IF;
          RETURN NEW;
        END IF;
        SELECT * INTO version FROM embedding_corpus_versions
          WHERE corpus_version_id = NEW.corpus_version_id FOR NO KEY UPDATE;
        SELECT * INTO model FROM embedding_models WHERE model_id = version.model_id;
        IF version.status = 'archived' THEN
          PERFORM switchyard_refuse('build_of_archived_version', 'an archived version takes no builds');
        END IF;
        IF NEW.manifest #>> '{model,fingerprint}' IS DISTINCT FROM model.fingerprint THEN
          PERFORM switchyard_refuse('build_matches_model', 'the build was made by another model');
        END IF;
        IF (NEW.manifest ->> 'corpus', NEW.manifest ->> 'version', NEW.manifest ->> 'metric',
            NEW.manifest ->> 'full_dimensions')
           IS DISTINCT FROM
           (version.corpus_name::TEXT, version.label::TEXT, model.similarity_metric::TEXT, model.dimensions::TEXT) THEN
          PERFORM switchyard_refuse('build_matches_version', 'the build is of another version, metric or dimensions');
        END IF;
        IF (NEW.manifest ->> 'document_template', NEW.manifest ->> 'text_normalisation')
           IS DISTINCT FROM
           (coalesce(version.document_template, NEW.manifest ->> 'document_template'),
            coalesce(version.text_normalisation, NEW.manifest ->> 'text_normalisation')) THEN
          PERFORM switchyard_refuse('build_matches_template', 'the build has another template or normalisation');
        END IF;
        RETURN NEW;
      END $f$;
      CREATE TRIGGER builds_rules BEFORE INSERT OR UPDATE OR DELETE ON builds
        FOR EACH ROW EXECUTE FUNCTION switchyard_build_rules();
    `.execute(db);
  },
};
