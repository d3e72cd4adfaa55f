import { nearMatches } from '../config/near.js';
import { SwitchyardError } from '../errors.js';
import { type Fingerprint, isFingerprint, type Metric, modelRef } from '../vocabulary.js';
import { type ChangeAuthor, recordChange, UNSTATED } from './changes.js';
import type { Database, RegistryTransaction } from './database.js';
import { insertProbes, type ModelProbe, readProbes } from './model-probes.js';
import type { ModelStatus } from './schema.js';

/** What the registry reads of a model's manifest; the whole of it is stored. */
export interface RegistrableModel {
  readonly name: string;
  readonly version: string;
  readonly fingerprint: Fingerprint;
  readonly provider: string;
  readonly dimensions: number;
  readonly max_tokens: number;
  readonly metric: Metric;
}

export interface RegisteredModel {
  readonly modelId: string;
  readonly name: string;
  readonly version: string;
  /** name@version */
  readonly modelRef: string;
  readonly fingerprint: Fingerprint;
  readonly provider: string;
  readonly dimensions: number;
  readonly maxTokens: number;
  readonly metric: Metric;
  readonly status: ModelStatus;
  readonly artifactUri: string;
  /** As it was registered. */
  readonly manifest: unknown;
  readonly createdAt: Date;
  readonly deprecatedAt: Date | null;
}

export class Models {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * Registers a model, or returns the one of this fingerprint. Registering again may move the artifact.
   * Errors: ALREADY_EXISTS when the name@version has another fingerprint, the fingerprint another name, or the same
   * fingerprint other dimensions or metric; STATUS_CONFLICT for an archived one.
   */
  async register(model: {
    readonly manifest: RegistrableModel;
    readonly artifactUri: string;
    readonly probes?: readonly ModelProbe[];
    readonly author?: ChangeAuthor;
  }): Promise<RegisteredModel> {
    const { manifest, artifactUri, probes = [], author = UNSTATED } = model;
    if (!isFingerprint(manifest.fingerprint))
      throw new SwitchyardError(
        'INVALID_MODEL',
        `${modelRef(manifest)} has no fingerprint of the form mf1_ + 32 hex: import it again`,
      );
    for (const { vector } of probes) {
      if (vector.length !== manifest.dimensions)
        throw new SwitchyardError(
          'INVALID_MODEL',
          `a probe of ${modelRef(manifest)} has ${vector.length} numbers; must be the model's ${manifest.dimensions}`,
        );
    }
    return this.#database.change(async (transaction) => {
      const inserted = await transaction
        .insertInto('embedding_models')
        .values({
          model_name: manifest.name,
          model_version: manifest.version,
          provider: manifest.provider,
          dimensions: manifest.dimensions,
          max_tokens: manifest.max_tokens,
          similarity_metric: manifest.metric,
          fingerprint: manifest.fingerprint,
          artifact_uri: artifactUri,
          manifest: JSON.stringify(manifest),
        })
        .onConflict((conflict) => conflict.doNothing())
        .returningAll()
        .executeTakeFirst();
      if (inserted !== undefined) {
        await insertProbes(transaction, inserted.model_id, probes);
        await recordChange(transaction, {
          ...author,
          subject: `model ${modelRef(manifest)}`,
          before: null,
          after: { status: inserted.status, fingerprint: inserted.fingerprint, artifact_uri: artifactUri },
        });
        return toModel(inserted);
      }
      return this.#registerAgain(transaction, manifest, artifactUri, author);
    });
  }

  async #registerAgain(
    transaction: RegistryTransaction,
    manifest: RegistrableModel,
    artifactUri: string,
    author: ChangeAuthor,
  ): Promise<RegisteredModel> {
    const rows = await transaction
      .selectFrom('embedding_models')
      .selectAll()
      .where((where) =>
        where.or([
          where('fingerprint', '=', manifest.fingerprint),
          where.and([where('model_name', '=', manifest.name), where('model_version', '=', manifest.version)]),
        ]),
      )
      .forNoKeyUpdate()
      .execute();
    const known = rows.map(toModel);
    const [same] = known;
    if (same === undefined || known.length > 1 || !isSame(same, manifest)) throw conflict(manifest, known);
    if (same.status === 'archived')
      throw new SwitchyardError(
        'STATUS_CONFLICT',
        `${same.modelRef} is archived, which is final: this vector space is registered under no other name either; a change of its files, precision, prefixes or max tokens makes another one`,
        { details: { model: same.modelRef, status: same.status } },
      );
    if (same.artifactUri === artifactUri) return same;
    const moved = await transaction
      .updateTable('embedding_models')
      .set({ artifact_uri: artifactUri })
      .where('model_id', '=', same.modelId)
      .returningAll()
      .executeTakeFirstOrThrow();
    await recordChange(transaction, {
      ...author,
      subject: `model ${same.modelRef}`,
      before: { artifact_uri: same.artifactUri },
      after: { artifact_uri: artifactUri },
    });
    return toModel(moved);
  }

  /** By name and version. */
  async list(): Promise<readonly RegisteredModel[]> {
    const rows = await this.#database.read((tables) =>
      tables
        .selectFrom('embedding_models')
        .selectAll()
        .orderBy('model_name')
        .orderBy('created_at')
        .orderBy('model_version')
        .execute(),
    );
    return rows.map(toModel);
  }

  /** By name@version or fingerprint. Errors: UNKNOWN_MODEL, naming near matches. */
  async resolve(reference: string): Promise<RegisteredModel> {
    const models = await this.list();
    const found = models.find((model) => model.modelRef === reference || model.fingerprint === reference);
    if (found !== undefined) return found;
    const near = nearMatches(
      reference,
      models.map((model) => model.modelRef),
    ).join(', ');
    throw new SwitchyardError(
      'UNKNOWN_MODEL',
      `there is no model ${reference.slice(0, 200)} (name@version or fingerprint); ${near ? `the nearest are ${near}` : 'none is registered: see `switchyard model import`'}`,
      { details: { known: near } },
    );
  }

  /** The stored probes, in their order. Errors: UNKNOWN_MODEL. */
  async probes(reference: string): Promise<readonly ModelProbe[]> {
    const { modelId } = await this.resolve(reference);
    return this.#database.read((tables) => readProbes(tables, modelId));
  }

  /**
   * staging → active ↔ deprecated → archived; archived is final, and staging is never returned to.
   * Errors: UNKNOWN_MODEL; STATUS_CONFLICT, also for archiving a model with versions that are not archived.
   */
  async setStatus(
    reference: string,
    status: Exclude<ModelStatus, 'staging'>,
    author: ChangeAuthor,
  ): Promise<RegisteredModel> {
    const model = await this.resolve(reference);
    return this.#database.change(async (transaction) => {
      const before = await transaction
        .selectFrom('embedding_models')
        .selectAll()
        .where('model_id', '=', model.modelId)
        .forNoKeyUpdate()
        .executeTakeFirstOrThrow();
      if (before.status === status) return toModel(before);
      if (status === 'archived') await this.#refuseLiveVersions(transaction, model);
      const after = await transaction
        .updateTable('embedding_models')
        .set({
          status,
          deprecated_at: status === 'active' ? null : (before.deprecated_at ?? new Date()),
        })
        .where('model_id', '=', model.modelId)
        .returningAll()
        .executeTakeFirstOrThrow();
      await recordChange(transaction, {
        ...author,
        subject: `model ${model.modelRef}`,
        before: { status: before.status },
        after: { status: after.status },
      });
      return toModel(after);
    });
  }

  /** The database refuses it too; this names them. */
  async #refuseLiveVersions(transaction: RegistryTransaction, model: RegisteredModel): Promise<void> {
    const rows = await transaction
      .selectFrom('embedding_corpus_versions')
      .select(['corpus_name', 'label'])
      .where('model_id', '=', model.modelId)
      .where('status', '!=', 'archived')
      .execute();
    if (rows.length === 0) return;
    const live = rows.map(({ corpus_name, label }) => `${corpus_name}/${label}`).join(', ');
    throw new SwitchyardError(
      'STATUS_CONFLICT',
      `${model.modelRef} cannot be archived while it has live corpus versions: archive ${live} first`,
      { details: { model: model.modelRef, live } },
    );
  }
}

