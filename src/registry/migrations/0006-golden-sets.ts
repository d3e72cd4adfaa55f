import { type Kysely, type Migration, sql } from 'kysely';

/**
 * Golden sets and evaluations. Both arrive in parts, since each may be larger than one request: rows are added until
 * the whole is sealed, and from then on nothing of it changes.
 */
export const goldenSets: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await sql`
      CREATE TABLE golden_sets (
        golden_set_id  UUID PRIMARY KEY DEFAULT gen_random_uuid(),
        name           VARCHAR(64) NOT NULL,
        content_sha256 VARCHAR(64) NOT NULL,
        number         INTEGER, -- running, of its name; null until it is sealed
        source         TEXT,
        query_count    INTEGER,
        judgement_count INTEGER,
        created_at     TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
        sealed_at      TIMESTAMPTZ,
        CONSTRAINT golden_sets_name_form CHECK (name ~ '^[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?$'),
        CONSTRAINT golden_sets_hash_form CHECK (content_sha256 ~ '^[0-9a-f]{64}$'),
        CONSTRAINT golden_sets_content_unique UNIQUE (name, content_sha256),
        CONSTRAINT golden_sets_number_unique UNIQUE (name, number),
        CONSTRAINT golden_sets_sealed_whole CHECK
          ((sealed_at IS NULL) = (number IS NULL) AND (sealed_at IS NULL) = (query_count IS NULL))
      );

      CREATE TABLE golden_queries (
        golden_set_id UUID NOT NULL REFERENCES golden_sets (golden_set_id) ON DELETE CASCADE,
        query_id      VARCHAR(512) NOT NULL,
        text          TEXT NOT NULL,
        judgements    JSONB NOT NULL, -- document id → grade; above 0 is relevant
        sha256        VARCHAR(64) NOT NULL,
        PRIMARY KEY (golden_set_id, query_id),
        CONSTRAINT golden_queries_judgements_object CHECK (jsonb_typeof(judgements) = 'object')
      );

      CREATE TABLE evaluations (
        evaluation_id     UUID PRIMARY KEY DEFAULT gen_random_uuid(),
        golden_set_id     UUID NOT NULL REFERENCES golden_sets (golden_set_id),
        corpus_version_id UUID NOT NULL REFERENCES embedding_corpus_versions (corpus_version_id),
        build_digest      VARCHAR(64) NOT NULL,
        k                 INTEGER NOT NULL,
        depth             INTEGER NOT NULL,
        gain              VARCHAR(16) NOT NULL,
        means             JSONB,
        query_count       INTEGER,
        created_at        TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
        finished_at       TIMESTAMPTZ,
        CONSTRAINT evaluations_build_of_version
          FOREIGN KEY (corpus_version_id, build_digest) REFERENCES builds (corpus_version_id, digest),
        CONSTRAINT evaluations_gain_known CHECK (gain IN ('graded', 'binary')),
        CONSTRAINT evaluations_depth_covers CHECK (k >= 1 AND depth >= k AND depth >= 10),
        CONSTRAINT evaluations_finished_whole CHECK
          ((finished_at IS NULL) = (means IS NULL) AND (finished_at IS NULL) = (query_count IS NULL))
      );
      CREATE INDEX evaluations_of_version ON evaluations (corpus_version_id, created_at);

      CREATE TABLE evaluation_scores (
        evaluation_id UUID NOT NULL REFERENCES evaluations (evaluation_id) ON DELETE CASCADE,
        query_id      VARCHAR(512) NOT NULL,
        recall        DOUBLE PRECISION NOT NULL,
        mrr           DOUBLE PRECISION NOT NULL,
        ndcg          DOUBLE PRECISION NOT NULL,
        map           DOUBLE PRECISION NOT NULL,
        judged        DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (evaluation_id, query_id),
        CONSTRAINT evaluation_scores_shares CHECK (
          recall BETWEEN 0 AND 1 AND mrr BETWEEN 0 AND 1 AND ndcg BETWEEN 0 AND 1
          AND map BETWEEN 0 AND 1 AND judged BETWEEN 0 AND 1)
      );

      CREATE FUNCTION switchyard_golden_set_rules() RETURNS TRIGGER LANGUAGE plpgsql AS $f$
      BEGIN
        IF OLD.sealed_at IS NOT NULL THEN
          PERFORM switchyard_refuse('golden_set_fixed', 'a golden set never changes');
        END IF;
        IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
        IF (NEW.golden_set_id, NEW.name, NEW.content_sha256) IS DISTINCT FROM
           (OLD.golden_set_id, OLD.name, OLD.content_sha256) THEN
          PERFORM switchyard_refuse('golden_set_fixed', 'a golden set never changes');
        END IF;
        RETURN NEW;
      END $f$;
      CREATE TRIGGER golden_sets_rules BEFORE UPDATE OR DELETE ON golden_sets
        FOR EACH ROW EXECUTE FUNCTION switchyard_golden_set_rules();
      CREATE TRIGGER golden_sets_kept BEFORE TRUNCATE ON golden_sets
        FOR EACH STATEMENT EXECUTE FUNCTION switchyard_never('golden_set_fixed');

      -- The row lock makes the rule hold against a transaction that seals at the same moment.
      CREATE FUNCTION switchyard_golden_query_rules() RETURNS TRIGGER LANGUAGE plpgsql AS $f$
      DECLARE
        sealed TIMESTAMPTZ;
      BEGIN
        IF TG_OP = 'UPDATE' THEN
          PERFORM switchyard_refuse('golden_set_fixed', 'a golden set never changes');
        END IF;
        SELECT sealed_at INTO sealed FROM golden_sets
          WHERE golden_set_id = CASE TG_OP WHEN 'DELETE' THEN OLD.golden_set_id ELSE NEW.golden_set_id END FOR SHARE;
        IF sealed IS NOT NULL THEN
          PERFORM switchyard_refuse('golden_set_fixed', 'a golden set never changes');
        END IF;
        IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
        RETURN NEW;
      END $f$;
      CREATE TRIGGER golden_queries_rules BEFORE INSERT OR UPDATE OR DELETE ON golden_queries
        FOR EACH ROW EXECUTE FUNCTION switchyard_golden_query_rules();
      CREATE TRIGGER golden_queries_kept BEFORE TRUNCATE ON golden_queries
        FOR EACH STATEMENT EXECUTE FUNCTION switchyard_never('golden_set_fixed');

      CREATE FUNCTION switchyard_evaluation_rules() RETURNS TRIGGER LANGUAGE plpgsql AS $f$
      BEGIN
        IF OLD.finished_at IS NOT NULL THEN
          PERFORM switchyard_refuse('evaluation_fixed', 'an evaluation never changes');
        END IF;
        IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
        IF (NEW.evaluation_id, NEW.golden_set_id, NEW.corpus_version_id, NEW.build_digest, NEW.k, NEW.depth, NEW.gain)
           IS DISTINCT FROM
           (OLD.evaluation_id, OLD.golden_set_id, OLD.corpus_version_id, OLD.build_digest, OLD.k, OLD.depth, OLD.gain) THEN
          PERFORM switchyard_refuse('evaluation_fixed', 'an evaluation never changes');
        END IF;
        RETURN NEW;
      END $f$;
      CREATE TRIGGER evaluations_rules BEFORE UPDATE OR DELETE ON evaluations
        FOR EACH ROW EXECUTE FUNCTION switchyard_evaluation_rules();
      CREATE TRIGGER evaluations_kept BEFORE TRUNCATE ON evaluations
        FOR EACH STATEMENT EXECUTE FUNCTION switchyard_never('evaluation_fixed');

      CREATE FUNCTION switchyard_evaluation_score_rules() RETURNS TRIGGER LANGUAGE plpgsql AS $f$
      DECLARE
        finished TIMESTAMPTZ;
      BEGIN
        IF TG_OP = 'UPDATE' THEN
          PERFORM switchyard_refuse('evaluation_fixed', 'an evaluation never changes');
        END IF;
        SELECT finished_at INTO finished FROM evaluations
          WHERE evaluation_id = CASE TG_OP WHEN 'DELETE' THEN OLD.evaluation_id ELSE NEW.evaluation_id END FOR SHARE;
        IF finished IS NOT NULL THEN
          PERFORM switchyard_refuse('evaluation_fixed', 'an evaluation never changes');
        END IF;
        IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
        RETURN NEW;
      END $f$;
      CREATE TRIGGER evaluation_scores_rules BEFORE INSERT OR UPDATE OR DELETE ON evaluation_scores
        FOR EACH ROW EXECUTE FUNCTION switchyard_evaluation_score_rules();
      CREATE TRIGGER evaluation_scores_kept BEFORE TRUNCATE ON evaluation_scores
        FOR EACH STATEMENT EXECUTE FUNCTION switchyard_never('evaluation_fixed');
    `.execute(db);
  },
};
