import { SwitchyardError } from '../../errors.js';
import type { DesiredTarget } from '../../registry/desired-targets.js';
import type { Gateway } from '../../registry/gateways.js';
import type { Registry } from '../../registry/registry.js';
import type { Route } from '../../registry/route.js';
import type { PairReport } from '../../router/comparison-recorder.js';
import type { Fingerprint } from '../../vocabulary.js';
import type { AdminApi, Author, BuildName, NewConsumer, RouteChange, RouteReturn } from './api.js';
import { comparisonView } from './comparison-view.js';
import {
  buildView,
  changeView,
  consumerView,
  corpusVersionView,
  desiredTargetView,
  gatewayView,
  modelView,
  revisionView,
  routeView,
} from './to-views.js';
import type { ComparisonView, DesiredTargetView, RouteView } from './views.js';

/** What only a running gateway knows. */
export interface ProcessFacts {
  readonly gatewayId: string;
  /** The provider that the model's encoder really uses, or its state; null where it is not loaded. */
  encoderOf(fingerprint: Fingerprint): string | null;
  comparisons(corpus: string): readonly PairReport[];
}

export interface OperationsSources {
  /** Errors: REGISTRY_UNAVAILABLE while there is none. */
  readonly registry: () => Registry;
  /** Null where no gateway runs: the command line on the registry itself. */
  readonly facts: ProcessFacts | null;
}

const NOT_LOADED = 'not loaded';

/** The operations over the registry: the one place where the admin faces meet it. */
export class AdminOperations implements AdminApi {
  readonly #sources: OperationsSources;

  constructor(sources: OperationsSources) {
    this.#sources = sources;
  }

  async listRoutes(): Promise<readonly RouteView[]> {
    const { routes, gateways, desiredTargets } = this.#registry();
    const [all, replicas, desired] = await Promise.all([
      routes.list(),
      gateways.list(),
      desiredTargets.list(),
    ]);
    return all.map((route) => routeView(route, replicas, ofCorpus(desired, route.corpus)));
  }

  async getRoute(corpus: string): Promise<RouteView> {
    return this.#viewOf(await this.#registry().routes.get(corpus));
  }

  async changeRoute(change: RouteChange): Promise<RouteView> {
    const { corpus, actor, reason, force } = change;
    const expected = statedRevision(change.expected_revision);
    const route = await this.#registry().routes.change({
      corpus,
      actor,
      reason,
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

  async rollBackRoute(rollback: RouteReturn): Promise<RouteView> {
    const { corpus, actor, reason, force } = rollback;
    const route = await this.#registry().routes.rollback({
      corpus,
      actor,
      reason,
      force,
      toRevision: rollback.to_revision,
      expectedRevision: statedRevision(rollback.expected_revision),
    });
    return this.#viewOf(route);
  }

  async listRevisions(corpus: string, limit: number) {
    return (await this.#registry().routes.revisions(corpus, limit)).map(revisionView);
  }

  async listDesiredTargets(corpus: string): Promise<readonly DesiredTargetView[]> {
    const { desiredTargets, gateways } = this.#registry();
    const [desired, replicas] = await Promise.all([desiredTargets.list({ corpus }), gateways.list()]);
    return desired.map((target) => desiredTargetView(target, replicas));
  }

  async addDesiredTarget(target: Parameters<AdminApi['addDesiredTarget']>[0]): Promise<DesiredTargetView> {
    const { desiredTargets, gateways } = this.#registry();
    const added = await desiredTargets.add({ ...named(target), tier: target.tier }, author(target));
    return desiredTargetView(added, await gateways.list());
  }

  async removeDesiredTarget(target: BuildName & Author): Promise<void> {
    await this.#registry().desiredTargets.remove(named(target), author(target));
  }

  async listGateways() {
    return (await this.#registry().gateways.list()).map(gatewayView);
  }

  async listModels() {
    const models = await this.#registry().models.list();
    return models.map((model) => modelView(model, this.#providerOf(model.fingerprint)));
  }

  async setModelStatus(change: Parameters<AdminApi['setModelStatus']>[0]) {
    const model = await this.#registry().models.setStatus(change.model, change.status, author(change));
    return modelView(model, this.#providerOf(model.fingerprint));
  }

  async listCorpusVersions(corpus: string | null) {
    const filter = corpus === null ? {} : { corpus };
    return (await this.#registry().corpusVersions.list(filter)).map(corpusVersionView);
  }

  async archiveCorpusVersion(change: Parameters<AdminApi['archiveCorpusVersion']>[0]) {
    const { corpus, version } = change;
    return corpusVersionView(
      await this.#registry().corpusVersions.archive({ corpus, version }, author(change)),
    );
  }

  async listBuilds(corpus: string, version: string | null) {
    const filter = version === null ? { corpus } : { corpus, version };
    return (await this.#registry().builds.list(filter)).map(buildView);
  }

  async setDefaultBuild(change: Required<BuildName> & Author) {
    const { corpus, version, build } = change;
    return buildView(await this.#registry().builds.setDefault({ corpus, version }, build, author(change)));
  }

  async listConsumers(corpus: string | null) {
    const filter = corpus === null ? {} : { corpus };
    return (await this.#registry().consumers.list(filter)).map(consumerView);
  }

  async addConsumer(consumer: NewConsumer) {
    const added = await this.#registry().consumers.add(
      {
        corpus: consumer.corpus,
        version: consumer.version,
        serviceName: consumer.service_name,
        teamOwner: consumer.team_owner,
        migrationDeadline: deadline(consumer.migration_deadline),
      },
      author(consumer),
    );
    return consumerView(added);
  }

  async setConsumerMigrated(change: Parameters<AdminApi['setConsumerMigrated']>[0]) {
    const { consumer_id, migrated } = change;
    return consumerView(await this.#registry().consumers.setMigrated(consumer_id, migrated, author(change)));
  }

  async listChanges(subject: string | null, limit: number) {
    const filter = subject === null ? { limit } : { limit, subject };
    return (await this.#registry().changes.list(filter)).map(changeView);
  }

  async getComparison(corpus: string): Promise<ComparisonView> {
    const { facts } = this.#sources;
    if (facts === null)
      throw new SwitchyardError(
        'STATUS_CONFLICT',
        'comparisons are made by running gateways, and none runs here: start one with `switchyard serve`',
      );
    const reports = facts.comparisons(corpus);
    // What was compared is known without the registry; only a corpus never compared is looked up there.
    if (reports.length === 0) await this.#registry().routes.get(corpus);
    return comparisonView(corpus, facts.gatewayId, reports);
  }

  #registry(): Registry {
    return this.#sources.registry();
  }

  #providerOf(fingerprint: Fingerprint): string {
    return this.#sources.facts?.encoderOf(fingerprint) ?? NOT_LOADED;
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
function statedRevision(expected: number | null): number {
  if (expected === null)
    throw new SwitchyardError(
      'PRECONDITION_REQUIRED',
      'a change of a route names the revision it is based on: If-Match: "<revision>" (HTTP; If-None-Match: * makes a route) or expected_revision (gRPC; 0 makes a route)',
    );
  return expected;
}

function deadline(text: string | undefined): Date | null {
  if (text === undefined) return null;
  const date = new Date(text);
  if (!/^\d{4}-\d{2}-\d{2}/.test(text) || Number.isNaN(date.getTime()))
    throw new SwitchyardError(
      'INVALID_ARGUMENT',
      'migration_deadline must be an ISO 8601 date or time, e.g. 2027-01-31',
      { details: { field: 'migration_deadline' } },
    );
  return date;
}
