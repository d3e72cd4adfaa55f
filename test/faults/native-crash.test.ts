import { chmod, copyFile, rename, truncate } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { freePort } from '../../bench/rig/redis.js';
import { search } from '../control/http.js';
import { startGatewayProcess } from '../control/processes.js';
import { builtBundle, makeYard, until } from '../control/yard.js';

const metric = async (admin: string, name: string): Promise<number | null> => {
  const response = await fetch(`${admin}/metrics`).catch(() => null);
  const found = new RegExp(`^${name} (\\d+)$`, 'm').exec((await response?.text()) ?? '')?.[1];
  return found === undefined ? null : Number(found);
};

/**
 * An index that is cut while a search thread has it mapped: the next look into it is a SIGBUS in native code, which no
 * handler in JavaScript sees. What is published is never modified, so this takes somebody who breaks that rule.
 */
t.test('a native crash in a search thread is counted, and the gateway is started again', async (t) => {
  const yard = await makeYard(t);
  const bundles = path.join(yard.varDir, 'bundles');
  const { folder } = await builtBundle(bundles, 'v1');
  const index = path.join(folder, 'index.usearch');
  const whole = `${index}.whole`;
  await copyFile(index, whole);

  const [http, admin] = [await freePort(), await freePort()];
  const gateway = await startGatewayProcess(
    t,
    yard.varDir,
    {
      SWITCHYARD_LISTEN__HTTP__PORT: String(http),
      SWITCHYARD_LISTEN__ADMIN_HTTP__PORT: String(admin),
    },
    ['--supervise'],
  );
  t.match(await search(gateway.http), { status: 200, body: { served_by: { corpus_version: 'v1' } } });
  t.equal(await metric(gateway.admin, 'switchyard_unclean_exits_total'), 0);

  await chmod(index, 0o644);
  await truncate(index, 0);
  await t.rejects(search(gateway.http), 'what was in flight is lost with the process');
  await until(
    'it is back',
    async () => (await metric(gateway.admin, 'switchyard_unclean_exits_total')) === 1,
  );
  t.match(gateway.said(), /"signal":"SIGBUS"/, 'it was the search thread, and nothing that JavaScript threw');
  t.match(
    await search(gateway.http),
    { status: 503, body: { reason: 'INDEX_UNAVAILABLE', detail: /CORRUPT_BUNDLE/ } },
    'the file is hashed before it is opened again, so there is no second crash',
  );
  await rename(whole, index);
  await until('the index is served again', async () => (await search(gateway.http)).status === 200);
  t.equal(await metric(gateway.admin, 'switchyard_unclean_exits_total'), 1);
  t.equal(await gateway.stop(), 0);
});
