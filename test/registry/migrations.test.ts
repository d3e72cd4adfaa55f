import t from 'tap';
import { MIGRATIONS } from '../../src/registry/migrations/index.js';
import { openRegistry } from '../../src/registry/registry.js';
import { onEachPostgres } from '../fixtures/each-postgres.js';
import { databaseUrlOf, silentLog, startTestRegistry, temporaryFolder } from '../fixtures/postgres.js';
import { rawSession, refused, registerModel } from './registry-fixtures.js';

/** Column for column as in the embedding-lifecycle design: name, type, not null. */
const SEED: Readonly<Record<string, readonly string[]>> = {
  embedding_models: [
    'model_id uuid not null',
    'model_name character varying(128) not null',
    'model_version character varying(32) not null',
    'provider character varying(64)',
    'dimensions integer not null',
    'max_tokens integer not null',
    'similarity_metric character varying(16) not null',
    'training_data_hash bytea',
    'benchmark_scores jsonb',
    'status character varying(16)',
    'created_at timestamp with time zone',
    'deprecated_at timestamp with time zone',
  ],
  embedding_corpus_versions: [
    'corpus_version_id uuid not null',
    'model_id uuid',
    'corpus_name character varying(128) not null',
    'total_embeddings bigint not null',
    'storage_uri text not null',
    'index_uri text',
    'status character varying(16)',
    'created_at timestamp with time zone',
    'completed_at timestamp with time zone',
    'quality_metrics jsonb',
  ],
  embedding_consumers: [
    'consumer_id uuid not null',
    'corpus_version_id uuid',
    'service_name character varying(128) not null',
    'team_owner character varying(64) not null',
    'migration_deadline timestamp with time zone',
    'migrated boolean',
  ],
};

onEachPostgres(t, async (t, postgres) => {
  const varDir = await temporaryFolder(t);
  const databaseUrl = await postgres.newDatabase();
  const open = () =>
    openRegistry({ databaseUrl, varDir, log: silentLog, applicationName: 'switchyard-test' });

  await t.test('four replicas that start at once migrate once', async (t) => {
    const registries = await Promise.all([open(), open(), open(), open()]);
    for (const registry of registries) {
      t.same(await registry.models.list(), []);
      t.teardown(() => registry.close());
    }
    const raw = await rawSession(t, registries[0] as (typeof registries)[number]);
    const { rows } = await raw.query<{ name: string }>('SELECT name FROM kysely_migration ORDER BY name');
    t.same(
      rows.map(({ name }) => name),
      Object.keys(MIGRATIONS).sort(),
    );
  });

  await t.test('a second start changes nothing and keeps the data', async (t) => {
    const first = await open();
    await registerModel(first, 'kept');
    await first.close();
    const second = await open();
    t.teardown(() => second.close());
    t.match(await second.models.list(), [{ modelRef: 'kept@1' }]);
  });

  await t.test("the seed's tables are there column for column, in its order", async (t) => {
    const registry = await startTestRegistry(t, { varDir, databaseUrl });
    const raw = await rawSession(t, registry);
    for (const [table, columns] of Object.entries(SEED)) {
      const { rows } = await raw.query<{ column: string }>(
        `SELECT attname || ' ' || format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' not null' ELSE '' END AS column
         FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 ORDER BY attnum`,
        [table],
      );
      t.same(
        rows.slice(0, columns.length).map(({ column }) => column),
        columns,
        table,
      );
    }
  });

  await t.test('an older program refuses a newer schema and leaves it alone', async (t) => {
    const registry = await startTestRegistry(t, { varDir, databaseUrl });
    const raw = await rawSession(t, registry);
    await raw.query(`INSERT INTO kysely_migration VALUES ('9999_of_the_future', now()::TEXT)`);
    await t.rejects(open(), {
      ...refused('INVALID_CONFIG'),
      message: /newer Switchyard \(9999_of_the_future\): upgrade/,
    });
    await raw.query(`DELETE FROM kysely_migration WHERE name LIKE '9999%'`);
    const again = await open();
    await again.close();
    t.pass('and opens again once it fits');
  });

  t.test('a migration that fails leaves nothing half done', async (t) => {
    const registry = await startTestRegistry(t, { postgres });
    const raw = await rawSession(t, registry);
    // As if the last migrations had not run: the first of them can, and the last one lacks what it replaces.
    const last = Object.keys(MIGRATIONS).slice(-2);
    t.same(last, ['0010_migration_reports', '0011_monitor_role'], 'those that what follows was written for');
    await raw.query('DELETE FROM kysely_migration WHERE name = ANY($1)', [last]);
    await raw.query('ALTER TABLE migrations DROP COLUMN reported_at');
    await raw.query('ALTER TABLE api_keys DROP CONSTRAINT api_keys_role_known');
    const columns = async () =>
      (
        await raw.query(
          `SELECT count(*)::INT AS n FROM information_schema.columns WHERE table_schema = 'public'`,
        )
      ).rows[0]?.n;
    const before = await columns();
    await t.rejects(
      openRegistry({
        databaseUrl: databaseUrlOf(registry),
        varDir,
        log: silentLog,
        applicationName: 'switchyard-test',
      }),
      refused('INTERNAL'),
    );
    t.equal(await columns(), before);
  });
});
