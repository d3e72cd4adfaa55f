import { randomBytes } from 'node:crypto';
import { SwitchyardError } from '../errors.js';
import type { Revision } from '../vocabulary.js';
import { type ChangeAuthor, checkAuthor } from './changes.js';
import { unknownCorpus } from './corpus-versions.js';
import type { Database, RegistryTransaction, Tables } from './database.js';
import { activateServing } from './model-activation.js';
import { GATEWAY_ALIVE_MS_MAX, refuseUnready } from './readiness.js';
import {
  auditedTargets,
  auditTargets,
  type Route,
  type RouteRevision,
  type RouteTarget,
  type RouteTargetInput,
} from './route.js';
import { readOffers, readRoutes, writeTargets } from './route-rows.js';
import { validateRoute } from './route-rules.js';

export interface RouteChange extends ChangeAuthor {
  readonly corpus: string;
  readonly targets: readonly RouteTargetInput[];
  /** The revision the change is based on; null to make the route. */
  readonly expectedRevision: Revision | number | null;
  /** Skips the check that live replicas have loaded what gets weight; recorded in the audit. */
  readonly force?: boolean;
}

export interface RouteRollback extends ChangeAuthor {
  readonly corpus: string;
  readonly toRevision: Revision | number;
  readonly expectedRevision: Revision | number;
  readonly force?: boolean;
}

const REVISIONS_LISTED_MAX = 1_000;
/** PostgreSQL's INT. */
const REVISION_MAX = 0x7fffffff;

export interface RevisionPage {
  readonly limit?: number;
  /** Only revisions below this one. */
  readonly before?: number;
}

export class Routes {
  readonly #database: Database;
  readonly #aliveMsMax: number;

  constructor(database: Database, aliveMsMax: number = GATEWAY_ALIVE_MS_MAX) {
    this.#database = database;
    this.#aliveMsMax = aliveMsMax;
  }

  /** By corpus: what a replica polls. */
  list(): Promise<readonly Route[]> {
    return this.#database.read((tables) => readRoutes(tables, null));
  }

  /** Null for a corpus without a route, known or not. */
  async find(corpus: string): Promise<Route | null> {
    const [route] = await this.#database.read((tables) => readRoutes(tables, corpus));
    return route ?? null;
  }

  /** Errors: UNKNOWN_CORPUS, also for one that has no route yet. */
  async get(corpus: string): Promise<Route> {
    const route = await this.find(corpus);
    if (route !== null) return route;
    return this.#database.read(async (tables) => {
      const { version } = (await readOffers(tables, corpus))[0] ?? {};
      if (version === undefined) throw await unknownCorpus(tables, corpus);
      throw new SwitchyardError(
        'UNKNOWN_CORPUS',
        `corpus ${corpus} has no route yet: give it one with \`switchyard route set\``,
      );
    });
  }

  /**
   * One transaction with its audit row (invariant 5). Errors: REVISION_CONFLICT with the current revision, INVALID_ROUTE,
   * UNKNOWN_CORPUS, UNKNOWN_CORPUS_VERSION, UNKNOWN_BUILD, STATUS_CONFLICT, TARGET_NOT_READY, INVALID_ARGUMENT.
   */
  async change(change: RouteChange): Promise<Route> {
    checkAuthor(change);
    return this.#database.change((transaction) => changeRoute(transaction, change, this.#aliveMsMax));
  }

  /**
   * The targets of an earlier revision as a new revision, checked like any other change.
   * Errors: UNKNOWN_REVISION and those of `change`.
   */
  async rollback(rollback: RouteRollback): Promise<Route> {
    checkAuthor(rollback);
    const { corpus, toRevision, expectedRevision } = rollback;
    return this.#database.change(async (transaction) => {
      const current = await lockRoute(transaction, corpus, expectedRevision);
      const earlier = Number.isSafeInteger(toRevision)
        ? await transaction
            .selectFrom('route_revisions')
            .select('after')
            .where('corpus_name', '=', corpus)
            .where('revision', '=', Math.min(Math.max(toRevision, 0), REVISION_MAX))
            .executeTakeFirst()
        : undefined;
      if (earlier === undefined)
        throw new SwitchyardError(
          'UNKNOWN_REVISION',
          `the route of ${corpus} has no revision ${toRevision}; it has 1..${current?.revision ?? 0}`,
          { details: { corpus, current_revision: String(current?.revision ?? 0) } },
        );
      const change = { ...rollback, targets: auditedTargets(earlier.after) };
      return applyRoute(transaction, current, change, toRevision as Revision, this.#aliveMsMax);
    });
  }

  /** Latest first, from the one below `before` on. Errors: UNKNOWN_CORPUS. */
  async revisions(
    corpus: string,
    { limit = REVISIONS_LISTED_MAX, before = REVISION_MAX }: RevisionPage = {},
  ): Promise<readonly RouteRevision[]> {
    const rows = await this.#database.read((tables) =>
      tables
        .selectFrom('route_revisions')
        .selectAll()
        .where('corpus_name', '=', corpus)
        .where('revision', '<', Math.min(before, REVISION_MAX))
        .orderBy('revision', 'desc')
        .limit(limit)
        .execute(),
    );
    if (rows.length === 0) await this.get(corpus);
    return rows.map((row) => ({
      corpus,
      revision: row.revision as Revision,
      changedAt: row.changed_at,
      actor: row.actor,
      reason: row.reason,
      forced: row.forced,
      rolledBackTo: row.rolled_back_to as Revision | null,
      before: row.before === null ? null : auditedTargets(row.before),
      after: auditedTargets(row.after),
    }));
  }
}

