import type { WorstQuery } from '../../router/comparison-recorder.js';
import type { TargetRole, Tier } from '../../vocabulary.js';

/**
 * What the admin API answers, over HTTP as JSON and over gRPC as the messages of the same names. Times are ISO 8601,
 * builds are digest prefixes as in `served_by`, and every build may be named by what is shown here.
 */
export interface TargetView {
  readonly version: string;
  readonly build: string;
  readonly model: string;
  readonly fingerprint: string;
  readonly role: TargetRole;
  /** Basis points. */
  readonly weight: number;
  readonly tier: Tier;
  readonly mirror_bps: number;
}

/** A live gateway process, seen from one corpus. */
export interface ReplicaView {
  readonly gateway_id: string;
  readonly address: string;
  /** Null before its first revision of this corpus is applied. */
  readonly applied_revision: number | null;
  readonly lagging: boolean;
  /** Builds of the route and of the desired targets that it has not reported ready for weight. */
  readonly missing_builds: readonly string[];
  readonly heartbeat_age_ms: number;
  readonly last_error: string | null;
}

export interface RouteView {
  readonly corpus: string;
  readonly revision: number;
  readonly targets: readonly TargetView[];
  readonly replicas: readonly ReplicaView[];
}

export interface RevisionView {
  readonly revision: number;
  readonly changed_at: string;
  readonly actor: string;
  readonly reason: string;
  readonly forced: boolean;
  readonly rolled_back_to: number | null;
  /** Null for the first revision. */
  readonly before: readonly TargetView[] | null;
  readonly after: readonly TargetView[];
}

export interface DesiredTargetView {
  readonly corpus: string;
  readonly version: string;
  readonly build: string;
  readonly model: string;
  readonly fingerprint: string;
  readonly tier: Tier;
  /** Live replicas that hold it ready, and those that do not yet. */
  readonly ready: readonly string[];
  readonly waiting: readonly string[];
}

export interface GatewayView {
  readonly gateway_id: string;
  readonly address: string;
  readonly alive: boolean;
  readonly started_at: string;
  readonly heartbeat_at: string;
  readonly heartbeat_age_ms: number;
  readonly applied_revisions: Readonly<Record<string, number>>;
  readonly ready_builds: readonly string[];
  readonly last_error: string | null;
}

export interface ModelView {
  /** name@version */
  readonly model: string;
  readonly fingerprint: string;
  readonly status: string;
  readonly dimensions: number;
  readonly max_tokens: number;
  readonly metric: string;
  /** The execution provider in use here, or the state of the encoder; `not loaded` where this process has none. */
  readonly provider: string;
}

export interface CorpusVersionView {
  readonly corpus: string;
  readonly version: string;
  readonly status: string;
  readonly model: string;
  readonly fingerprint: string;
  /** Rows of the default build. */
  readonly total_embeddings: number;
  readonly default_build: string | null;
  readonly created_at: string;
  readonly completed_at: string | null;
  /** Why its last build failed. */
  readonly failure: string | null;
}

export interface BuildView {
  readonly corpus: string;
  readonly version: string;
  readonly build: string;
  readonly digest: string;
  readonly is_default: boolean;
  readonly quantization: string;
  readonly dimensions: number;
  readonly row_count: number;
  readonly recall_at_10: number;
  readonly bundle_uri: string;
  readonly created_at: string;
}

export interface ConsumerView {
  readonly consumer_id: string;
  readonly corpus: string;
  readonly version: string;
  readonly service_name: string;
  readonly team_owner: string;
  readonly migration_deadline: string | null;
  readonly migrated: boolean;
}

export interface ChangeView {
  readonly changed_at: string;
  readonly actor: string;
  readonly reason: string;
  readonly subject: string;
  readonly before: unknown;
  readonly after: unknown;
}

export interface DistributionView {
  readonly count: number;
  readonly mean: number | null;
  readonly min: number | null;
  readonly max: number | null;
  /** `count` values are at most `le` and above the one before; `le` null: no upper bound. Empty buckets are left out. */
  readonly buckets: readonly { readonly le: number | null; readonly count: number }[];
}

export interface ComparedTargetView {
  readonly version: string;
  readonly build: string;
  readonly model: string;
  readonly fingerprint: string;
}

export interface WorstQueryView {
  readonly query_hash: WorstQuery['queryHash'];
  /** Only where comparison.keep_texts is set. */
  readonly text: string | null;
  readonly k: number;
  readonly rbo: number;
  readonly overlap: number;
  readonly jaccard: number;
  readonly primary_ids: readonly string[];
  readonly shadow_ids: readonly string[];
  readonly at: string;
}

export interface PairView {
  readonly primary: ComparedTargetView;
  readonly shadow: ComparedTargetView;
  /** Answers compared since this process began. */
  readonly compared: number;
  readonly top1_match_share: number | null;
  /** Answers in which the shadow had fewer hits. */
  readonly shadow_shorter: number;
  readonly distributions: Readonly<Record<string, DistributionView>>;
  /** Lowest RBO first; outlives restarts. */
  readonly worst: readonly WorstQueryView[];
}

/** What the mirrors of one gateway process found: replicas share nothing, so each answers for itself. */
export interface ComparisonView {
  readonly corpus: string;
  readonly gateway_id: string;
  readonly pairs: readonly PairView[];
  /** Pairs of builds of the same embeddings and parameters in another insertion order: they differ by chance alone. */
  readonly noise_floor: readonly PairView[];
}
