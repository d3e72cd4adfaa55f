import { SwitchyardError } from '../../errors.js';
import { checkManifest } from '../../index/manifest-schema.js';
import { residentBytes } from '../../index/placement.js';
import type { Claim } from '../../index/tiers/memory-budget.js';
import { storageUri } from '../../lifecycle/build-records.js';
import { recordBuild } from '../../lifecycle/record-build.js';
import { registerModelIn } from '../../lifecycle/register-model.js';
import type { DesiredTarget } from '../../registry/desired-targets.js';
import type { Gateway } from '../../registry/gateways.js';
import type { RegisteredModel } from '../../registry/models.js';
import type { Registry } from '../../registry/registry.js';
import type { Route } from '../../registry/route.js';
import type { PairReport } from '../../router/comparison-recorder.js';
import type { EncoderReport } from '../../router/targets.js';
import type { Fingerprint, TargetRole, Tier } from '../../vocabulary.js';
import { KeyOperations } from '../auth/key-operations.js';
import type { KeySecret } from '../auth/key-secret.js';
import type { AdminApi, Author, OperationName } from './api.js';
import { archiveAdmin, type RetirementFacts } from './archive-admin.js';
import { listLimit } from './callers.js';
import { comparisonView } from './comparison-view.js';
import { evaluationAdmin } from './evaluation-admin.js';
import { type MigrationFacts, MigrationHandlers } from './migration-handlers.js';
import { DEFAULT_BUILD } from './registry-operations.js';
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
import type { ModelView, RouteView } from './views.js';

/** What only a running gateway knows. */
export interface ProcessFacts {
  readonly gatewayId: string;
  /** The model's encoder; null where nothing here wants one. */
  encoderOf(fingerprint: Fingerprint): EncoderReport | null;
  comparisons(corpus: string): readonly PairReport[];
  readonly migrations: MigrationFacts;
  readonly retirement: RetirementFacts;
  /** Errors: MEMORY_BUDGET when builds do not fit into this process's tier dram beside what it holds. */
  refuseOverBudget(claims: readonly Claim[]): void;
}

export interface OperationsSources {
  /** Errors: REGISTRY_UNAVAILABLE while there is none. */
  readonly registry: () => Registry;
  /** Null where no gateway runs: the command line on the registry itself. */
  readonly facts: ProcessFacts | null;
  /** Where models and bundles lie: nothing outside is ever recorded. */
  readonly storage: { readonly modelsDir: string; readonly bundlesDir: string };
  /** Of the API keys. Errors: INVALID_CONFIG. */
  readonly keySecret: () => Promise<KeySecret>;
}

type Input<Name extends OperationName> = NonNullable<Parameters<AdminApi[Name]>[0]>;
interface BuildName {
  readonly corpus: string;
  readonly version: string;
  readonly build?: string;
}

type PlacedBuild = Omit<BuildName, 'corpus'> & { readonly tier: Tier; readonly role: TargetRole };

/** A manifest that cannot be read takes nothing here: opening it says what is wrong with it. */
function recordedResidentBytes(recorded: unknown): number {
  const manifest = checkManifest(recorded);
  return typeof manifest === 'string' ? 0 : residentBytes(manifest);
}

/** The operations over the registry: the one place where the admin faces meet it. */
export class AdminOperations implements AdminApi {
  readonly #sources: OperationsSources;
  readonly #evaluation = evaluationAdmin(() => this.#registry());

  readonly #archive: ReturnType<typeof archiveAdmin>;

  listTraffic = async (of: Input<'listTraffic'> = {}) => this.#archive.listTraffic(of);
  listArchives = async (of: Input<'listArchives'> = {}) => this.#archive.listArchives(of);
  recordArchive = async (given: Input<'recordArchive'>) => this.#archive.recordArchive(given);
  noteArchive = async (given: Input<'noteArchive'>) => this.#archive.noteArchive(given);
  retireCorpusVersion = async (given: Input<'retireCorpusVersion'>) =>
    this.#archive.retireCorpusVersion(given);
  getRetirement = async (name: Input<'getRetirement'>) => this.#archive.getRetirement(name);
  cancelRetirement = async (given: Input<'cancelRetirement'>) => this.#archive.cancelRetirement(given);
  readonly listGoldenSets = this.#evaluation.listGoldenSets;
  readonly listGoldenQueries = this.#evaluation.listGoldenQueries;
  readonly addGoldenQueries = this.#evaluation.addGoldenQueries;
  readonly sealGoldenSet = this.#evaluation.sealGoldenSet;
  readonly listEvaluations = this.#evaluation.listEvaluations;
  readonly beginEvaluation = this.#evaluation.beginEvaluation;
  readonly addEvaluationScores = this.#evaluation.addEvaluationScores;
  readonly finishEvaluation = this.#evaluation.finishEvaluation;
  readonly compareEvaluations = this.#evaluation.compareEvaluations;
  readonly #migrations: MigrationHandlers;
  readonly #keys: KeyOperations;

  listKeys = async () => this.#keys.listKeys();
  createKey = async (given: Input<'createKey'>) => this.#keys.createKey(given);
  rotateKey = async (given: Input<'rotateKey'>) => this.#keys.rotateKey(given);
  revokeKey = async (given: Input<'revokeKey'>) => this.#keys.revokeKey(given);

