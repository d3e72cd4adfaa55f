import { Type } from '@sinclair/typebox';
import { CORPUS_VERSION_STATUSES, MODEL_STATUSES } from '../../registry/schema.js';
import { METRICS, QUANTIZATIONS, TARGET_ROLES, TIERS } from '../../vocabulary.js';
import { closed, count, oneOf, orNull, type Plain, text, time } from './schema-words.js';

/**
 * What the admin API answers, over HTTP as JSON (shown by OpenAPI) and over gRPC as the messages of the same names.
 * Times are ISO 8601, builds are digest prefixes as in `served_by`, and every build may be named by what is shown here.
 */
const build = text('Digest prefix.');
const modelRef = text('name@version');
const tier = oneOf(TIERS);

export const TargetView = Type.Object(
  {
    version: Type.String(),
    build,
    model: modelRef,
    fingerprint: Type.String(),
    role: oneOf(TARGET_ROLES),
    weight: count('Basis points.'),
    tier,
    mirror_bps: count('Share of served reads that a shadow gets a copy of.'),
  },
  closed,
);
export type TargetView = Plain<typeof TargetView>;

export const ReplicaView = Type.Object(
  {
    gateway_id: Type.String(),
    address: text('URL of its admin HTTP API.'),
    applied_revision: orNull(count('Null before its first revision of this corpus is applied.')),
    lagging: Type.Boolean(),
    missing_builds: Type.Array(build, {
      description:
        'Builds of the route and of the desired targets that it has not reported ready for weight.',
    }),
    heartbeat_age_ms: Type.Number(),
    last_error: orNull(Type.String()),
  },
  { ...closed, description: 'A live gateway process, seen from one corpus.' },
);
export type ReplicaView = Plain<typeof ReplicaView>;

export const RouteView = Type.Object(
  {
    corpus: Type.String(),
    revision: count('Also the ETag.'),
    targets: Type.Array(TargetView),
    replicas: Type.Array(ReplicaView),
  },
  closed,
);
export type RouteView = Plain<typeof RouteView>;

export const RevisionView = Type.Object(
  {
    revision: count('Rises by one with every change.'),
    changed_at: time('When.'),
    actor: text('Who.'),
    reason: text('Why.'),
    forced: Type.Boolean({ description: 'Whether the readiness of replicas was overridden.' }),
    rolled_back_to: orNull(count('The revision whose targets came back.')),
    before: orNull(Type.Array(TargetView, { description: 'Null for the first revision.' })),
    after: Type.Array(TargetView),
  },
  closed,
);
export type RevisionView = Plain<typeof RevisionView>;

export const DesiredTargetView = Type.Object(
  {
    corpus: Type.String(),
    version: Type.String(),
    build,
    model: modelRef,
    fingerprint: Type.String(),
    tier,
    ready: Type.Array(Type.String(), { description: 'Live replicas that hold it ready.' }),
    waiting: Type.Array(Type.String(), { description: 'Live replicas that do not yet.' }),
  },
  closed,
);
export type DesiredTargetView = Plain<typeof DesiredTargetView>;

export const GatewayView = Type.Object(
  {
    gateway_id: Type.String(),
    address: text('URL of its admin HTTP API.'),
    alive: Type.Boolean(),
    started_at: time('When it began.'),
    heartbeat_at: time('When it last said so.'),
    heartbeat_age_ms: Type.Number(),
    applied_revisions: Type.Record(Type.String(), Type.Integer(), {
      description: 'Corpus → the route revision it serves.',
    }),
    ready_builds: Type.Array(build),
    last_error: orNull(Type.String()),
  },
  closed,
);
export type GatewayView = Plain<typeof GatewayView>;

export const ModelView = Type.Object(
  {
    model: modelRef,
    fingerprint: Type.String(),
    status: oneOf(MODEL_STATUSES),
    dimensions: count('Numbers of a vector.'),
    max_tokens: count('Longer texts are cut here.'),
    metric: oneOf(METRICS),
    provider: text(
      'The execution provider in use here, or the state of the encoder; `not loaded` where this process has none.',
    ),
    encoder_failure: orNull(text('Why the encoder failed here, also while it is tried again.')),
  },
  closed,
);
export type ModelView = Plain<typeof ModelView>;

export const CorpusVersionView = Type.Object(
  {
    corpus: Type.String(),
    version: Type.String(),
    status: oneOf(CORPUS_VERSION_STATUSES),
    model: modelRef,
    fingerprint: Type.String(),
    total_embeddings: count('Rows of the default build.'),
    default_build: orNull(build),
    created_at: time('When it was begun.'),
    completed_at: orNull(time('When its first build was recorded.')),
    failure: orNull(text('Why its last build failed.')),
  },
  closed,
);
export type CorpusVersionView = Plain<typeof CorpusVersionView>;

export const BuildView = Type.Object(
  {
    corpus: Type.String(),
    version: Type.String(),
    build,
    digest: text('SHA-256 of its manifest.'),
    is_default: Type.Boolean({ description: 'Whether routes take it when they name none.' }),
    quantization: oneOf(QUANTIZATIONS),
    dimensions: count('Numbers of a stored vector.'),
    row_count: count('Vectors.'),
    recall_at_10: Type.Number({ description: 'Against exact search.' }),
    bundle_uri: Type.String(),
    created_at: time('When it was recorded.'),
  },
  closed,
);
export type BuildView = Plain<typeof BuildView>;

export const ConsumerView = Type.Object(
  {
    consumer_id: Type.String(),
    corpus: Type.String(),
    version: Type.String(),
    service_name: Type.String(),
    team_owner: Type.String(),
    migration_deadline: orNull(time('By when it must have left this version.')),
    migrated: Type.Boolean(),
    uses_score_thresholds: Type.Boolean({
      description: 'Compares scores with numbers of its own, which do not fit another model.',
    }),
  },
  closed,
);
export type ConsumerView = Plain<typeof ConsumerView>;

export const ChangeView = Type.Object(
  {
    changed_at: time('When.'),
    actor: text('Who.'),
    reason: text('Why.'),
    subject: text('What was changed: `model minilm@1`, `corpus_version docs_kb/v2`, …'),
    before: Type.Unknown({ description: 'JSON; null for what was not there.' }),
    after: Type.Unknown({ description: 'JSON; null for what is gone.' }),
  },
  closed,
);
export type ChangeView = Plain<typeof ChangeView>;

export const StorageView = Type.Object(
  {
    models_folder: text('Where imported models lie, each in a folder named by its fingerprint.'),
    bundles_folder: text('Where bundles lie: <corpus>/<version>/<digest prefix>.'),
  },
  { ...closed, description: 'Where the answering process looks for what it is told to record.' },
);
export type StorageView = Plain<typeof StorageView>;
