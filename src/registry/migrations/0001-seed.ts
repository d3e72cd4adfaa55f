import { type Kysely, type Migration, sql } from 'kysely';

/** The three tables of the embedding-lifecycle design, column for column. Rules it states in comments are constraints. */
export const seed: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await sql`
      CREATE TABLE embedding_models (
        model_id            UUID PRIMARY KEY DEFAULT gen_random_uuid(),
        model_name          VARCHAR(128) NOT NULL,
        model_version       VARCHAR(32) NOT NULL,
        provider            VARCHAR(64),
        dimensions          INT NOT NULL,
        max_tokens          INT NOT NULL,
        similarity_metric   VARCHAR(16) NOT NULL,
        training_data_hash  BYTEA,
        benchmark_scores    JSONB,
        status              VARCHAR(16) DEFAULT 'staging',
        created_at          TIMESTAMPTZ DEFAULT now(),
        deprecated_at       TIMESTAMPTZ,
        CONSTRAINT embedding_models_name_version_unique UNIQUE (model_name, model_version),
        CONSTRAINT embedding_models_dimensions_range CHECK (dimensions BETWEEN 1 AND 65536),
        CONSTRAINT embedding_models_max_tokens_range CHECK (max_tokens BETWEEN 1 AND 1048576),
        CONSTRAINT embedding_models_metric_known CHECK (similarity_metric IN ('cosine', 'dot', 'l2')),
        CONSTRAINT embedding_models_status_known
          CHECK (status IS NOT NULL AND status IN ('staging', 'active', 'deprecated', 'archived'))
      );

      CREATE TABLE embedding_corpus_versions (
        corpus_version_id   UUID PRIMARY KEY DEFAULT gen_random_uuid(),
        model_id            UUID CONSTRAINT embedding_corpus_versions_model_exists REFERENCES embedding_models (model_id),
        corpus_name         VARCHAR(128) NOT NULL,
        total_embeddings    BIGINT NOT NULL,
        storage_uri         TEXT NOT NULL,
        index_uri           TEXT,
        status              VARCHAR(16) DEFAULT 'building',
        created_at          TIMESTAMPTZ DEFAULT now(),
        completed_at        TIMESTAMPTZ,
        quality_metrics     JSONB,
        CONSTRAINT embedding_corpus_versions_model_named CHECK (model_id IS NOT NULL),
        CONSTRAINT embedding_corpus_versions_total_range CHECK (total_embeddings >= 0),
        CONSTRAINT embedding_corpus_versions_status_known
          CHECK (status IS NOT NULL AND status IN ('building', 'ready', 'active', 'draining', 'archived'))
      );

      CREATE TABLE embedding_consumers (
        consumer_id         UUID PRIMARY KEY DEFAULT gen_random_uuid(),
        corpus_version_id   UUID CONSTRAINT embedding_consumers_version_exists
                            REFERENCES embedding_corpus_versions (corpus_version_id),
        service_name        VARCHAR(128) NOT NULL,
        team_owner          VARCHAR(64) NOT NULL,
        migration_deadline  TIMESTAMPTZ,
        migrated            BOOLEAN DEFAULT FALSE,
        CONSTRAINT embedding_consumers_version_named CHECK (corpus_version_id IS NOT NULL),
        CONSTRAINT embedding_consumers_migrated_known CHECK (migrated IS NOT NULL),
        CONSTRAINT embedding_consumers_service_unique UNIQUE (corpus_version_id, service_name)
      );
    `.execute(db);
  },
};
