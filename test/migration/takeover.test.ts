import pg from 'pg';
import t, { type Test } from 'tap';
import { commandMigration } from '../../src/lifecycle/migration/commands.js';
import { type Migration, readMigration } from '../../src/lifecycle/migration/record.js';
import { startMigration } from '../../src/lifecycle/migration/start.js';
import { AUTHOR, CORPUS, makeYard, until } from '../control/yard.js';
import { databaseUrlOf } from '../fixtures/postgres.js';
import { DriverProcess } from './drivers.js';

/** Renewed three times in it: a machine that others keep busy must not let it run out. */
const LEASE_MS = 2_500;
const CAP_MS = 200_000;

/** Two long pauses, so that it is known where drivers are; six short ones for them to race over. */
const SHORT = new Array(6).fill({ pause: { duration_s: 0.1 } });
const LEFT_BEHIND = SHORT.length;
const LONG = LEFT_BEHIND + 1;
const PLAN = JSON.stringify({
  steps: [
    ...SHORT,
    // Ends while the driver that began it is stopped.
    { pause: { duration_s: LEASE_MS / 1_000 } },
    { pause: { duration_s: 3_600 } },
    { verify: {} },
    { shadow: {} },
    { analysis: { shadow: {} } },
    { set_weight: { weight: 10_000 } },
    { complete: {} },
  ],
});

interface LeaseRow {
  readonly at_ms: number;
  readonly holder: string | null;
  readonly token: number;
  readonly expires_ms: number | null;
}

/** Every lease that is written, by the database itself and its clock. */
async function watchLeases(t: Test, connection: pg.ClientConfig) {
  const database = new pg.Client(connection);
  await database.connect();
  t.teardown(() => database.end());
  await database.query(`
    CREATE TABLE lease_rows (n BIGSERIAL, at TIMESTAMPTZ, holder TEXT, token BIGINT, expires TIMESTAMPTZ);
    CREATE FUNCTION note_lease() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO lease_rows (at, holder, token, expires)
        VALUES (clock_timestamp(), NEW.lease_holder, NEW.lease_token, NEW.lease_expires_at);
      RETURN NULL;
    END $$;
    CREATE TRIGGER note_lease AFTER UPDATE ON migrations FOR EACH ROW EXECUTE FUNCTION note_lease();`);
  const ms = (column: string) => `(extract(epoch FROM ${column}) * 1000)::FLOAT8`;
  return async (): Promise<readonly LeaseRow[]> => {
    const { rows } = await database.query<LeaseRow>(
      `SELECT ${ms('at')} AS at_ms, holder, token::INT, ${ms('expires')} AS expires_ms FROM lease_rows ORDER BY n`,
    );
    return rows;
  };
}

/** Where one driver's lease begins while another one's still holds: never. */
function overlaps(rows: readonly LeaseRow[]): readonly LeaseRow[] {
  return rows.filter((row, at) => {
    const before = rows[at - 1];
    if (before === undefined || row.holder === null || before.holder === null) return false;
    return row.holder !== before.holder && row.at_ms < (before.expires_ms ?? 0);
  });
}

