import { SwitchyardError } from '../../errors.js';
import { checkManifest } from '../../index/manifest-schema.js';
import { residentBytes } from '../../index/placement.js';
import type { Claim } from '../../index/tiers/memory-budget.js';
import type { DesiredTarget } from '../../registry/desired-targets.js';
import type { Gateway } from '../../registry/gateways.js';
import type { Registry } from '../../registry/registry.js';
import type { Route } from '../../registry/route.js';
import type { PairReport } from '../../router/comparison-recorder.js';
import type { TargetRole, Tier } from '../../vocabulary.js';
import type { Author } from './api.js';
import { listLimit } from './callers.js';
import { comparisonView } from './comparison-view.js';
import type { InputOf } from './operation.js';
import type { ROUTER_OPERATIONS } from './router-operations.js';
import { desiredTargetView, revisionView, routeView } from './to-views.js';
import type { RouteView } from './views.js';

type Operations = typeof ROUTER_OPERATIONS;
type Input<Name extends keyof Operations> = InputOf<Operations[Name]>;

interface BuildName {
  readonly corpus: string;
  readonly version: string;
  readonly build?: string;
}

type PlacedBuild = Omit<BuildName, 'corpus'> & { readonly tier: Tier; readonly role: TargetRole };

/** What a running gateway brings to routes and comparisons. */
export interface RouterFacts {
  readonly gatewayId: string;
  comparisons(corpus: string): readonly PairReport[];
  /** Errors: MEMORY_BUDGET when builds do not fit into this process's tier dram beside what it holds. */
  refuseOverBudget(claims: readonly Claim[]): void;
}

/** A manifest that cannot be read takes nothing here: opening it says what is wrong with it. */
function recordedResidentBytes(recorded: unknown): number {
  const manifest = checkManifest(recorded);
  return typeof manifest === 'string' ? 0 : residentBytes(manifest);
}

/** The operations on routes, preloads and comparisons, behind AdminOperations. */
export class RouterAdmin {
  readonly #registry: () => Registry;
  /** Null where no gateway runs. */
  readonly #facts: RouterFacts | null;

  constructor(registry: () => Registry, facts: RouterFacts | null) {
    this.#registry = registry;
    this.#facts = facts;
  }

  async listRoutes() {
    const { routes, gateways, desiredTargets } = this.#registry();
    const [all, replicas, desired] = await Promise.all([
      routes.list(),
      gateways.list(),
      desiredTargets.list(),
    ]);
    return all.map((route) => routeView(route, replicas, ofCorpus(desired, route.corpus)));
  }

  async getRoute({ corpus }: Input<'getRoute'>) {
    return this.#viewOf(await this.#registry().routes.get(corpus));
  }

