import { SwitchyardError } from '../../errors.js';
import { storageUri } from '../../lifecycle/build-records.js';
import { recordBuild } from '../../lifecycle/record-build.js';
import { registerModelIn } from '../../lifecycle/register-model.js';
import type { RegisteredModel } from '../../registry/models.js';
import type { Registry } from '../../registry/registry.js';
import type { EncoderReport } from '../../router/targets.js';
import type { Fingerprint } from '../../vocabulary.js';
import { KeyOperations } from '../auth/key-operations.js';
import type { KeySecret } from '../auth/key-secret.js';
import type { AdminApi, Author, OperationName } from './api.js';
import { archiveAdmin, type RetirementFacts } from './archive-admin.js';
import { listLimit } from './callers.js';
import { evaluationAdmin } from './evaluation-admin.js';
import { type MigrationFacts, MigrationHandlers } from './migration-handlers.js';
import { DEFAULT_BUILD } from './registry-operations.js';
import { RouterAdmin, type RouterFacts } from './router-admin.js';
import {
  buildView,
  changeView,
  consumerView,
  corpusVersionView,
  gatewayView,
  modelView,
} from './to-views.js';
import type { ModelView } from './views.js';

/** What only a running gateway knows. */
export interface ProcessFacts extends RouterFacts {
  /** The model's encoder; null where nothing here wants one. */
  encoderOf(fingerprint: Fingerprint): EncoderReport | null;
  readonly migrations: MigrationFacts;
  readonly retirement: RetirementFacts;
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

/** The operations over the registry: the one place where the admin faces meet it. */
export class AdminOperations implements AdminApi {
  readonly #sources: OperationsSources;
  readonly #evaluation = evaluationAdmin(() => this.#registry());
  readonly #archive: ReturnType<typeof archiveAdmin>;
  readonly #keys: KeyOperations;
  readonly #migrations: MigrationHandlers;
  readonly #router: RouterAdmin;

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
    this.#router = new RouterAdmin(registry, facts);
  }

  listRoutes = async () => this.#router.listRoutes();
  getRoute = async (given: Input<'getRoute'>) => this.#router.getRoute(given);
  updateRoute = async (given: Input<'updateRoute'>) => this.#router.updateRoute(given);
  rollbackRoute = async (given: Input<'rollbackRoute'>) => this.#router.rollbackRoute(given);
  listRouteRevisions = async (given: Input<'listRouteRevisions'>) => this.#router.listRouteRevisions(given);
  listDesiredTargets = async (given: Input<'listDesiredTargets'>) => this.#router.listDesiredTargets(given);
  addDesiredTarget = async (given: Input<'addDesiredTarget'>) => this.#router.addDesiredTarget(given);
  removeDesiredTarget = async (given: Input<'removeDesiredTarget'>) =>
    this.#router.removeDesiredTarget(given);
  getComparison = async (given: Input<'getComparison'>) => this.#router.getComparison(given);

  readonly listGoldenSets = this.#evaluation.listGoldenSets;
  readonly listGoldenQueries = this.#evaluation.listGoldenQueries;
  readonly addGoldenQueries = this.#evaluation.addGoldenQueries;
  readonly sealGoldenSet = this.#evaluation.sealGoldenSet;
  readonly listEvaluations = this.#evaluation.listEvaluations;
  readonly beginEvaluation = this.#evaluation.beginEvaluation;
  readonly addEvaluationScores = this.#evaluation.addEvaluationScores;
  readonly finishEvaluation = this.#evaluation.finishEvaluation;
  readonly compareEvaluations = this.#evaluation.compareEvaluations;

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

  listTraffic = async (of: Input<'listTraffic'> = {}) => this.#archive.listTraffic(of);
  listArchives = async (of: Input<'listArchives'> = {}) => this.#archive.listArchives(of);
  recordArchive = async (given: Input<'recordArchive'>) => this.#archive.recordArchive(given);
  noteArchive = async (given: Input<'noteArchive'>) => this.#archive.noteArchive(given);
  retireCorpusVersion = async (given: Input<'retireCorpusVersion'>) =>
    this.#archive.retireCorpusVersion(given);
  getRetirement = async (name: Input<'getRetirement'>) => this.#archive.getRetirement(name);
  cancelRetirement = async (given: Input<'cancelRetirement'>) => this.#archive.cancelRetirement(given);

  listKeys = async () => this.#keys.listKeys();
  createKey = async (given: Input<'createKey'>) => this.#keys.createKey(given);
  rotateKey = async (given: Input<'rotateKey'>) => this.#keys.rotateKey(given);
  revokeKey = async (given: Input<'revokeKey'>) => this.#keys.revokeKey(given);

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

  #registry(): Registry {
    return this.#sources.registry();
  }

  #modelView(model: RegisteredModel): ModelView {
    return modelView(model, this.#sources.facts?.encoderOf(model.fingerprint) ?? null);
  }
}

const author = ({ actor, reason }: Author): Author => ({ actor, reason });

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
