import { sql } from 'kysely';
import type { Database } from './database.js';

export interface MigrationSample {
  readonly gatewayId: string;
  readonly at: Date;
  readonly sample: unknown;
}

interface SamplePlace {
  /** `at` to the microsecond. */
  readonly exactly: string;
  readonly gatewayId: string;
}
interface SampleRow {
  readonly gateway_id: string;
  readonly at: Date;
  readonly sample: unknown;
  readonly exactly: string;
}

const SAMPLES_READ = 500;

/** What gateways measured of migrations, as it is written down. */
export class MigrationSamples {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async add(migrationId: string, gatewayId: string, sample: unknown): Promise<void> {
    await this.#database.read((tables) =>
      tables
        .insertInto('migration_samples')
        .values({ migration_id: migrationId, gateway_id: gatewayId, sample: JSON.stringify(sample) })
        .execute(),
    );
  }

  /** Oldest first; those taken at or after `since`, some hundred at a time so that no one else waits for their reading. */
  async *since(migrationId: string, since: Date): AsyncGenerator<MigrationSample> {
    let after: SamplePlace | null = null;
    for (;;) {
      const rows: readonly SampleRow[] = await this.#rows(migrationId, since, after);
      for (const { gateway_id, at, sample } of rows) yield { gatewayId: gateway_id, at, sample };
      const last = rows.at(-1);
      if (last === undefined || rows.length < SAMPLES_READ) return;
      after = { exactly: last.exactly, gatewayId: last.gateway_id };
    }
  }

  #rows(migrationId: string, since: Date, after: SamplePlace | null): Promise<readonly SampleRow[]> {
    return this.#database.read((tables) => {
      const query = tables
        .selectFrom('migration_samples')
        // To the microsecond: two rows may be of one millisecond.
        .select(['gateway_id', 'at', 'sample', sql<string>`at::TEXT`.as('exactly')])
        .where('migration_id', '=', migrationId)
        .orderBy('at')
        .orderBy('gateway_id')
        .limit(SAMPLES_READ);
      return (
        after === null
          ? query.where('at', '>=', since)
          : query.where(sql<boolean>`(at, gateway_id) > (${after.exactly}::TIMESTAMPTZ, ${after.gatewayId})`)
      ).execute();
    });
  }

  /** Samples of migrations that ended so many days ago. How many rows were removed. */
  async prune(keepDays: number): Promise<number> {
    const result = await this.#database.read((tables) =>
      tables
        .deleteFrom('migration_samples')
        .using('migrations')
        .whereRef('migrations.migration_id', '=', 'migration_samples.migration_id')
        .where(
          sql<boolean>`migrations.finished_at < clock_timestamp() - make_interval(secs => ${keepDays * 86_400})`,
        )
        .executeTakeFirst(),
    );
    return Number(result.numDeletedRows);
  }
}
