import { SwitchyardError } from '../errors.js';
import type { Database, RegistryTransaction } from './database.js';

/** Who changes something and why: part of every change of control state (invariant 5). */
export interface ChangeAuthor {
  readonly actor: string;
  readonly reason: string;
}

/** Of a change whose caller had nobody to name: a fixture, a program that sets a yard up. */
export const UNSTATED: ChangeAuthor = Object.freeze({ actor: 'switchyard', reason: 'not stated' });

/** A change that is not of a route: of a model, a corpus version, a build, a desired target, a consumer. */
export interface RegistryChange extends ChangeAuthor {
  readonly changedAt: Date;
  /** `model minilm@1`, `corpus_version docs_kb/v2`, … */
  readonly subject: string;
  readonly before: unknown;
  readonly after: unknown;
}

const AUTHOR_TEXT_LENGTH_MAX = 2_000;

/** Errors: INVALID_ARGUMENT when actor or reason are blank or endless. */
export function checkAuthor({ actor, reason }: ChangeAuthor): void {
  for (const [name, text] of [
    ['actor', actor],
    ['reason', reason],
  ] as const) {
    if (text.trim() === '' || text.length > AUTHOR_TEXT_LENGTH_MAX)
      throw new SwitchyardError(
        'INVALID_ARGUMENT',
        `${name} has ${text.trim().length} characters; must be 1..${AUTHOR_TEXT_LENGTH_MAX}: every change says who made it and why`,
      );
  }
}

export async function recordChange(
  transaction: RegistryTransaction,
  change: ChangeAuthor & { readonly subject: string; readonly before: unknown; readonly after: unknown },
): Promise<void> {
  checkAuthor(change);
  const json = (value: unknown) => (value === null ? null : JSON.stringify(value));
  await transaction
    .insertInto('registry_changes')
    .values({
      actor: change.actor,
      reason: change.reason,
      subject: change.subject,
      before: json(change.before),
      after: json(change.after),
    })
    .execute();
}

export class Changes {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Latest first. */
  async list(filter: { readonly subject?: string; readonly limit?: number } = {}): Promise<RegistryChange[]> {
    const rows = await this.#database.read((tables) => {
      let query = tables.selectFrom('registry_changes').selectAll().orderBy('change_id', 'desc');
      if (filter.subject !== undefined) query = query.where('subject', '=', filter.subject);
      return query.limit(filter.limit ?? 100).execute();
    });
    return rows.map((row) => ({
      changedAt: row.changed_at,
      actor: row.actor,
      reason: row.reason,
      subject: row.subject,
      before: row.before,
      after: row.after,
    }));
  }
}