/** A change as a part of a larger transaction, which says why. Errors: those of `Routes.change`. */
export async function changeRoute(
  transaction: RegistryTransaction,
  change: RouteChange,
  aliveMsMax: number,
): Promise<Route> {
  const current = await lockRoute(transaction, change.corpus, change.expectedRevision);
  return applyRoute(transaction, current, change, null, aliveMsMax);
}

async function applyRoute(
  transaction: RegistryTransaction,
  current: Route | null,
  change: RouteChange,
  rolledBackTo: Revision | null,
  aliveMsMax: number,
): Promise<Route> {
  const { corpus } = change;
  const offers = await readOffers(transaction, corpus);
  if (offers.length === 0) throw await unknownCorpus(transaction, corpus);
  const targets = validateRoute(corpus, change.targets, offers);
  if (change.force !== true)
    await refuseUnready(transaction, corpus, current?.targets ?? [], targets, aliveMsMax);
  const route: Route = {
    corpus,
    revision: ((current?.revision ?? 0) + 1) as Revision,
    salt: current?.salt ?? randomBytes(16).toString('hex'),
    targets,
  };
  await writeRevision(transaction, current?.targets ?? null, route, change, rolledBackTo);
  await writeTargets(
    transaction,
    corpus,
    targets,
    new Map(offers.map((offer) => [offer.version, offer.corpusVersionId])),
  );
  await activateServing(transaction, targets, change);
  return Object.freeze(route);
}

/**
 * The route, locked until the transaction ends; null when it is to be made. Two who make the same route meet at the
 * audit row's key, which says REVISION_CONFLICT like any other stale change.
 */
async function lockRoute(
  transaction: RegistryTransaction,
  corpus: string,
  expectedRevision: number | null,
): Promise<Route | null> {
  await transaction
    .selectFrom('routes')
    .select('revision')
    .where('corpus_name', '=', corpus)
    .forUpdate()
    .execute();
  const [route] = await readRoutes(transaction, corpus);
  if (route === undefined && expectedRevision === null) return null;
  if (route !== undefined && route.revision === expectedRevision) return route;
  if (route === undefined && (await readOffers(transaction, corpus)).length === 0)
    throw await unknownCorpus(transaction, corpus);
  throw revisionConflict(corpus, expectedRevision, route?.revision ?? null);
}

async function writeRevision(
  transaction: RegistryTransaction,
  before: readonly RouteTarget[] | null,
  route: Route,
  change: RouteChange,
  rolledBackTo: Revision | null,
): Promise<void> {
  const inserted = await transaction
    .insertInto('route_revisions')
    .values({
      corpus_name: route.corpus,
      revision: route.revision,
      actor: change.actor,
      reason: change.reason,
      forced: change.force === true,
      rolled_back_to: rolledBackTo,
      before: before === null ? null : auditTargets(before),
      after: auditTargets(route.targets),
    })
    .onConflict((conflict) => conflict.columns(['corpus_name', 'revision']).doNothing())
    .returning('revision')
    .executeTakeFirst();
  if (inserted === undefined)
    throw revisionConflict(
      route.corpus,
      change.expectedRevision,
      await currentRevision(transaction, route.corpus),
    );
  const { corpus: corpus_name, revision, salt } = route;
  if (before === null)
    await transaction.insertInto('routes').values({ corpus_name, revision, salt }).execute();
  else
    await transaction
      .updateTable('routes')
      .set({ revision })
      .where('corpus_name', '=', corpus_name)
      .execute();
}

async function currentRevision(tables: Tables, corpus: string): Promise<number | null> {
  const row = await tables
    .selectFrom('routes')
    .select('revision')
    .where('corpus_name', '=', corpus)
    .executeTakeFirst();
  return row?.revision ?? null;
}

function revisionConflict(corpus: string, expected: number | null, current: number | null): SwitchyardError {
  const now = current === null ? 'there is no route yet' : `it is at revision ${current}`;
  const based = expected === null ? 'meant to make it' : `was based on revision ${expected}`;
  return new SwitchyardError(
    'REVISION_CONFLICT',
    `the change of the route of ${corpus} ${based}, but ${now}: read it again and decide anew`,
    {
      details: {
        corpus,
        expected_revision: String(expected ?? 'none'),
        current_revision: String(current ?? 'none'),
      },
    },
  );
}
