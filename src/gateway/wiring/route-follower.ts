import { SwitchyardError, toSwitchyardError } from '../../errors.js';
import { OneAtATime } from '../../process/one-at-a-time.js';
import type { DesiredTarget } from '../../registry/desired-targets.js';
import type { Registry } from '../../registry/registry.js';
import { type Route, routeIdentity } from '../../registry/route.js';
import type { RegistryWatch } from '../../registry/watch.js';
import type { Holdings, Router } from '../../router/router.js';
import type { Logger } from '../../telemetry/log.js';
import type { DiskSnapshots, KnownModel } from './disk-snapshots.js';
import type { RegistryLink } from './registry-link.js';
import { RouteFeed } from './route-feed.js';

/** In `degraded` of every response while the registry cannot be read: serving goes on from the last snapshot. */
export const REGISTRY_UNAVAILABLE = 'registry_unavailable';
/** In `degraded` while what is served was read from disk at boot and not yet confirmed by the registry. */
export const DISK_SNAPSHOT = 'disk_snapshot';

export interface FollowerOptions {
  readonly link: RegistryLink;
  readonly router: Router;
  readonly snapshots: DiskSnapshots;
  readonly pollIntervalMs: number;
  readonly log: Logger;
}

/**
 * Keeps the router at what the registry says: told of changes by notification, polling behind it. Losing the registry
 * changes nothing that is served, and a gateway that boots without it serves what its disk has (invariant 8).
 */
