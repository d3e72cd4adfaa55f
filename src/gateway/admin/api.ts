import type { ModelStatus } from '../../registry/schema.js';
import type { TargetRole, Tier } from '../../vocabulary.js';
import type {
  BuildView,
  ChangeView,
  ComparisonView,
  ConsumerView,
  CorpusVersionView,
  DesiredTargetView,
  GatewayView,
  ModelView,
  RevisionView,
  RouteView,
} from './views.js';

/** Who changes something and why; every change is audited with it (invariant 5). */
export interface Author {
  readonly actor: string;
  readonly reason: string;
}

export interface TargetChange {
  readonly version: string;
  /** Digest or its prefix; absent: the default build of the version. */
  readonly build?: string;
  readonly role: TargetRole;
  readonly weight: number;
  readonly tier: Tier;
  readonly mirror_bps: number;
}

export interface RouteChange extends Author {
  readonly corpus: string;
  /** The revision the change is based on; 0 makes the route; null: not stated, which is refused. */
  readonly expected_revision: number | null;
  readonly targets: readonly TargetChange[];
  /** Skips the check that live replicas have loaded what gets weight. */
  readonly force: boolean;
}

export interface RouteReturn extends Author {
  readonly corpus: string;
  readonly expected_revision: number | null;
  readonly to_revision: number;
  readonly force: boolean;
}

export interface BuildName {
  readonly corpus: string;
  readonly version: string;
  /** Digest or its prefix; absent: the default build. */
  readonly build?: string;
}

export interface NewConsumer extends Author {
  readonly corpus: string;
  readonly version: string;
  readonly service_name: string;
  readonly team_owner: string;
  /** ISO 8601. */
  readonly migration_deadline?: string;
}

/**
 * Everything an operator can do, once: HTTP, gRPC and the command line are thin faces of it. Every failure is a
 * SwitchyardError; REGISTRY_UNAVAILABLE from every method while PostgreSQL cannot be reached.
 */
export interface AdminApi {
  listRoutes(): Promise<readonly RouteView[]>;
  /** Errors: UNKNOWN_CORPUS, also for a corpus without a route. */
  getRoute(corpus: string): Promise<RouteView>;
  /** Errors: PRECONDITION_REQUIRED, REVISION_CONFLICT, INVALID_ROUTE, TARGET_NOT_READY, UNKNOWN_*, STATUS_CONFLICT. */
  changeRoute(change: RouteChange): Promise<RouteView>;
  /** Errors: UNKNOWN_REVISION and those of `changeRoute`. */
  rollBackRoute(rollback: RouteReturn): Promise<RouteView>;
  /** Latest first. */
  listRevisions(corpus: string, limit: number): Promise<readonly RevisionView[]>;

  listDesiredTargets(corpus: string): Promise<readonly DesiredTargetView[]>;
  addDesiredTarget(target: BuildName & { readonly tier: Tier } & Author): Promise<DesiredTargetView>;
  removeDesiredTarget(target: BuildName & Author): Promise<void>;
  listGateways(): Promise<readonly GatewayView[]>;

  listModels(): Promise<readonly ModelView[]>;
  setModelStatus(
    change: { readonly model: string; readonly status: Exclude<ModelStatus, 'staging'> } & Author,
  ): Promise<ModelView>;
  /** `corpus` null: of all. */
  listCorpusVersions(corpus: string | null): Promise<readonly CorpusVersionView[]>;
  archiveCorpusVersion(
    change: { readonly corpus: string; readonly version: string } & Author,
  ): Promise<CorpusVersionView>;
  listBuilds(corpus: string, version: string | null): Promise<readonly BuildView[]>;
  setDefaultBuild(change: Required<BuildName> & Author): Promise<BuildView>;
  listConsumers(corpus: string | null): Promise<readonly ConsumerView[]>;
  addConsumer(consumer: NewConsumer): Promise<ConsumerView>;
  setConsumerMigrated(
    change: { readonly consumer_id: string; readonly migrated: boolean } & Author,
  ): Promise<ConsumerView>;
  /** Changes that are not of routes, latest first. */
  listChanges(subject: string | null, limit: number): Promise<readonly ChangeView[]>;

  /** What this process's mirrors found. */
  getComparison(corpus: string): Promise<ComparisonView>;
}
