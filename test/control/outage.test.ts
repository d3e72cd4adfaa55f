import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import { startGivenServer } from '../../bench/rig/given-server.js';
import { type Gateway, startGateway } from '../../src/gateway/gateway.js';
import { onEachPostgres, type TestPostgres } from '../fixtures/each-postgres.js';
import { silentLog } from '../fixtures/postgres.js';
import { keepSearching, search, send, target, urlOf } from './http.js';
import { CORPUS, makeYard, until } from './yard.js';

const metric = async (gateway: Gateway, name: string): Promise<string | undefined> => {
  const text = await (await fetch(`${urlOf(gateway.addresses.adminHttp)}/metrics`)).text();
  return new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, 'm').exec(text)?.[1];
};

onEachPostgres(t, comesAndGoes);

async function comesAndGoes(t: Test, postgres: TestPostgres): Promise<void> {
  const server = await startGivenServer(t, await postgres.binaries(t));
  const yard = await makeYard(t, server.url());
  const snapshot = path.join(yard.varDir, 'snapshots', `${CORPUS}.json`);
  const start = () => startGateway(yard.config(), silentLog);
  const put = (gateway: Gateway, revision: number) =>
    send(
      `${urlOf(gateway.addresses.adminHttp)}/v1/routes/${CORPUS}`,
      'PUT',
      { targets: [target('v1', 10_000)], reason: 'a test' },
      { 'if-match': `"${revision}"` },
    );
  const degraded = async (gateway: Gateway): Promise<readonly string[]> =>
    (await search(urlOf(gateway.addresses.http))).body.degraded as string[];
  const healthz = async (gateway: Gateway) =>
    (await send(`${urlOf(gateway.addresses.http)}/healthz`, 'GET')).body;

  await t.test(
    'it stops under requests: serving goes on, changes are refused, everything heals',
    async (t) => {
      const gateway = await start();
      t.teardown(() => gateway.close());
      t.equal(await metric(gateway, 'switchyard_registry_up'), '1');
      t.same(await degraded(gateway), []);
      const load = keepSearching(urlOf(gateway.addresses.http));
      await server.stop();
      await until('degraded', async () => (await degraded(gateway)).includes('registry_unavailable'));
      t.equal(await metric(gateway, 'switchyard_registry_up'), '0');
      t.match(await healthz(gateway), { state: 'degraded', degraded: ['registry_unavailable'] });
      const breaker = (): Promise<string | undefined> => metric(gateway, 'switchyard_registry_breaker_open');
      await until('the breaker opens', async () => (await breaker()) === '1');
      t.match(await put(gateway, 1), { status: 503, body: { reason: 'REGISTRY_UNAVAILABLE' } });
      await server.start();
      await until('healed', async () => (await degraded(gateway)).length === 0);
      t.equal(await metric(gateway, 'switchyard_registry_up'), '1');
      t.equal(await breaker(), '0');
      t.match(await put(gateway, 1), { status: 200, etag: '"2"' });
      await until('revision 2', async () => (await metric(gateway, 'switchyard_route_revision')) === '2');
      await until('the snapshot', async () => (await readFile(snapshot, 'utf8')).includes('"revision":2'));
      await until('more than ten were answered', async () => load.answered() > 10);
      const { refused } = await load.stop();
      t.same(refused, [], 'no request was lost');
    },
  );

  // The rest is about this gateway's disk, whoever's server is away.
  if (postgres.kind !== 'package') return;

  await t.test('it is away at boot: the last snapshot on disk is served, and says so', async (t) => {
    await server.stop();
    const gateway = await start();
    t.teardown(() => gateway.close());
    const answer = await search(urlOf(gateway.addresses.http));
    t.match(answer, {
      status: 200,
      body: { served_by: { route_revision: 2 }, degraded: ['disk_snapshot', 'registry_unavailable'] },
    });
    t.equal(await metric(gateway, 'switchyard_serving_disk_snapshot'), '1');
    t.equal(await metric(gateway, 'switchyard_registry_up'), '0');
    t.match(await healthz(gateway), { state: 'degraded' });
    t.equal((await send(`${urlOf(gateway.addresses.http)}/readyz`, 'GET')).status, 200);
    t.match(await put(gateway, 2), { status: 503, body: { reason: 'REGISTRY_UNAVAILABLE' } });
    const known = await search(urlOf(gateway.addresses.http), {
      text: undefined,
      vector: Array.from({ length: 384 }, () => 1),
      model: yard.int8.manifest.fingerprint,
    });
    t.match(
      known.body,
      { reason: 'MODEL_MISMATCH' },
      'a known model without a target is told from an unknown one',
    );
    await server.start();
    await until('healed', async () => (await degraded(gateway)).length === 0);
    t.equal(await metric(gateway, 'switchyard_serving_disk_snapshot'), '0');
    t.match(await put(gateway, 2), { status: 200, etag: '"3"' });
    await until('revision 3', async () => (await metric(gateway, 'switchyard_route_revision')) === '3');
    await until('the snapshot', async () => (await readFile(snapshot, 'utf8')).includes('"revision":3'));
  });

  await t.test('a snapshot that is damaged is refused by name', async (t) => {
    await server.stop();
    const whole = await readFile(snapshot, 'utf8');
    const damages: readonly (readonly [string, string])[] = [
      ['another revision', whole.replace('"revision":3', '"revision":9')],
      ['cut', whole.slice(0, whole.length / 2)],
      ['empty', ''],
      ['another format', whole.replace('route-snapshot/1', 'route-snapshot/2')],
    ];
    for (const [name, text] of damages) {
      await writeFile(snapshot, text);
      await t.rejects(
        start(),
        { name: 'SwitchyardError', reason: 'CORRUPT_SNAPSHOT', message: /snapshots\/docs\.json/ },
        name,
      );
    }
    await rm(snapshot);
    await t.rejects(
      start(),
      { name: 'SwitchyardError', reason: 'REGISTRY_UNAVAILABLE' },
      'and without one there is nothing to serve',
    );
    await server.start();
  });
}
