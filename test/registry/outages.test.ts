import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { SilentProxy } from '../../bench/chaos/silent-proxy.js';
import { packageBinaries, startGivenServer } from '../../bench/rig/given-server.js';
import { SwitchyardError } from '../../src/errors.js';
import { openRegistry, type Registry } from '../../src/registry/registry.js';
import { silentLog, temporaryFolder } from '../fixtures/postgres.js';
import {
  AUTHOR,
  active,
  eventually,
  rawSession,
  readyVersion,
  refused,
  registerModel,
} from './registry-fixtures.js';

/** What a registry opens at most. */
const CONNECTIONS = 6;

const server = await startGivenServer(t, await packageBinaries(t));
const registry = await openRegistry({
  databaseUrl: server.url(),
  varDir: await temporaryFolder(t),
  log: silentLog,
  applicationName: 'switchyard-test',
});
t.teardown(() => registry.close());
const model = await registerModel(registry, 'm');
await readyVersion(registry, 'docs', 'v1', model);
const change = (expectedRevision: number | null) =>
  registry.routes.change({ corpus: 'docs', targets: [active('v1', 10_000)], expectedRevision, ...AUTHOR });
await change(null);
const events: string[] = [];
const watch = registry.watch(({ kind }) => events.push(kind));
await eventually('listening', () => watch.state === 'listening');

t.test('killed', (t) =>
  goAway(
    t,
    () => server.kill(),
    () => server.start(),
  ),
);

t.test('stopped (SIGSTOP): connections stay open and nothing answers', (t) =>
  goAway(
    t,
    async () => server.pause(),
    async () => server.resume(),
  ),
);

/** Calls fail while it is away, at once when the breaker is open, and work when it is back, with nothing half done. */
async function goAway(t: Test, leave: () => Promise<void>, comeBack: () => Promise<void>): Promise<void> {
  const openedBefore = registry.circuit().openedCount;
  const revision = (await registry.routes.list())[0]?.revision ?? 0;
  await leave();
  // As a gateway's polls, its heartbeats and an operator would.
  const calls: Promise<unknown>[] = [change(revision), registry.ping()];
  for (let at = 0; at < 8; at++) calls.push(registry.routes.list());
  for (const call of await Promise.allSettled(calls))
    t.match(call, { status: 'rejected', reason: refused('REGISTRY_UNAVAILABLE') });
  t.equal(registry.circuit().openedCount, openedBefore + 1);
  t.not(registry.circuit().state, 'closed');
  for (let at = 0; at < 100; at++) {
    const refusal = await refusalOf(registry);
    t.equal(refusal.reason, 'REGISTRY_UNAVAILABLE');
    t.match(refusal.details.breaker, /^(open|trial)$/, 'refused by the breaker, so nobody waited');
  }
  events.length = 0;
  await comeBack();
  await eventually('closed', () => registry.circuit().state === 'closed');
  t.ok(events.includes('resync'), 'whoever follows the registry reads it again');
  t.equal((await registry.routes.list())[0]?.revision, revision, 'the change that was refused was not made');
  t.equal((await change(revision)).revision, revision + 1);
  await noneIdleInTransaction(t);
}

async function refusalOf(registry: Registry): Promise<SwitchyardError> {
  try {
    await registry.ping();
  } catch (thrown) {
    if (thrown instanceof SwitchyardError) return thrown;
  }
  throw new Error('the registry answered');
}

async function noneIdleInTransaction(t: Test): Promise<void> {
  const client = await rawSession(t, registry);
  await eventually('no session is idle in a transaction', async () => {
    const { rows } = await client.query<{ readonly count: number }>(
      `SELECT count(*)::int AS count FROM pg_stat_activity
       WHERE state LIKE 'idle in transaction%' AND application_name LIKE 'switchyard-test%'`,
    );
    return rows[0]?.count === 0;
  });
}

t.test(
  'half-open: a process that gave it up and closes has nothing left that keeps it from ending',
  async (t) => {
    const proxy = await SilentProxy.open(server.port);
    t.teardown(() => proxy.close());
    const url = server.url().replace(`:${server.port}/`, `:${proxy.port}/`);
    const script = fileURLToPath(new URL('./silent-main.js', import.meta.url));
    const child = spawn(process.execPath, [script, url, await temporaryFolder(t)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    t.teardown(() => void child.kill('SIGKILL'));
    const exited = once(child, 'exit');
    let said = '';
    child.stdout.on('data', (chunk) => {
      said += String(chunk);
    });
    await eventually('it listens', () => said.includes('listening\n'));
    proxy.silence();
    child.stdin.write('now\n');
    const [status] = (await exited) as [number | null];
    t.match(said, /^listening\n(open|trial)\nclosed\n$/);
    t.equal(status, 0);
  },
);

t.test('a firewall that dropped the open connections, and takes new ones, is no outage', async (t) => {
  const proxy = await SilentProxy.open(server.port);
  t.teardown(() => proxy.close());
  const behind = await openRegistry({
    databaseUrl: server.url().replace(`:${server.port}/`, `:${proxy.port}/`),
    varDir: await temporaryFolder(t),
    log: silentLog,
    applicationName: 'switchyard-test-behind',
  });
  t.teardown(() => behind.close());
  const revision = (await behind.routes.list())[0]?.revision ?? 0;
  await Promise.all(Array.from({ length: CONNECTIONS * 2 }, () => behind.ping()));
  proxy.forget();
  const changing = behind.routes.change({
    corpus: 'docs',
    targets: [active('v1', 10_000)],
    expectedRevision: revision,
    ...AUTHOR,
  });
  const calls = [changing, ...Array.from({ length: CONNECTIONS * 2 }, () => behind.ping())];
  const failed = (await Promise.allSettled(calls)).filter(({ status }) => status === 'rejected');
  t.equal(failed.length, CONNECTIONS, 'those that had a connection that was dead, and nobody after them');
  for (const call of failed)
    t.match(call, { reason: { ...refused('REGISTRY_UNAVAILABLE'), details: { connections: 'dead' } } });
  t.same(behind.circuit(), { state: 'closed', openedCount: 0 });
  await Promise.all(Array.from({ length: CONNECTIONS * 2 }, () => behind.ping()));
  t.equal((await behind.routes.list())[0]?.revision, revision, 'the change that was refused was not made');
});
