import { Migrator, sql } from 'kysely';
import { SwitchyardError } from '../errors.js';
import type { Database, Tables } from './database.js';
import { MIGRATIONS } from './migrations/index.js';

/**
 * Brings the schema up to this program's, in one transaction under an advisory lock: replicas may start at once.
 * Errors: INVALID_CONFIG when the schema is newer than the program; it is left untouched.
 */
export async function migrate(database: Database): Promise<readonly string[]> {
  return database.read(async (tables) => {
    const applied = await appliedMigrations(tables);
    refuseNewer(applied, database.place);
    if (applied.length === Object.keys(MIGRATIONS).length) return [];
    const migrator = new Migrator({
      db: tables,
      provider: { getMigrations: async () => ({ ...MIGRATIONS }) },
    });
    const { error, results } = await migrator.migrateToLatest();
    if (error !== undefined) {
      // A newer program may have migrated between the look and the lock.
      refuseNewer(await appliedMigrations(tables), database.place);
      throw error;
    }
    return (results ?? []).map(({ migrationName }) => migrationName);
  });
}

async function appliedMigrations(tables: Tables): Promise<readonly string[]> {
  const { rows: exists } = await sql<{ known: boolean }>`
    SELECT to_regclass('kysely_migration') IS NOT NULL AS known`.execute(tables);
  if (exists[0]?.known !== true) return [];
  const { rows } = await sql<{ name: string }>`SELECT name FROM kysely_migration ORDER BY name`.execute(
    tables,
  );
  return rows.map(({ name }) => name);
}

function refuseNewer(applied: readonly string[], place: string): void {
  const unknown = applied.filter((name) => !Object.hasOwn(MIGRATIONS, name));
  if (unknown.length === 0) return;
  throw new SwitchyardError(
    'INVALID_CONFIG',
    `the registry (${place}) was migrated by a newer Switchyard (${unknown.join(', ')}): upgrade this program, or point it at another registry`,
    { details: { migrations: unknown.join(', ') } },
  );
}