  constructor(sources: OperationsSources) {
    this.#sources = sources;
    const { registry, facts, storage } = sources;
    this.#archive = archiveAdmin({
      registry,
      bundlesDir: storage.bundlesDir,
      retirement: facts?.retirement ?? null,
    });
    this.#keys = new KeyOperations(registry, sources.keySecret);
    this.#migrations = new MigrationHandlers({ registry, facts: facts?.migrations ?? null });
  }

  listMigrations = async (filter: Input<'listMigrations'> = {}) => this.#migrations.list(filter);
  startMigration = async (given: Input<'startMigration'>) => this.#migrations.start(given);
  getMigration = async (named: Input<'getMigration'>) => this.#migrations.get(named);
  listMigrationEvents = async (named: Input<'listMigrationEvents'>) => this.#migrations.events(named);
  getMigrationReport = async (named: Input<'getMigrationReport'>) => this.#migrations.report(named);
  promoteMigration = async (given: Input<'promoteMigration'>) => this.#migrations.command('promote', given);
  pauseMigration = async (given: Input<'pauseMigration'>) => this.#migrations.command('pause', given);
  resumeMigration = async (given: Input<'resumeMigration'>) => this.#migrations.command('resume', given);
  abortMigration = async (given: Input<'abortMigration'>) => this.#migrations.command('abort', given);
  rollbackMigration = async (given: Input<'rollbackMigration'>) =>
    this.#migrations.command('rollback', given);

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

  async listGateways() {
    return (await this.#registry().gateways.list()).map(gatewayView);
  }

  async listModels() {
    return (await this.#registry().models.list()).map((model) => this.#modelView(model));
  }

  async getModel({ model }: Input<'getModel'>) {
    return this.#modelView(await this.#registry().models.resolve(model));
  }

  async registerModel(given: Input<'registerModel'>) {
    const { modelsDir } = this.#sources.storage;
    return this.#modelView(
      await registerModelIn(this.#registry(), modelsDir, given.fingerprint, author(given)),
    );
  }

  async setModelStatus(change: Input<'setModelStatus'>) {
    return this.#modelView(
      await this.#registry().models.setStatus(change.model, change.status, author(change)),
    );
  }

  async listCorpusVersions({ corpus }: Input<'listCorpusVersions'> = {}) {
    const filter = corpus === undefined ? {} : { corpus };
    return (await this.#registry().corpusVersions.list(filter)).map(corpusVersionView);
  }

  async beginCorpusVersion(begun: Input<'beginCorpusVersion'>) {
    const { models, corpusVersions } = this.#registry();
    const { corpus, version, model } = begun;
    const { fingerprint } = await models.resolve(model);
    return corpusVersionView(
      await corpusVersions.begin(
        {
          corpus,
          version,
          fingerprint,
          documentTemplate: begun.document_template,
          textNormalisation: begun.text_normalisation,
          storageUri: storageUri(this.#sources.storage.bundlesDir, { corpus, version }),
        },
        author(begun),
      ),
    );
  }

  async failCorpusVersion(failed: Input<'failCorpusVersion'>) {
    const { corpus, version, failure } = failed;
    return corpusVersionView(
      await this.#registry().corpusVersions.fail({ corpus, version }, failure, author(failed)),
    );
  }

  async archiveCorpusVersion(change: Input<'archiveCorpusVersion'>) {
    const { corpus, version } = change;
    return corpusVersionView(
      await this.#registry().corpusVersions.archive({ corpus, version }, author(change)),
    );
  }

  async listBuilds({ corpus, version }: Input<'listBuilds'>) {
    const filter = version === undefined ? { corpus } : { corpus, version };
    return (await this.#registry().builds.list(filter)).map(buildView);
  }

  async getBuild({ corpus, version, build }: Input<'getBuild'>) {
    const wanted = build === DEFAULT_BUILD ? null : build;
    return buildView(await this.#registry().builds.get({ corpus, version }, wanted));
  }

  async recordBuild(given: Input<'recordBuild'>) {
    const { corpus, version, digest, make_default = false } = given;
    const build = { corpus, version, digest, makeDefault: make_default, author: author(given) };
    return buildView(await recordBuild(this.#registry(), this.#sources.storage.bundlesDir, build));
  }

  async setDefaultBuild(change: Input<'setDefaultBuild'>) {
    const { corpus, version, build } = change;
    return buildView(await this.#registry().builds.setDefault({ corpus, version }, build, author(change)));
  }

  async listConsumers({ corpus }: Input<'listConsumers'> = {}) {
    const filter = corpus === undefined ? {} : { corpus };
    return (await this.#registry().consumers.list(filter)).map(consumerView);
  }

  async addConsumer(consumer: Input<'addConsumer'>) {
    const added = await this.#registry().consumers.add(
      {
        corpus: consumer.corpus,
        version: consumer.version,
        serviceName: consumer.service_name,
        teamOwner: consumer.team_owner,
        migrationDeadline: deadline(consumer.migration_deadline),
        usesScoreThresholds: consumer.uses_score_thresholds ?? false,
      },
      author(consumer),
    );
    return consumerView(added);
  }

  async setConsumerMigrated(change: Input<'setConsumerMigrated'>) {
    const { consumer_id, migrated } = change;
    return consumerView(await this.#registry().consumers.setMigrated(consumer_id, migrated, author(change)));
  }

  async listChanges({ subject, limit }: Input<'listChanges'> = {}) {
    const filter = { limit: listLimit(limit), ...(subject === undefined ? {} : { subject }) };
    return (await this.#registry().changes.list(filter)).map(changeView);
  }

  async getStorage() {
    const { modelsDir, bundlesDir } = this.#sources.storage;
    return { models_folder: modelsDir, bundles_folder: bundlesDir };
  }

  async getComparison({ corpus }: Input<'getComparison'>) {
    const { facts } = this.#sources;
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
    const { facts } = this.#sources;
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

  #registry(): Registry {
    return this.#sources.registry();
  }

  #modelView(model: RegisteredModel): ModelView {
    return modelView(model, this.#sources.facts?.encoderOf(model.fingerprint) ?? null);
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
