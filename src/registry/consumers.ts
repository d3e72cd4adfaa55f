import { SwitchyardError } from '../errors.js';
import { type ChangeAuthor, recordChange } from './changes.js';
import { type CorpusVersionName, getVersion } from './corpus-versions.js';
import type { Database, Tables } from './database.js';

/** A downstream service that depends on a corpus version. */
export interface Consumer extends CorpusVersionName {
  readonly consumerId: string;
  readonly serviceName: string;
  readonly teamOwner: string;
  readonly migrationDeadline: Date | null;
  readonly migrated: boolean;
  /** Compares scores with numbers of its own, which another model's scores do not fit. */
  readonly usesScoreThresholds: boolean;
}

const SERVICE_NAME_LENGTH_MAX = 128;
const TEAM_OWNER_LENGTH_MAX = 64;

export class Consumers {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Adding the same again changes nothing. Errors: UNKNOWN_CORPUS(_VERSION), INVALID_ARGUMENT, ALREADY_EXISTS when team, deadline or the use of thresholds differ. */
  async add(
    consumer: CorpusVersionName & {
      readonly serviceName: string;
      readonly teamOwner: string;
      readonly migrationDeadline: Date | null;
      /** Default: false. */
      readonly usesScoreThresholds?: boolean;
    },
    author: ChangeAuthor,
  ): Promise<Consumer> {
    checkLength('service name', consumer.serviceName, SERVICE_NAME_LENGTH_MAX);
    checkLength('team owner', consumer.teamOwner, TEAM_OWNER_LENGTH_MAX);
    return this.#database.change(async (transaction) => {
      const version = await getVersion(transaction, consumer);
      const inserted = await transaction
        .insertInto('embedding_consumers')
        .values({
          corpus_version_id: version.corpusVersionId,
          service_name: consumer.serviceName,
          team_owner: consumer.teamOwner,
          migration_deadline: consumer.migrationDeadline,
          uses_score_thresholds: consumer.usesScoreThresholds ?? false,
        })
        .onConflict((conflict) => conflict.columns(['corpus_version_id', 'service_name']).doNothing())
        .returning('consumer_id')
        .executeTakeFirst();
      const rows = await selectConsumers(transaction)
        .where('c.corpus_version_id', '=', version.corpusVersionId)
        .where('c.service_name', '=', consumer.serviceName)
        .execute();
      const [row] = rows;
      if (row === undefined) throw new TypeError('a consumer that was just written is not there');
      const known = toConsumer(row);
      if (inserted !== undefined)
        await recordChange(transaction, {
          ...author,
          subject: `consumer ${consumer.serviceName} of ${consumer.corpus}/${consumer.version}`,
          before: null,
          after: {
            team_owner: known.teamOwner,
            migration_deadline: known.migrationDeadline,
            uses_score_thresholds: known.usesScoreThresholds,
          },
        });
      else if (
        known.teamOwner !== consumer.teamOwner ||
        known.migrationDeadline?.getTime() !== consumer.migrationDeadline?.getTime() ||
        known.usesScoreThresholds !== (consumer.usesScoreThresholds ?? false)
      )
        throw new SwitchyardError(
          'ALREADY_EXISTS',
          `${consumer.serviceName} is a consumer of ${consumer.corpus}/${consumer.version} already, of team ${known.teamOwner} with ${known.migrationDeadline === null ? 'no deadline' : `deadline ${known.migrationDeadline.toISOString()}`}`,
        );
      return known;
    });
  }

  /** Errors: UNKNOWN_CONSUMER. */
  async setMigrated(consumerId: string, migrated: boolean, author: ChangeAuthor): Promise<Consumer> {
    return this.#database.change(async (transaction) => {
      const before = await getConsumer(transaction, consumerId);
      if (before.migrated === migrated) return before;
      await transaction
        .updateTable('embedding_consumers')
        .set({ migrated })
        .where('consumer_id', '=', consumerId)
        .execute();
      await recordChange(transaction, {
        ...author,
        subject: `consumer ${before.serviceName} of ${before.corpus}/${before.version}`,
        before: { migrated: before.migrated },
        after: { migrated },
      });
      return { ...before, migrated };
    });
  }

  /** By corpus, version and service. */
  async list(filter: { readonly corpus?: string } = {}): Promise<readonly Consumer[]> {
    const rows = await this.#database.read((tables) => {
      const query = selectConsumers(tables)
        .orderBy('v.corpus_name')
        .orderBy('v.label')
        .orderBy('c.service_name');
      return (
        filter.corpus === undefined ? query : query.where('v.corpus_name', '=', filter.corpus)
      ).execute();
    });
    return rows.map(toConsumer);
  }
}

async function getConsumer(tables: Tables, consumerId: string): Promise<Consumer> {
  const isUuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(consumerId);
  const rows = isUuid ? await selectConsumers(tables).where('c.consumer_id', '=', consumerId).execute() : [];
  const [row] = rows;
  if (row !== undefined) return toConsumer(row);
  throw new SwitchyardError(
    'UNKNOWN_CONSUMER',
    `there is no consumer ${consumerId.slice(0, 80)}: \`switchyard consumer list\` shows them`,
  );
}

function checkLength(name: string, text: string, lengthMax: number): void {
  if (text.trim() === '' || text.length > lengthMax)
    throw new SwitchyardError(
      'INVALID_ARGUMENT',
      `the ${name} has ${text.trim().length} characters; must be 1..${lengthMax}`,
    );
}

function selectConsumers(tables: Tables) {
  return tables
    .selectFrom('embedding_consumers as c')
    .innerJoin('embedding_corpus_versions as v', 'v.corpus_version_id', 'c.corpus_version_id')
    .selectAll('c')
    .select(['v.corpus_name', 'v.label']);
}

function toConsumer(
  row: Awaited<ReturnType<ReturnType<typeof selectConsumers>['execute']>>[number],
): Consumer {
  return Object.freeze({
    corpus: row.corpus_name,
    version: row.label,
    consumerId: row.consumer_id,
    serviceName: row.service_name,
    teamOwner: row.team_owner,
    migrationDeadline: row.migration_deadline,
    migrated: row.migrated,
    usesScoreThresholds: row.uses_score_thresholds,
  });
}