const isSame = (model: RegisteredModel, manifest: RegistrableModel): boolean =>
  model.fingerprint === manifest.fingerprint &&
  model.name === manifest.name &&
  model.version === manifest.version &&
  model.dimensions === manifest.dimensions &&
  model.maxTokens === manifest.max_tokens &&
  model.metric === manifest.metric;

function conflict(manifest: RegistrableModel, known: readonly RegisteredModel[]): SwitchyardError {
  const others = known
    .map(
      (model) => `${model.modelRef} (${model.fingerprint}, ${model.dimensions} dimensions, ${model.metric})`,
    )
    .join(' and ');
  return new SwitchyardError(
    'ALREADY_EXISTS',
    `${modelRef(manifest)} (${manifest.fingerprint}, ${manifest.dimensions} dimensions, ${manifest.metric}) contradicts the registered ${others}: a name@version and a fingerprint belong together forever; ${known.some(({ fingerprint }) => fingerprint === manifest.fingerprint) ? 'use the registered name' : 'give the new model another version'}`,
    { details: { registered: known.map((model) => model.modelRef).join(', ') } },
  );
}

interface ModelRow {
  readonly model_id: string;
  readonly model_name: string;
  readonly model_version: string;
  readonly provider: string | null;
  readonly dimensions: number;
  readonly max_tokens: number;
  readonly similarity_metric: Metric;
  readonly status: ModelStatus;
  readonly created_at: Date;
  readonly deprecated_at: Date | null;
  readonly fingerprint: string;
  readonly artifact_uri: string;
  readonly manifest: unknown;
}

function toModel(row: ModelRow): RegisteredModel {
  return Object.freeze({
    modelId: row.model_id,
    name: row.model_name,
    version: row.model_version,
    modelRef: modelRef({ name: row.model_name, version: row.model_version }),
    fingerprint: row.fingerprint as Fingerprint,
    provider: row.provider ?? '',
    dimensions: row.dimensions,
    maxTokens: row.max_tokens,
    metric: row.similarity_metric,
    status: row.status,
    artifactUri: row.artifact_uri,
    manifest: row.manifest,
    createdAt: row.created_at,
    deprecatedAt: row.deprecated_at,
  });
}
