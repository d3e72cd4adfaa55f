import { SwitchyardError } from '../errors.js';
import type { RegistryTransaction } from './database.js';

/** A migration as a driver knew it: what it does then is wrong as soon as anything came after this event. */
export interface MigrationAt {
  readonly migrationId: string;
  /** Number of its last event. */
  readonly sequence: number;
}

/**
 * Holds it there until the transaction ends: a command comes before, and this is refused, or behind it.
 * Errors: STATUS_CONFLICT when it went on.
 */
export async function holdMigrationAt(
  transaction: RegistryTransaction,
  { migrationId, sequence }: MigrationAt,
): Promise<void> {
  const row = await transaction
    .selectFrom('migrations')
    .select(['sequence', 'corpus_name'])
    .where('migration_id', '=', migrationId)
    .forShare()
    .executeTakeFirst();
  if (row?.sequence === sequence) return;
  throw new SwitchyardError(
    'STATUS_CONFLICT',
    `the migration of ${row?.corpus_name ?? migrationId} went on to event ${row?.sequence ?? 'none'} while what followed event ${sequence} was done: look again`,
  );
}