  async updateRoute(change: Input<'updateRoute'>) {
    const { corpus, force = false } = change;
    const expected = statedRevision(change.expected_revision);
    if (!force) await this.#refuseRouteOverBudget(corpus, change.targets);
    const route = await this.#registry().routes.change({
      corpus,
      ...author(change),
      force,
      expectedRevision: expected === 0 ? null : expected,
      targets: change.targets.map((target) => ({
        version: target.version,
        build: target.build ?? null,
        role: target.role,
        weightBps: target.weight,
        tier: target.tier,
        mirrorBps: target.mirror_bps,
      })),
    });
    return this.#viewOf(route);
  }

  async rollbackRoute(rollback: Input<'rollbackRoute'>) {
    const { corpus, to_revision, force = false } = rollback;
    const expectedRevision = statedRevision(rollback.expected_revision);
    const { routes } = this.#registry();
    if (!force) {
      // A revision that there is not is for the rollback itself to refuse.
      const [earlier] = await routes.revisions(corpus, { limit: 1, before: to_revision + 1 });
      if (earlier?.revision === to_revision) await this.#refuseRouteOverBudget(corpus, earlier.after);
    }
    const route = await routes.rollback({
      corpus,
      ...author(rollback),
      force,
      toRevision: to_revision,
      expectedRevision,
    });
    return this.#viewOf(route);
  }

  async listRouteRevisions({ corpus, limit, before }: Input<'listRouteRevisions'>) {
    const page = { limit: listLimit(limit), ...(before === undefined ? {} : { before }) };
    return (await this.#registry().routes.revisions(corpus, page)).map(revisionView);
  }

  async listDesiredTargets({ corpus }: Input<'listDesiredTargets'>) {
    const { desiredTargets, gateways } = this.#registry();
    const [desired, replicas] = await Promise.all([desiredTargets.list({ corpus }), gateways.list()]);
    return desired.map((target) => desiredTargetView(target, replicas));
  }

  async addDesiredTarget(target: Input<'addDesiredTarget'>) {
    const { desiredTargets, gateways } = this.#registry();
    if (target.tier === 'dram') await this.#refuseOverBudget([target]);
    const added = await desiredTargets.add({ ...named(target), tier: target.tier }, author(target));
    return desiredTargetView(added, await gateways.list());
  }

  async removeDesiredTarget(target: Input<'removeDesiredTarget'>) {
    await this.#registry().desiredTargets.remove(named(target), author(target));
    return undefined;
  }

  async getComparison({ corpus }: Input<'getComparison'>) {
    const facts = this.#facts;
    if (facts === null)
      throw new SwitchyardError(
        'STATUS_CONFLICT',
        `comparisons are made by running gateways, each for itself, and none answered here: ${await this.#whoRuns()}`,
      );
    const reports = facts.comparisons(corpus);
    // What was compared is known without the registry; only a corpus never compared is looked up there.
    if (reports.length === 0) await this.#registry().routes.get(corpus);
    return comparisonView(corpus, facts.gatewayId, reports);
  }

  async #whoRuns(): Promise<string> {
    const alive = (await this.#registry().gateways.list()).filter((gateway) => gateway.alive);
    return alive.length === 0
      ? 'start one with `switchyard serve`'
      : `name the port of one with --admin-port; these run: ${alive.map(({ address }) => address).join(', ')}`;
  }

  /** What the process holds already asks for nothing more, so a way back to it is never refused. */
  async #refuseRouteOverBudget(corpus: string, targets: readonly PlacedBuild[]): Promise<void> {
    // A shadow is searched in a process of its own, from disk, until it gets weight.
    const inMemory = targets.filter(({ tier, role }) => tier === 'dram' && role !== 'shadow');
    await this.#refuseOverBudget(inMemory.map((target) => ({ ...target, corpus })));
  }

  /** A replica that has less memory says so when it loads. Errors: MEMORY_BUDGET, UNKNOWN_BUILD. */
  async #refuseOverBudget(targets: readonly BuildName[]): Promise<void> {
    const facts = this.#facts;
    if (facts === null || targets.length === 0) return;
    const builds = await Promise.all(
      targets.map((target) => this.#registry().builds.get(target, target.build ?? null)),
    );
    facts.refuseOverBudget(
      builds.map(({ digest, manifest, corpus, version }) => ({
        digest,
        bytes: recordedResidentBytes(manifest),
        name: `${corpus}/${version}`,
      })),
    );
  }

  async #viewOf(route: Route): Promise<RouteView> {
    const { gateways, desiredTargets } = this.#registry();
    const [replicas, desired]: [readonly Gateway[], readonly DesiredTarget[]] = await Promise.all([
      gateways.list(),
      desiredTargets.list({ corpus: route.corpus }),
    ]);
    return routeView(route, replicas, desired);
  }
}

const author = ({ actor, reason }: Author): Author => ({ actor, reason });

const named = ({ corpus, version, build }: BuildName) => ({ corpus, version, build: build ?? null });

const ofCorpus = (desired: readonly DesiredTarget[], corpus: string): readonly DesiredTarget[] =>
  desired.filter((target) => target.corpus === corpus);

/** Optimistic concurrency is not optional (invariant 5). */
function statedRevision(expected: number | undefined): number {
  if (expected === undefined)
    throw new SwitchyardError(
      'PRECONDITION_REQUIRED',
      'a change of a route names the revision it is based on: If-Match: "<revision>" (HTTP; If-None-Match: * makes a route) or expected_revision (gRPC; 0 makes a route)',
    );
  return expected;
}
