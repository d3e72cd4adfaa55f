import { rm } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { packageBinaries, startGivenServer } from '../../bench/rig/given-server.js';
import type { Config } from '../../src/config/config.js';
import { KeyOperations } from '../../src/gateway/auth/key-operations.js';
import { loadKeySecret } from '../../src/gateway/auth/key-secret.js';
import { type Gateway, startGateway } from '../../src/gateway/gateway.js';
import { search, send, urlOf } from '../control/http.js';
import { AUTHOR, makeYard, sleep, until } from '../control/yard.js';
import { silentLog } from '../fixtures/postgres.js';
import { bearer } from './keys.js';

const STALENESS_MS_MAX = 1_000;

t.test('while PostgreSQL is gone those who watch see it, and nobody else gets in', async (t) => {
  const server = await startGivenServer(t, await packageBinaries(t));
  const yard = await makeYard(t, server.url());
  const plain = yard.config();
  const withKeys = { ...plain.listen.adminHttp, auth: 'keys' as const };
  const config: Config = {
    ...plain,
    listen: { ...plain.listen, http: withKeys, adminHttp: withKeys },
    auth: { ...plain.auth, pollIntervalMs: 100, stalenessMsMax: STALENESS_MS_MAX },
  };
  const keys = new KeyOperations(
    () => yard.registry,
    () => loadKeySecret(config.auth),
  );
  const create = (role: 'search' | 'monitor' | 'operator') => keys.createKey({ name: role, role, ...AUTHOR });
  const [searcher, monitor, operator, revoked] = [
    await create('search'),
    await create('monitor'),
    await create('operator'),
    await create('monitor'),
  ];
  const scrape = async (gateway: Gateway, { key }: { readonly key: string }) => {
    const answer = await fetch(`${urlOf(gateway.addresses.adminHttp)}/metrics`, { headers: bearer(key) });
    return { status: answer.status, text: await answer.text() };
  };
  const readingOf = (text: string, name: string): number =>
    Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
  const routes = (gateway: Gateway, { key }: { readonly key: string }) =>
    send(`${urlOf(gateway.addresses.adminHttp)}/v1/routes`, 'GET', undefined, bearer(key));
  const known = path.join(config.varDir, 'keys', 'known.json');
  const ask = (gateway: Gateway, { key }: { readonly key: string }) =>
    search(urlOf(gateway.addresses.http), {}, bearer(key));

  await t.test('it stops under a gateway', async (t) => {
    const gateway = await startGateway(config, silentLog);
    t.teardown(() => gateway.close());
    t.equal((await ask(gateway, searcher)).status, 200);
    t.equal((await routes(gateway, operator)).status, 200);
    await keys.revokeKey({ key_id: revoked.key_id, ...AUTHOR });
    await until('the revoked key ends', async () => (await scrape(gateway, revoked)).status === 401);
    await server.stop();
    await until('keys are too old', async () => (await ask(gateway, searcher)).status === 503);
    t.match(await ask(gateway, operator), { status: 503, body: { reason: 'REGISTRY_UNAVAILABLE' } });
    t.match(await routes(gateway, operator), { status: 503, body: { reason: 'REGISTRY_UNAVAILABLE' } });
    // What SwitchyardRegistryDown and SwitchyardApiKeysStale look at.
    const { status, text } = await scrape(gateway, monitor);
    t.equal(status, 200);
    t.equal(readingOf(text, 'switchyard_registry_up'), 0);
    t.ok(readingOf(text, 'switchyard_api_keys_age_seconds') > STALENESS_MS_MAX / 1000);
    t.equal((await scrape(gateway, operator)).status, 200, 'the runbook asks for the status with such a key');
    t.equal((await scrape(gateway, searcher)).status, 403, 'a key watches that might before');
    t.equal((await scrape(gateway, revoked)).status, 401, 'what was revoked before the outage stays so');
    t.equal((await scrape(gateway, { key: 'sy_nonsense' })).status, 401);
    await server.start();
    await until('healed', async () => (await ask(gateway, searcher)).status === 200);
    const healed = (await scrape(gateway, monitor)).text;
    t.ok(readingOf(healed, 'switchyard_api_keys_age_seconds') < STALENESS_MS_MAX / 1000);
  });

  await t.test('it is away at boot: the keys that were known go on until they are too old', async (t) => {
    await server.stop();
    const patient = { ...config, auth: { ...config.auth, stalenessMsMax: 3_600_000 } };
    const waiting = await startGateway(patient, silentLog);
    t.teardown(() => waiting.close());
    t.equal((await ask(waiting, searcher)).status, 200, 'also to search, where they are trusted for so long');
    t.equal((await ask(waiting, revoked)).status, 401);
    await waiting.close();

    await sleep(STALENESS_MS_MAX);
    const gateway = await startGateway(config, silentLog);
    t.teardown(() => gateway.close());
    const { status, text } = await scrape(gateway, monitor);
    t.equal(status, 200);
    t.equal(readingOf(text, 'switchyard_registry_up'), 0);
    t.ok(
      readingOf(text, 'switchyard_api_keys_age_seconds') > STALENESS_MS_MAX / 1000,
      'since they were read',
    );
    t.equal((await scrape(gateway, operator)).status, 200);
    t.equal((await scrape(gateway, revoked)).status, 401);
    t.match(await ask(gateway, searcher), { status: 503, body: { reason: 'REGISTRY_UNAVAILABLE' } });
    t.match(await routes(gateway, operator), { status: 503, body: { reason: 'REGISTRY_UNAVAILABLE' } });
    await gateway.close();
  });

  await t.test(
    'it is away at boot and no key is known: none is let in, and where none is asked for the age is said',
    async (t) => {
      await rm(known);
      const gateway = await startGateway(config, silentLog);
      t.teardown(() => gateway.close());
      t.equal((await scrape(gateway, monitor)).status, 503);
      await gateway.close();
      const open = await startGateway(
        { ...config, listen: { ...config.listen, adminHttp: plain.listen.adminHttp } },
        silentLog,
      );
      t.teardown(() => open.close());
      const { text } = await scrape(open, monitor);
      t.equal(readingOf(text, 'switchyard_registry_up'), 0);
      const first = readingOf(text, 'switchyard_api_keys_age_seconds');
      t.ok(first > 0, 'since the gateway began');
      await until('it grows', async () => {
        const age = readingOf((await scrape(open, monitor)).text, 'switchyard_api_keys_age_seconds');
        return age > first;
      });
      await server.start();
    },
  );
});
