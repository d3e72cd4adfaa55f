import type { ColumnType, Generated } from 'kysely';
import type { Metric, TargetRole, Tier } from '../vocabulary.js';

/** The tables as PostgreSQL returns and takes them. JSONB is written as text and read parsed. */
type Json<T> = ColumnType<T, string, string>;
/** BIGINT: a string from the driver, since it may exceed a double. */
type BigInteger = ColumnType<string, number, number>;

export const MODEL_STATUSES = ['staging', 'active', 'deprecated', 'archived'] as const;
export type ModelStatus = (typeof MODEL_STATUSES)[number];

export const CORPUS_VERSION_STATUSES = ['building', 'ready', 'active', 'draining', 'archived'] as const;
export type CorpusVersionStatus = (typeof CORPUS_VERSION_STATUSES)[number];

/** What happened to an archive, in order. */
export const ARCHIVE_STEPS = ['verified', 'deleted', 'restored'] as const;
export type ArchiveStep = (typeof ARCHIVE_STEPS)[number];

interface EmbeddingModels {
  model_id: Generated<string>;
  model_name: string;
  model_version: string;
  provider: string | null;
  dimensions: number;
  max_tokens: number;
  similarity_metric: Metric;
  training_data_hash: Buffer | null;
  benchmark_scores: Json<unknown> | null;
  status: Generated<ModelStatus>;
  created_at: Generated<Date>;
  deprecated_at: Date | null;
  fingerprint: string;
  artifact_uri: string;
  manifest: Json<unknown>;
}

interface EmbeddingModelProbes {
  model_id: string;
  ordinal: number;
  input_role: 'query' | 'document';
  text: string;
  vector: Buffer;
}

interface EmbeddingCorpusVersions {
  corpus_version_id: Generated<string>;
  model_id: string;
  corpus_name: string;
  total_embeddings: BigInteger;
  storage_uri: string;
  index_uri: string | null;
  status: Generated<CorpusVersionStatus>;
  created_at: Generated<Date>;
  completed_at: ColumnType<Date | null, Date | undefined, Date | null>;
  quality_metrics: ColumnType<unknown, string | undefined, string>;
  label: string;
  document_template: string | null;
  text_normalisation: string | null;
  default_build: string | null;
  failed_at: Date | null;
  failure: string | null;
}

interface EmbeddingConsumers {
  consumer_id: Generated<string>;
  corpus_version_id: string;
  service_name: string;
  team_owner: string;
  migration_deadline: Date | null;
  migrated: Generated<boolean>;
  uses_score_thresholds: Generated<boolean>;
}

interface VersionTraffic {
  corpus_version_id: string;
  key_name: string;
  kind: 'split' | 'pinned';
  day: Date;
  requests: BigInteger;
  last_at: Date;
}

interface VersionArchives {
  archive_id: Generated<string>;
  corpus_version_id: string;
  build_digest: string;
  uri: string;
  sha256: string;
  archived_at: Generated<Date>;
  verified_at: ColumnType<Date | null, undefined, Date | null>;
  deleted_at: ColumnType<Date | null, undefined, Date | null>;
  restored_at: ColumnType<Date | null, undefined, Date | null>;
}

interface Builds {
  digest: string;
  corpus_version_id: string;
  bundle_uri: string;
  manifest: Json<unknown>;
  created_at: Generated<Date>;
}

interface Routes {
  corpus_name: string;
  revision: number;
  salt: string;
}

interface RouteTargets {
  corpus_name: string;
  position: number;
  corpus_version_id: string;
  build_digest: string;
  role: TargetRole;
  weight_bps: number;
  tier: Tier;
  mirror_bps: number;
}

interface RouteRevisions {
  corpus_name: string;
  revision: number;
  changed_at: Generated<Date>;
  actor: string;
  reason: string;
  forced: boolean;
  rolled_back_to: number | null;
  before: ColumnType<unknown, string | null, never>;
  after: ColumnType<unknown, string, never>;
}

interface DesiredTargets {
  build_digest: string;
  corpus_version_id: string;
  tier: Tier;
  created_at: Generated<Date>;
}

interface Gateways {
  gateway_id: string;
  address: string;
  started_at: Generated<Date>;
  heartbeat_at: Generated<Date>;
  applied_revisions: Json<Record<string, number>>;
  ready_targets: Json<string[]>;
  last_error: string | null;
}

export const KEY_ROLES = ['search', 'monitor', 'operator', 'admin'] as const;
export type KeyRole = (typeof KEY_ROLES)[number];

interface ApiKeys {
  key_id: string;
  name: string;
  role: KeyRole;
  /** Empty: all. */
  corpora: string[];
  key_hmac: Buffer;
  hmac_secret_id: string;
  requests_per_s: number | null;
  concurrency_max: number | null;
  created_at: Generated<Date>;
  expires_at: Date;
  revoked_at: ColumnType<Date | null, undefined, Date>;
  replaced_by: ColumnType<string | null, undefined, string>;
}

