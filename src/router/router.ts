import { SwitchyardError } from '../errors.js';
import { type BackoffPolicy, DEFAULT_BACKOFF } from '../process/backoff.js';
import { systemTimers, type Timers } from '../process/timers.js';
import type { Route, RouteTarget } from '../registry/route.js';
import type { QueryLimits } from './admission.js';
import type { ComparisonRecorder } from './comparison-recorder.js';
import { DEFAULT_EJECTION, type EjectionOptions, type EjectionReport, Ejections } from './ejection.js';
import type { RouterMetrics } from './metrics.js';
import { Mirrors } from './mirror.js';
import type { MirrorLaneState, MirrorOptions } from './mirror-lane.js';
import type {
  EmbedCall,
  EmbedOutcome,
  QueryHealth,
  QueryService,
  SearchCall,
  SearchOutcome,
} from './query.js';
import { NO_CACHES, type QueryCaches } from './query-caches.js';
import { createQueryIds } from './query-id.js';
import { QueryPath } from './query-path.js';
import { type ApplyOutcome, type RouteStatus, RouteTable } from './route-table.js';
import { healthOf } from './router-health.js';
import type { Shared } from './shared-pool.js';
import {
  type EncoderReport,
  type ModelSpec,
  type TargetFactories,
  type TargetReport,
  TargetStore,
  targetSpec,
} from './targets.js';

export interface RouterOptions {
  readonly factories: TargetFactories;
  readonly limits: QueryLimits;
  readonly metrics: RouterMetrics;
  readonly mirror: MirrorOptions;
  readonly recorder: ComparisonRecorder;
  /** Default: none, and every response says BYPASS. */
  readonly caches?: QueryCaches;
  /** Whether the registry has a model of this `name@version` or fingerprint, routed or not. */
  readonly isKnownModel: (model: string) => boolean;
  /** Whether what is served leaves no room for a mirror beside those of its shadow that run. Default: never. */
  readonly primaryIsBusy?: (running: number) => boolean;
  /** When a failing target is kept away from traffic. */
  readonly ejection?: EjectionOptions;
  /** What nobody waits for and went wrong, for the log. `what` names the thing, e.g. a target's key. */
  readonly onError: (what: string, error: unknown) => void;
  readonly timers?: Timers;
  /** [0, 1) */
  readonly random?: () => number;
  /** How loading is tried again. */
  readonly backoff?: BackoffPolicy;
}

/** What a replica should hold beyond its routes, so that a route change finds it loaded. */
export interface Holdings {
  /** Role and tier as they will be routed: a shadow is held in a process of its own, everything else on the workers. */
  readonly targets: readonly { readonly corpus: string; readonly target: RouteTarget }[];
  /** Models whose encoder is wanted although no target uses it. */
  readonly models: readonly ModelSpec[];
}

/**
 * The routes of this replica and the way of a query through them. Routes and holdings are desired states: say what
 * is wanted, as often as you like, and the router loads, swaps and closes.
 */
export class Router implements QueryService {
  private readonly store: TargetStore;
  private readonly routes: RouteTable;
  private readonly mirrors: Mirrors;
  private readonly ejections: Ejections;
  private readonly queries: QueryPath;
  private held: readonly Shared<unknown>[] = [];
  private degradedReasons: readonly string[] = Object.freeze([]);
  private isClosed = false;

  constructor(options: RouterOptions) {
    const {
      timers = systemTimers,
      random = Math.random,
      backoff = DEFAULT_BACKOFF,
      caches = NO_CACHES,
    } = options;
    const { factories, limits, metrics, mirror, recorder, isKnownModel, onError } = options;
    this.store = new TargetStore(factories, {
      timers,
      random,
      backoff,
      onChange: (key) => this.routes.targetChanged(key),
      onCloseError: onError,
    });
    this.routes = new RouteTable(this.store);
    this.mirrors = new Mirrors({
      mirror,
      timers,
      random,
      metrics,
      recorder,
      embeddings: caches.embeddings,
      primaryIsBusy: options.primaryIsBusy ?? (() => false),
      onError,
    });
    this.ejections = new Ejections(options.ejection ?? DEFAULT_EJECTION, timers, random);
    this.queries = new QueryPath({
      routes: this.routes,
      store: this.store,
      mirrors: this.mirrors,
      ejections: this.ejections,
      caches,
      limits,
      metrics,
      timers,
      random,
      queryId: createQueryIds(),
      isKnownModel,
      degraded: () => this.degradedReasons,
    });
  }

  /** Makes a route's revision what is wanted. The old snapshot serves until every target with weight is ready. */
  async apply(route: Route): Promise<ApplyOutcome> {
    this.assertOpen();
    return this.routes.apply(route);
  }

  /** Stops serving a corpus. */
  remove(corpus: string): void {
    this.routes.remove(corpus);
  }

  /** Replaces what is held beyond the routes; loading goes on in the background, see `targets()`. */
  hold(holdings: Holdings): void {
    this.assertOpen();
    const before = this.held;
    this.held = [
      ...holdings.targets.map(({ corpus, target }) => this.store.acquire(targetSpec(corpus, target))),
      ...holdings.models.map((model) => this.store.acquireEncoder(model)),
    ];
    for (const shared of before) shared.release();
  }

  /** Everything this replica holds or loads: what it reports as ready. */
  targets(): readonly TargetReport[] {
    return this.store.report();
  }

  /** The encoders of the models of those, ready or not. */
  encoders(): readonly EncoderReport[] {
    return this.store.encoderReport();
  }

  /** Applied and wanted revision per corpus. */
  routeStatus(): readonly RouteStatus[] {
    return this.routes.status();
  }

  mirrorStates(): readonly {
    readonly corpus: string;
    readonly build: string;
    readonly lane: MirrorLaneState;
  }[] {
    return this.mirrors.states();
  }

  /** Per target of the served routes: whether it is kept away from traffic. */
  ejectionReports(): readonly EjectionReport[] {
    return this.routes.corpusNames().flatMap((corpus) => {
      const snapshot = this.routes.snapshot(corpus);
      return snapshot === null ? [] : this.ejections.report(snapshot);
    });
  }

  /** Something outside the router is worse than it should be, e.g. `registry_unavailable`: every response says so. */
  setDegraded(reason: string, isDegraded: boolean): void {
    const others = this.degradedReasons.filter((known) => known !== reason);
    this.degradedReasons = Object.freeze(isDegraded ? [...others, reason].sort() : others);
  }

  async search(call: SearchCall): Promise<SearchOutcome> {
    this.assertOpen();
    return this.queries.search(call);
  }

  async batchSearch(calls: readonly SearchCall[]): Promise<readonly (SearchOutcome | Error)[]> {
    this.assertOpen();
    return this.queries.batchSearch(calls);
  }

  async embed(call: EmbedCall): Promise<EmbedOutcome> {
    this.assertOpen();
    return this.queries.embed(call);
  }

  health(): QueryHealth {
    return healthOf(this.routes, this.store, this.ejections, this.degradedReasons, this.isClosed);
  }

  /** Refuses new requests, ends mirrors, and resolves when the last request is answered and everything is closed. */
  async close(): Promise<void> {
    if (!this.isClosed) {
      this.isClosed = true;
      this.mirrors.close();
      for (const corpus of this.routes.corpusNames()) this.routes.remove(corpus);
      for (const shared of this.held) shared.release();
      this.held = [];
    }
    await this.store.empty();
  }

  private assertOpen(): void {
    if (this.isClosed)
      throw new SwitchyardError('SHUTTING_DOWN', 'this gateway is shutting down: ask another');
  }
}
