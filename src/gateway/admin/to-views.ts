import type { RecordedBuild } from '../../registry/builds.js';
import type { RegistryChange } from '../../registry/changes.js';
import type { Consumer } from '../../registry/consumers.js';
import type { CorpusVersion } from '../../registry/corpus-versions.js';
import type { DesiredTarget } from '../../registry/desired-targets.js';
import type { Gateway } from '../../registry/gateways.js';
import type { RegisteredModel } from '../../registry/models.js';
import type { Route, RouteRevision, RouteTarget } from '../../registry/route.js';
import type { EncoderReport } from '../../router/targets.js';
import { digestPrefix } from '../../vocabulary.js';
import type {
  BuildView,
  ChangeView,
  ConsumerView,
  CorpusVersionView,
  DesiredTargetView,
  GatewayView,
  ModelView,
  ReplicaView,
  RevisionView,
  RouteView,
  TargetView,
} from './views.js';

export const targetView = (target: RouteTarget): TargetView => ({
  version: target.version,
  build: digestPrefix(target.build),
  model: target.modelRef,
  fingerprint: target.fingerprint,
  role: target.role,
  weight: target.weightBps,
  tier: target.tier,
  mirror_bps: target.mirrorBps,
});

/** `desired`: the preloads of the same corpus. Only live replicas are told of; `listGateways` has the others. */
export function routeView(
  route: Route,
  gateways: readonly Gateway[],
  desired: readonly DesiredTarget[],
): RouteView {
  const wanted = new Set([
    ...route.targets.filter(({ role }) => role !== 'shadow').map(({ build }) => build),
    ...desired.map(({ build }) => build),
  ]);
  return {
    corpus: route.corpus,
    revision: route.revision,
    targets: route.targets.map(targetView),
    replicas: gateways
      .filter(({ alive }) => alive)
      .map((gateway): ReplicaView => {
        const applied = gateway.appliedRevisions[route.corpus] ?? null;
        const ready = new Set(gateway.readyTargets);
        return {
          gateway_id: gateway.gatewayId,
          address: gateway.address,
          applied_revision: applied,
          lagging: applied !== route.revision,
          missing_builds: [...wanted].filter((build) => !ready.has(build)).map(digestPrefix),
          heartbeat_age_ms: gateway.heartbeatAgeMs,
          last_error: gateway.lastError,
        };
      }),
  };
}

export const revisionView = (row: RouteRevision): RevisionView => ({
  revision: row.revision,
  changed_at: row.changedAt.toISOString(),
  actor: row.actor,
  reason: row.reason,
  forced: row.forced,
  rolled_back_to: row.rolledBackTo,
  before: row.before?.map(targetView) ?? null,
  after: row.after.map(targetView),
});

export function desiredTargetView(target: DesiredTarget, gateways: readonly Gateway[]): DesiredTargetView {
  const alive = gateways.filter((gateway) => gateway.alive);
  const holds = (gateway: Gateway): boolean => gateway.readyTargets.includes(target.build);
  return {
    corpus: target.corpus,
    version: target.version,
    build: digestPrefix(target.build),
    model: target.modelRef,
    fingerprint: target.fingerprint,
    tier: target.tier,
    ready: alive.filter(holds).map(({ gatewayId }) => gatewayId),
    waiting: alive.filter((gateway) => !holds(gateway)).map(({ gatewayId }) => gatewayId),
  };
}

export const gatewayView = (gateway: Gateway): GatewayView => ({
  gateway_id: gateway.gatewayId,
  address: gateway.address,
  alive: gateway.alive,
  started_at: gateway.startedAt.toISOString(),
  heartbeat_at: gateway.heartbeatAt.toISOString(),
  heartbeat_age_ms: gateway.heartbeatAgeMs,
  applied_revisions: gateway.appliedRevisions,
  ready_builds: gateway.readyTargets.map(digestPrefix),
  last_error: gateway.lastError,
});

/** `encoder`: of this process; null where it holds none. */
export const modelView = (model: RegisteredModel, encoder: EncoderReport | null): ModelView => ({
  model: model.modelRef,
  fingerprint: model.fingerprint,
  status: model.status,
  dimensions: model.dimensions,
  max_tokens: model.maxTokens,
  metric: model.metric,
  provider: encoder === null ? 'not loaded' : (encoder.provider ?? encoder.state),
  encoder_failure: encoder?.error ? `${encoder.error.reason}: ${encoder.error.message}` : null,
});

export const corpusVersionView = (version: CorpusVersion): CorpusVersionView => ({
  corpus: version.corpus,
  version: version.version,
  status: version.status,
  model: version.modelRef,
  fingerprint: version.fingerprint,
  total_embeddings: version.totalEmbeddings,
  default_build: version.defaultBuild === null ? null : digestPrefix(version.defaultBuild),
  created_at: version.createdAt.toISOString(),
  completed_at: version.completedAt?.toISOString() ?? null,
  failure: version.failure?.why ?? null,
});

export const buildView = (build: RecordedBuild): BuildView => ({
  corpus: build.corpus,
  version: build.version,
  build: digestPrefix(build.digest),
  digest: build.digest,
  is_default: build.isDefault,
  quantization: build.quantization,
  dimensions: build.dimensions,
  row_count: build.rowCount,
  recall_at_10: build.recallAt10,
  bundle_uri: build.bundleUri,
  created_at: build.createdAt.toISOString(),
});

export const consumerView = (consumer: Consumer): ConsumerView => ({
  consumer_id: consumer.consumerId,
  corpus: consumer.corpus,
  version: consumer.version,
  service_name: consumer.serviceName,
  team_owner: consumer.teamOwner,
  migration_deadline: consumer.migrationDeadline?.toISOString() ?? null,
  migrated: consumer.migrated,
  uses_score_thresholds: consumer.usesScoreThresholds,
});

export const changeView = (change: RegistryChange): ChangeView => ({
  changed_at: change.changedAt.toISOString(),
  actor: change.actor,
  reason: change.reason,
  subject: change.subject,
  before: change.before,
  after: change.after,
});