interface RegistryChanges {
  change_id: Generated<string>;
  changed_at: Generated<Date>;
  actor: string;
  reason: string;
  subject: string;
  before: ColumnType<unknown, string | null, never>;
  after: ColumnType<unknown, string | null, never>;
}

interface GoldenSets {
  golden_set_id: Generated<string>;
  name: string;
  content_sha256: string;
  number: ColumnType<number | null, undefined, number>;
  source: ColumnType<string | null, undefined, string>;
  query_count: ColumnType<number | null, undefined, number>;
  judgement_count: ColumnType<number | null, undefined, number>;
  created_at: Generated<Date>;
  sealed_at: ColumnType<Date | null, undefined, Date>;
}

interface GoldenQueries {
  golden_set_id: string;
  query_id: string;
  text: string;
  judgements: Json<Record<string, number>>;
  sha256: string;
}

/** How a grade counts in nDCG: itself, or 1 for whatever is relevant. */
export const GAINS = ['graded', 'binary'] as const;
export type Gain = (typeof GAINS)[number];

/** What an evaluation has of each query and, as means, of all. */
export const QUALITY_METRICS = ['recall', 'mrr', 'ndcg', 'map', 'judged'] as const;
export type QualityMetric = (typeof QUALITY_METRICS)[number];

interface Evaluations {
  evaluation_id: Generated<string>;
  golden_set_id: string;
  corpus_version_id: string;
  build_digest: string;
  k: number;
  depth: number;
  gain: Gain;
  means: ColumnType<Record<QualityMetric, number> | null, undefined, string>;
  query_count: ColumnType<number | null, undefined, number>;
  created_at: Generated<Date>;
  finished_at: ColumnType<Date | null, undefined, Date>;
}

type EvaluationScores = { evaluation_id: string; query_id: string } & Record<QualityMetric, number>;

interface CorpusMigrations {
  migration_id: Generated<string>;
  corpus_name: string;
  from_version: string;
  to_version: string;
  plan: Json<unknown>;
  state: Json<unknown>;
  sequence: number;
  progress: ColumnType<unknown, undefined, string | null>;
  created_at: Generated<Date>;
  updated_at: Generated<Date>;
  finished_at: ColumnType<Date | null, undefined, Date | null>;
  reported_at: ColumnType<Date | null, undefined, Date | null>;
  lease_holder: ColumnType<string | null, undefined, string | null>;
  lease_token: ColumnType<string, undefined, number>;
  lease_expires_at: ColumnType<Date | null, undefined, Date | null>;
}

interface MigrationEvents {
  migration_id: string;
  sequence: number;
  at: Generated<Date>;
  actor: string;
  reason: string;
  event: ColumnType<unknown, string, never>;
  lease_token: BigInteger | null;
  route_revision: number | null;
  before: ColumnType<unknown, string | null, never>;
  after: ColumnType<unknown, string, never>;
}

interface MigrationSamples {
  migration_id: string;
  gateway_id: string;
  at: Generated<Date>;
  sample: Json<unknown>;
}

export const RETIREMENT_STATES = ['running', 'completed', 'failed', 'cancelled'] as const;
export type RetirementState = (typeof RETIREMENT_STATES)[number];

interface Retirements {
  retirement_id: Generated<string>;
  corpus_version_id: string;
  place: string;
  quiet_days: number;
  actor: string;
  reason: string;
  state: ColumnType<RetirementState, undefined, RetirementState>;
  why: ColumnType<string | null, undefined, string | null>;
  steps: ColumnType<unknown, undefined, string>;
  created_at: Generated<Date>;
  updated_at: Generated<Date>;
  finished_at: ColumnType<Date | null, undefined, Date | null>;
  lease_holder: ColumnType<string | null, undefined, string | null>;
  lease_expires_at: ColumnType<Date | null, undefined, Date | null>;
}

export interface RegistrySchema {
  embedding_models: EmbeddingModels;
  embedding_model_probes: EmbeddingModelProbes;
  embedding_corpus_versions: EmbeddingCorpusVersions;
  embedding_consumers: EmbeddingConsumers;
  version_traffic: VersionTraffic;
  version_archives: VersionArchives;
  builds: Builds;
  routes: Routes;
  route_targets: RouteTargets;
  route_revisions: RouteRevisions;
  desired_targets: DesiredTargets;
  gateways: Gateways;
  api_keys: ApiKeys;
  golden_sets: GoldenSets;
  golden_queries: GoldenQueries;
  evaluations: Evaluations;
  evaluation_scores: EvaluationScores;
  retirements: Retirements;
  migrations: CorpusMigrations;
  migration_events: MigrationEvents;
  migration_samples: MigrationSamples;
  registry_changes: RegistryChanges;
}