export class RouteFollower {
  readonly feed = new RouteFeed();
  readonly #options: FollowerOptions;
  /** Reasons in `degraded` that are of the follower's making and true now. */
  readonly #degraded = new Set<string>();
  /** Corpus → why its route was refused, and what was last said of it in the log. */
  readonly #refused = new Map<string, SwitchyardError>();
  readonly #said = new Map<string, string>();
  #held: Holdings['targets'] = [];
  #models: readonly KnownModel[] = [];
  #modelNames: ReadonlySet<string> = new Set();
  #replicasLagging: ReadonlyMap<string, number> = new Map();
  #timer: NodeJS.Timeout | null = null;
  readonly #reads = new OneAtATime(async () => {
    const { registry } = this.#options.link;
    if (this.#isClosed || registry === null) return;
    try {
      await this.#read(registry, false);
      this.#setUp();
    } catch (error) {
      this.#setDown(error);
    }
  });
  #isClosed = false;
  #watch: RegistryWatch | null = null;

  constructor(options: FollowerOptions) {
    this.#options = options;
  }

  /** Whether the registry has a model of this name@version or fingerprint, as of the last read. */
  isKnownModel(model: string): boolean {
    return this.#modelNames.has(model);
  }

  /** Whether the last read of the registry succeeded. */
  get isRegistryUp(): boolean {
    return !this.#degraded.has(REGISTRY_UNAVAILABLE);
  }

  get isServingFromDisk(): boolean {
    return this.#degraded.has(DISK_SNAPSHOT);
  }

  /** Live replicas per corpus that do not serve the route's revision, as of the last read. */
  get replicasLagging(): ReadonlyMap<string, number> {
    return this.#replicasLagging;
  }

  /** Why this replica cannot apply or hold something, for its heartbeat. */
  lastError(): string | null {
    const { router } = this.#options;
    const behind = router.routeStatus().find(({ error }) => error !== null);
    const [refused] = this.#refused;
    const failed = router.targets().find(({ error }) => error !== null);
    if (refused !== undefined) return line(refused[0], refused[1]);
    if (behind?.error) return line(`${behind.corpus} revision ${behind.wanted}`, behind.error);
    return failed?.error ? line(`${failed.spec.corpus}/${failed.spec.version}`, failed.error) : null;
  }

  /**
   * Resolves when the routes of now are applied or have failed to load. Errors: REGISTRY_UNAVAILABLE or
   * CORRUPT_SNAPSHOT when the registry is away and the disk has nothing to serve.
   */
  async start(): Promise<void> {
    const { link } = this.#options;
    if (!(await this.#readFirst(link.registry))) await this.#serveFromDisk();
    link.whenOpen((registry) => {
      if (!this.#isClosed) this.#watch = registry.watch(() => this.#reads.ask());
    });
    this.#schedule();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#watch?.close();
    await this.#reads.settled();
    await this.#options.snapshots.settled();
  }

  async #readFirst(registry: Registry | null): Promise<boolean> {
    if (registry === null) return false;
    try {
      await this.#read(registry, true);
      return true;
    } catch (error) {
      if (toSwitchyardError(error).reason !== 'REGISTRY_UNAVAILABLE') throw error;
      return false;
    }
  }

  async #serveFromDisk(): Promise<void> {
    const { link, router, snapshots, log } = this.#options;
    const { snapshots: found, damaged } = await snapshots.read();
    for (const error of damaged) log.error({ err: error }, 'a snapshot on disk is refused');
    if (found.length === 0)
      throw (
        damaged[0] ??
        link.lastError ??
        new SwitchyardError('REGISTRY_UNAVAILABLE', 'the registry went away while this gateway began')
      );
    this.#setModels(found.flatMap(({ models }) => models));
    for (const error of damaged) router.setDegraded(`snapshot_damaged:${error.details.file ?? ''}`, true);
    this.#setDegraded(REGISTRY_UNAVAILABLE, true);
    this.#setDegraded(DISK_SNAPSHOT, true);
    for (const { route, writtenAt } of found)
      log.warn({ corpus: route.corpus, revision: route.revision, writtenAt }, 'serving a snapshot from disk');
    this.feed.publish(found.map(({ route }) => route));
    await Promise.all(found.map(({ route }) => this.#apply(route)));
  }

  #schedule(): void {
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => {
      this.#reads.ask();
      this.#schedule();
    }, this.#options.pollIntervalMs);
  }

  /** `waitForLoading`: at start nothing serves yet, so loading is waited for; later it goes on in the background. */
  async #read(registry: Registry, waitForLoading: boolean): Promise<void> {
    const { router, log } = this.#options;
    const [models, routes, desired, gateways] = await Promise.all([
      registry.models.list(),
      registry.routes.list(),
      registry.desiredTargets.list(),
      registry.gateways.list(),
    ]);
    if (this.#isClosed) return;
    this.#setModels(models);
    // A build may leave the desired targets and enter the routes in one read, or the other way round: it stays loaded,
    // because nothing is let go of before all that is wanted was asked for.
    const targets = desired.map(held);
    router.hold({ targets: [...this.#held, ...targets], models: [] });
    this.feed.publish(routes);
    const alive = gateways.filter((gateway) => gateway.alive);
    this.#replicasLagging = new Map(
      routes.map(({ corpus, revision }) => [
        corpus,
        alive.filter(({ appliedRevisions }) => appliedRevisions[corpus] !== revision).length,
      ]),
    );
    this.#sayMissing(routes);
    const applied = Promise.all(routes.map((route) => this.#apply(route)));
    router.hold({ targets, models: [] });
    this.#held = targets;
    if (waitForLoading) await applied;
    else applied.catch((error: unknown) => log.error({ err: error }, 'a route could not be applied'));
  }

  async #apply(route: Route): Promise<void> {
    const { router, snapshots, log } = this.#options;
    const { corpus, revision } = route;
    try {
      const outcome = await router.apply(route);
      this.#setRefused(corpus, null);
      if (outcome.kind === 'failed') {
        const { error } = outcome;
        this.#say(corpus, `${revision} ${error.reason} ${error.message}`, () =>
          log.error(
            { corpus, revision, err: error },
            'route cannot be applied; the last one goes on serving',
          ),
        );
      }
      if (outcome.kind !== 'applied') return;
      this.#say(corpus, routeIdentity(route), () => log.info({ corpus, revision }, 'route applied'));
    } catch (thrown) {
      if (this.#isClosed) return;
      const error = toSwitchyardError(thrown);
      this.#setRefused(corpus, error);
      this.#say(corpus, `${revision} ${error.reason} ${error.message}`, () =>
        log.error({ corpus, revision, err: error }, 'route was refused; the last one goes on serving'),
      );
      return;
    }
    if (this.#degraded.has(DISK_SNAPSHOT)) return; // it came from there
    try {
      await snapshots.write(route, this.#models);
    } catch (error) {
      log.error({ corpus, revision, err: error }, 'the snapshot on disk could not be written');
    }
  }

  /**
   * The registry never deletes a route. One that is served and not there means another registry, or an older copy of
   * it: what is served stays, and every response says so.
   */
  #sayMissing(routes: readonly Route[]): void {
    const known = new Map(routes.map((route) => [route.corpus, route]));
    for (const { corpus, applied, salt } of this.#options.router.routeStatus()) {
      const route = known.get(corpus);
      const isAhead =
        applied !== null && (route === undefined || (route.salt === salt && route.revision < applied));
      this.#setDegraded(`route_not_in_registry:${corpus}`, isAhead);
    }
  }

  #setModels(models: readonly KnownModel[]): void {
    this.#models = models.map(({ modelRef, fingerprint }) => ({ modelRef, fingerprint }));
    this.#modelNames = new Set(models.flatMap(({ modelRef, fingerprint }) => [modelRef, fingerprint]));
  }

  #setRefused(corpus: string, error: SwitchyardError | null): void {
    if (error === null) this.#refused.delete(corpus);
    else this.#refused.set(corpus, error);
    this.#setDegraded(`route_refused:${corpus}`, error !== null);
  }

  #setUp(): void {
    if (this.#isClosed || this.isRegistryUp) return;
    this.#setDegraded(REGISTRY_UNAVAILABLE, false);
    this.#setDegraded(DISK_SNAPSHOT, false);
    for (const reason of this.#options.router.health().degraded)
      if (reason.startsWith('snapshot_damaged:')) this.#options.router.setDegraded(reason, false);
    this.#options.log.info('the registry answers again');
    // What was applied from disk is written again with what the registry says now.
    this.#reads.ask();
  }

  #setDown(error: unknown): void {
    if (this.#isClosed || !this.isRegistryUp) return;
    this.#setDegraded(REGISTRY_UNAVAILABLE, true);
    this.#options.log.warn({ err: error }, 'the registry cannot be read; serving from the last snapshot');
  }

  #setDegraded(reason: string, isDegraded: boolean): void {
    if (this.#degraded.has(reason) === isDegraded) return;
    if (isDegraded) this.#degraded.add(reason);
    else this.#degraded.delete(reason);
    this.#options.router.setDegraded(reason, isDegraded);
  }

  /** Once per state, not once per poll. */
  #say(corpus: string, what: string, log: () => void): void {
    if (this.#said.get(corpus) === what) return;
    this.#said.set(corpus, what);
    log();
  }
}

/** Held on the search workers, where weight is served from. */
const held = ({ corpus, ...target }: DesiredTarget) => ({
  corpus,
  target: { ...target, role: 'active' as const, weightBps: 0, mirrorBps: 0 },
});

const line = (what: string, error: SwitchyardError): string => `${what}: ${error.reason}: ${error.message}`;
