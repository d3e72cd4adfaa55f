import type { SwitchyardError } from '../errors.js';
import { type Route, type RouteTarget, routeIdentity } from '../registry/route.js';
import type { Revision } from '../vocabulary.js';
import type { Shared } from './shared-pool.js';
import { assertRoutable, compileSnapshot, type RouteSnapshot } from './snapshot.js';
import { type OpenTarget, type TargetStore, targetSpec } from './targets.js';

export type ApplyOutcome =
  | { readonly kind: 'applied'; readonly revision: Revision }
  /** A newer revision of this route is applied or wanted; nothing was done for this one. */
  | { readonly kind: 'superseded'; readonly revision: Revision }
  /**
   * A weighted target could not be loaded. The last snapshot keeps serving; loading is tried again with back-off
   * and the revision is applied when it succeeds, unless a newer one comes first.
   */
  | { readonly kind: 'failed'; readonly revision: Revision; readonly error: SwitchyardError };

export interface RouteStatus {
  readonly corpus: string;
  /** Revision that serves, or null while the first is loading. */
  readonly applied: Revision | null;
  /** Salt of what serves: revisions of another salt are of another registry. */
  readonly salt: string | null;
  /** Revision that waits for its targets, or null. The same number as `applied` when it says something else. */
  readonly wanted: Revision | null;
  /** Why `wanted` is not applied yet when loading failed. */
  readonly error: SwitchyardError | null;
}

interface HeldRoute {
  readonly route: Route;
  readonly identity: string;
  /** In the order of `route.targets`. */
  readonly held: readonly Shared<OpenTarget>[];
}

interface Wanted extends HeldRoute {
  readonly waiting: ((outcome: ApplyOutcome) => void)[];
}

class CorpusRoutes {
  snapshot: RouteSnapshot | null = null;
  applied: HeldRoute | null = null;
  wanted: Wanted | null = null;
  behind = false;
}

/**
 * The routes of this replica: what serves, and what waits for its targets. Loading comes before routing: a snapshot
 * is swapped, in one assignment, when every target with weight is ready; the others join when they are.
 */
export class RouteTable {
  private readonly store: TargetStore;
  private readonly corpora = new Map<string, CorpusRoutes>();

  constructor(store: TargetStore) {
    this.store = store;
  }

  /** The one read of a request (invariant 2). Null: unknown, or its first revision is still loading. */
  snapshot(corpus: string): RouteSnapshot | null {
    return this.corpora.get(corpus)?.snapshot ?? null;
  }

  has(corpus: string): boolean {
    return this.corpora.has(corpus);
  }

  /** A newer revision is wanted that could not be loaded. */
  isBehind(corpus: string): boolean {
    return this.corpora.get(corpus)?.behind ?? false;
  }

  /**
   * Makes `route` what is wanted. Resolves when it serves, when its loading first failed, or when another one is wanted.
   * Applied means: with this content. A route of another salt is of another registry, whatever its revision.
   */
  async apply(route: Route): Promise<ApplyOutcome> {
    assertRoutable(route);
    const { revision } = route;
    const routes = this.corpora.get(route.corpus) ?? new CorpusRoutes();
    this.corpora.set(route.corpus, routes);
    const identity = routeIdentity(route);
    const newest = routes.wanted ?? routes.applied;
    if (newest !== null && newest.route.salt === route.salt && revision < newest.route.revision)
      return { kind: 'superseded', revision };
    if (routes.wanted === null && routes.applied?.identity === identity) return { kind: 'applied', revision };
    if (routes.wanted?.identity !== identity) {
      const held = this.acquire(route.corpus, route.targets);
      drop(routes.wanted);
      routes.wanted = { route, identity, held, waiting: [] };
      routes.behind = false;
    }
    const { wanted } = routes;
    return new Promise((resolve) => {
      wanted.waiting.push(resolve);
      this.advance(routes);
    });
  }

  /** Stops serving a corpus; its targets close after their last request. */
  remove(corpus: string): void {
    const routes = this.corpora.get(corpus);
    if (routes === undefined) return;
    this.corpora.delete(corpus);
    drop(routes.wanted);
    release(routes.applied);
  }

  /** A target became ready or failed. */
  targetChanged(key: string): void {
    for (const routes of this.corpora.values())
      if (holds(routes.wanted, key) || holds(routes.applied, key)) this.advance(routes);
  }

  corpusNames(): readonly string[] {
    return [...this.corpora.keys()];
  }

  status(): readonly RouteStatus[] {
    return [...this.corpora].map(([corpus, { applied, wanted }]) => ({
      corpus,
      applied: applied?.route.revision ?? null,
      salt: applied?.route.salt ?? null,
      wanted: wanted?.route.revision ?? null,
      error: wanted === null ? null : failure(wanted),
    }));
  }

  private acquire(corpus: string, targets: readonly RouteTarget[]): Shared<OpenTarget>[] {
    return targets.map((target) => this.store.acquire(targetSpec(corpus, target)));
  }

  private advance(routes: CorpusRoutes): void {
    const { wanted, applied } = routes;
    if (wanted !== null) {
      const { revision } = wanted.route;
      if (isLoaded(wanted)) {
        routes.snapshot = compileSnapshot(wanted.route, wanted.held);
        routes.applied = wanted;
        routes.wanted = null;
        routes.behind = false;
        release(applied);
        answer(wanted, { kind: 'applied', revision });
        return;
      }
      const error = failure(wanted);
      if (error !== null) {
        routes.behind = true;
        answer(wanted, { kind: 'failed', revision, error });
      }
    }
    // A shadow or draining target of the applied route that became ready joins under the same revision.
    if (applied !== null && routes.snapshot !== null) {
      const open = applied.held.filter(({ value }) => value !== null).length;
      if (open !== routes.snapshot.targets.length)
        routes.snapshot = compileSnapshot(applied.route, applied.held);
    }
  }
}

const weighted = ({ route, held }: HeldRoute): readonly Shared<OpenTarget>[] =>
  held.filter((_, at) => (route.targets[at]?.weightBps ?? 0) > 0);

/**
 * Ready for what has weight. Draining targets serve raw vectors and pins, so they are waited for as well,
 * but one that cannot be loaded does not hold up the route; a shadow is not waited for.
 */
const isLoaded = (wanted: HeldRoute): boolean =>
  weighted(wanted).every(({ value }) => value !== null) &&
  wanted.held.every(
    ({ value, error }, at) => wanted.route.targets[at]?.role === 'shadow' || value !== null || error !== null,
  );

const holds = (route: HeldRoute | null, key: string): boolean =>
  route?.held.some((shared) => shared.key === key) ?? false;

const failure = (wanted: HeldRoute): SwitchyardError | null =>
  weighted(wanted).find(({ error }) => error !== null)?.error ?? null;

function answer(wanted: Wanted, outcome: ApplyOutcome): void {
  for (const resolve of wanted.waiting.splice(0)) resolve(outcome);
}

function release(route: HeldRoute | null): void {
  for (const shared of route?.held ?? []) shared.release();
}

function drop(wanted: Wanted | null): void {
  if (wanted === null) return;
  answer(wanted, { kind: 'superseded', revision: wanted.route.revision });
  release(wanted);
}