t.test('of two drivers one drives and the other waits', async (t) => {
  const { registry, varDir } = await makeYard(t);
  const leases = await watchLeases(t, registry.connection);
  const { migrationId } = await startMigration(
    registry,
    { corpus: CORPUS, toVersion: 'v2', plan: PLAN },
    AUTHOR,
  );
  const settings = {
    ...{ varDir, databaseUrl: databaseUrlOf(registry), leaseMs: LEASE_MS },
    url: 'http://127.0.0.1:1', // no golden query is asked
  };
  const drivers = [new DriverProcess(t, settings), new DriverProcess(t, settings)];
  const other = (one: DriverProcess): DriverProcess => {
    const found = drivers.find((driver) => driver !== one);
    if (found === undefined) throw new Error('there are two');
    return found;
  };
  const inPause = async (step: number, not: DriverProcess | null): Promise<Migration> => {
    const { value } = await until(
      `a driver is in step ${step}`,
      async () => {
        const migration = readMigration(await registry.migrations.get(migrationId));
        const { lease, state } = migration;
        if (state.kind !== 'running' || state.at.step !== step) return null;
        return lease !== null && lease.holder !== not?.holder ? migration : null;
      },
      CAP_MS,
    );
    return value;
  };
  const written = async () => {
    const events = await registry.migrations.events(migrationId);
    return events.slice(1).map(({ actor }) => actor.replace('migration driver ', ''));
  };
  const holderOf = ({ lease }: Migration): DriverProcess => {
    const found = drivers.find(({ holder }) => holder === lease?.holder);
    if (found === undefined) throw new Error(`nobody is ${lease?.holder}`);
    return found;
  };

  await Promise.all(drivers.map((driver) => driver.drive(null)));
  const begun = await inPause(LEFT_BEHIND, null);
  const first = holderOf(begun);
  const second = other(first);

  await t.test('that begin at once', async (t) => {
    t.same(
      await written(),
      SHORT.map(() => first.holder),
      'one wrote everything',
    );
    t.same(
      new Set((await leases()).map(({ holder }) => holder)),
      new Set([first.holder]),
      'by the only lease',
    );
    t.equal(second.child.exitCode, null, 'the other one is there');
  });

  let stale = 0;
  await t.test('and goes on when the first is stopped for longer than its lease', async (t) => {
    first.child.kill('SIGSTOP');
    const taken = await inPause(LONG, first);
    t.equal(holderOf(taken), second);
    stale = begun.lease?.token ?? 0;
    t.ok((taken.lease?.token ?? 0) > stale, 'under a token of its own');
    first.child.kill('SIGCONT');
    const woken = Date.now();
    // It wakes in the pause that is over for it as well, and finds that it is no longer its own.
    await until('the second renewed its lease twice', async () => {
      const { lease } = await registry.migrations.get(migrationId);
      return lease?.holder === second.holder && Date.now() - woken > LEASE_MS;
    });
    t.same(await written(), [...SHORT.map(() => first.holder), second.holder], 'the first wrote no more');
  });

  await t.test('the token of a lost lease writes nothing', async (t) => {
    const { sequence, state } = readMigration(await registry.migrations.get(migrationId));
    await t.rejects(
      registry.migrations.advance({
        ...AUTHOR,
        migrationId,
        expectedSequence: sequence,
        leaseToken: stale,
        event: { kind: 'pause' },
        state,
        isFinished: false,
        route: null,
      }),
      { reason: 'STATUS_CONFLICT', message: /another gateway drives/ },
    );
  });

  await t.test('and the first goes on when the second is killed', async (t) => {
    second.child.kill('SIGKILL');
    t.equal(await second.ended, 'SIGKILL');
    t.equal(holderOf(await inPause(LONG, second)), first);
  });

  await t.test('an operator takes the lease from whoever drives', async (t) => {
    const aborted = await commandMigration(registry, CORPUS, 'abort', AUTHOR);
    t.equal(aborted.state.kind, 'aborted');
    t.equal(aborted.lease, null);
    const { value } = await until('its report is written', async () => {
      const migration = await registry.migrations.get(migrationId);
      return migration.reportedAt === null ? null : migration;
    });
    t.ok(value.finishedAt !== null);
    t.equal(await first.stop(), 0);
  });

  await t.test('no two leases ever overlapped', async (t) => {
    const rows = await leases();
    t.same(overlaps(rows), [], `of ${rows.length}`);
    const tokens = rows.map(({ token }) => token);
    t.same(
      tokens,
      [...tokens].sort((a, b) => a - b),
      'a token is never given again',
    );
    const holders = new Map<number, Set<string>>();
    for (const { token, holder } of rows)
      if (holder !== null) holders.set(token, (holders.get(token) ?? new Set()).add(holder));
    t.ok(
      [...holders.values()].every((of) => of.size === 1),
      'nor to two',
    );
    t.same(
      [...new Set(rows.flatMap(({ holder }) => (holder === null ? [] : [holder])))].sort(),
      [first.holder, second.holder].sort(),
    );
  });
});
