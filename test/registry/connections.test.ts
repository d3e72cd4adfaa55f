import type pg from 'pg';
import t, { type Test } from 'tap';
import { SilentProxy } from '../../bench/chaos/silent-proxy.js';
import { packageBinaries, startGivenServer } from '../../bench/rig/given-server.js';
import { systemTimers } from '../../src/process/timers.js';
import { AskAside } from '../../src/registry/ask-aside.js';
import { Connections, type ConnectionsOptions } from '../../src/registry/connections.js';
import { eventually, refused } from './registry-fixtures.js';

const server = await startGivenServer(t, await packageBinaries(t));
const ANSWER_MS_MAX = 5_000;

/** A pool of two behind a proxy that can forget what is open. */
async function rig(t: Test, options: Partial<ConnectionsOptions> = {}) {
  const proxy = await SilentProxy.open(server.port);
  const connection = { connectionString: server.url().replace(`:${server.port}/`, `:${proxy.port}/`) };
  const aside = new AskAside(connection, 'probe', ANSWER_MS_MAX);
  const dead: number[] = [];
  const connections = new Connections({
    connectionsMax: 2,
    waitMsMax: ANSWER_MS_MAX,
    silentMs: 100,
    place: 'server:5432/db',
    timers: systemTimers,
    askIdle: (backends) => aside.idleOf(backends),
    onIdleBroken: () => undefined,
    onDead: (count) => dead.push(count),
    ...options,
    pool: { ...connection, connectionTimeoutMillis: ANSWER_MS_MAX, ...options.pool },
  });
  t.teardown(async () => {
    connections.cutAll();
    await connections.end();
    await proxy.close();
  });
  /** As Kysely does: lends one, asks, gives it back whatever came. */
  const ask = async (sql: string): Promise<unknown> => {
    const client: pg.PoolClient = await connections.connect();
    try {
      return (await client.query(sql)).rows;
    } finally {
      client.release();
    }
  };
  const openAll = async (): Promise<void> => {
    await Promise.all([ask('SELECT pg_sleep(0.05)'), ask('SELECT pg_sleep(0.05)')]);
  };
  return { connections, proxy, ask, openAll, dead };
}

const isDead = { ...refused('REGISTRY_UNAVAILABLE'), details: { connections: 'dead' } };
const isBusy = { ...refused('REGISTRY_UNAVAILABLE'), details: { connections: 'busy' } };

t.test(
  'an answer that is missing while the server works on nothing ends the connection, and the idle ones',
  async (t) => {
    const { proxy, ask, openAll, dead } = await rig(t);
    await openAll();
    proxy.forget();
    await t.rejects(ask('SELECT 1 AS one'), isDead);
    t.same(dead, [1]);
    for (let at = 0; at < 4; at++) t.same(await ask('SELECT 1 AS one'), [{ one: 1 }]);
    t.same(dead, [1], 'nobody else met a dead one');
  },
);

t.test('an answer that was lost on its way ends it too', async (t) => {
  const { proxy, ask, dead } = await rig(t);
  const asked = ask('SELECT pg_sleep(0.5)');
  asked.catch(() => undefined);
  await eventually('the server works on it', async () => {
    const rows = await ask(
      "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%sleep(0.5)'",
    );
    return Array.isArray(rows) && rows.length === 1;
  });
  proxy.forget();
  await t.rejects(asked, isDead);
  t.same(dead, [1]);
});

t.test('a long statement and one that waits for a lock are left alone', async (t) => {
  const { connections, ask, dead } = await rig(t);
  await ask('CREATE TABLE locked (id int)');
  const holder = await connections.connect();
  await holder.query('BEGIN');
  await holder.query('LOCK TABLE locked');
  const waits = ask('SELECT count(*)::int AS rows FROM locked');
  await holder.query('SELECT pg_sleep(2)');
  await holder.query('COMMIT');
  holder.release();
  t.same(await waits, [{ rows: 0 }]);
  t.same(dead, []);
});

t.test('behind a pooler, whose process ids say nothing, one time-out is paid and no more', async (t) => {
  const { proxy, ask, openAll } = await rig(t, {
    pool: { query_timeout: 500 },
    askIdle: async () => new Set(),
  });
  await openAll();
  proxy.forget();
  await t.rejects(ask('SELECT 1'), isDead);
  for (let at = 0; at < 4; at++) t.same(await ask('SELECT 1 AS one'), [{ one: 1 }]);
});

t.test('in a transaction the rollback does not wait for a dead connection as well', async (t) => {
  const { connections, proxy } = await rig(t, {
    pool: { query_timeout: 500 },
    askIdle: async () => new Set(),
  });
  const client = await connections.connect();
  await client.query('BEGIN');
  proxy.forget();
  await t.rejects(client.query('SELECT 1'), isDead);
  t.ok(client.connection.stream.destroyed);
  await t.rejects(client.query('ROLLBACK'), 'at once: there is nothing to wait for');
  client.release();
});

t.test('who gets none while all are in use is told so, and the next in the queue is served', async (t) => {
  const { connections } = await rig(t, { waitMsMax: 100 });
  const [first, second] = [await connections.connect(), await connections.connect()];
  await t.rejects(connections.connect(), isBusy);
  const third = connections.connect();
  first.release();
  t.equal(await third, first, 'handed on');
  second.release();
  (await third).release();
});

t.test('cutting all fails who waits, who is served and who connects', async (t) => {
  const { connections, ask } = await rig(t);
  const asked = [ask('SELECT pg_sleep(30)'), ask('SELECT pg_sleep(30)'), ask('SELECT 1')];
  for (const one of asked) one.catch(() => undefined);
  connections.cutAll();
  for (const one of asked) await t.rejects(one);
  await ask('SELECT 1');
  const [first, second] = [await connections.connect(), await connections.connect()];
  const again: Promise<unknown>[] = [
    first.query('SELECT pg_sleep(30)'),
    second.query('SELECT pg_sleep(30)'),
    connections.connect(),
  ];
  for (const one of again) one.catch(() => undefined);
  connections.cutAll();
  for (const one of again) await t.rejects(one);
  t.same(await ask('SELECT 1 AS one'), [{ one: 1 }]);
});
