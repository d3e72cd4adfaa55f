import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import t from 'tap';
import type { Config } from '../../src/config/config.js';
import type { NewKeyView } from '../../src/gateway/admin/key-views.js';
import { KeyOperations } from '../../src/gateway/auth/key-operations.js';
import { loadKeySecret } from '../../src/gateway/auth/key-secret.js';
import { startGateway } from '../../src/gateway/gateway.js';
import { MessageCodec } from '../../src/gateway/grpc/message-codec.js';
import { loadAdminProtos } from '../../src/gateway/grpc/protos.js';
import { search, send, urlOf } from '../control/http.js';
import { AUTHOR, makeYard, until } from '../control/yard.js';
import { silentLog } from '../fixtures/postgres.js';
import { runSwitchyard } from '../fixtures/product.js';
import { grpcRefused } from '../gateway/harness.js';
import { bearer } from './keys.js';

const { root } = loadAdminProtos();

t.test('keys are managed over the admin port by admins, and by nobody else', async (t) => {
  const yard = await makeYard(t);
  const plain = yard.config();
  const asking = (listener: Config['listen']['http']) => ({ ...listener, auth: 'keys' as const });
  const { http, adminHttp, adminGrpc } = plain.listen;
  const config: Config = {
    ...plain,
    listen: {
      ...plain.listen,
      http: asking(http),
      adminHttp: asking(adminHttp),
      adminGrpc: asking(adminGrpc),
    },
  };
  const own = new KeyOperations(
    () => yard.registry,
    () => loadKeySecret(config.auth),
  );
  const admin = await own.createKey({ name: 'first', role: 'admin', ...AUTHOR });
  const operator = await own.createKey({ name: 'ops', role: 'operator', ...AUTHOR });
  const gateway = await startGateway(config, silentLog);
  t.teardown(() => gateway.close());
  const adminUrl = urlOf(gateway.addresses.adminHttp);
  const keysUrl = `${adminUrl}/v1/keys`;
  const wanted = { name: 'shop', role: 'search', corpora: ['docs'], reason: 'the shop' };
  const callGrpc = (port: number, method: string, message: object, key: string | null) =>
    new Promise<unknown>((resolve) => {
      const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
      t.teardown(() => client.close());
      const metadata = new Metadata();
      if (key !== null) metadata.set('authorization', `Bearer ${key}`);
      const service = root.lookupService('switchyard.v1.KeyService').methods[method];
      const [request, response] = [service?.requestType, service?.responseType].map(
        (name) => new MessageCodec(root, `switchyard.v1.${name}`),
      );
      client.makeUnaryRequest(
        `/switchyard.v1.KeyService/${method}`,
        (given: object) => request?.encode(given) as Buffer,
        (bytes: Buffer) => response?.decode(bytes),
        message,
        metadata,
        { deadline: Date.now() + 60_000 },
        (error, answer) => resolve(error === null ? answer : grpcRefused(error as ServiceError).reason),
      );
    });

  await t.test('over HTTP', async (t) => {
    t.match(await send(keysUrl, 'POST', wanted, bearer(operator.key)), {
      status: 403,
      body: { reason: 'PERMISSION_DENIED', detail: /needs admin/ },
    });
    t.equal((await send(keysUrl, 'GET', undefined, bearer(operator.key))).status, 403);
    const response = await fetch(keysUrl, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...bearer(admin.key) },
      body: JSON.stringify(wanted),
    });
    t.equal(response.headers.get('cache-control'), 'no-store');
    const made = (await response.json()) as NewKeyView;
    t.match(made, { name: 'shop', role: 'search', corpora: ['docs'], state: 'valid', revoked_at: null });
    const ask = () => search(urlOf(gateway.addresses.http), {}, bearer(made.key));
    await until('the new key works', async () => (await ask()).status === 200);
    const { body } = await send(keysUrl, 'GET', undefined, bearer(admin.key));
    t.match(body.keys, [{ key_id: admin.key_id }, { key_id: operator.key_id }, { key_id: made.key_id }]);
    t.notMatch(JSON.stringify(body), made.key.slice(16), 'a list has no key');
    const revoke = `${keysUrl}/${made.key_id}:revoke`;
    t.match(await send(revoke, 'POST', { reason: 'leaked' }, bearer(admin.key)), {
      body: { state: 'revoked' },
    });
    await until('it ends', async () => (await ask()).status === 401);
    const { body: audit } = await send(`${adminUrl}/v1/changes`, 'GET', undefined, bearer(operator.key));
    t.match((audit.changes as object[])[0], {
      actor: `key ${admin.key_id}`,
      reason: 'leaked',
      subject: `api_key ${made.key_id}`,
    });
  });

  await t.test('over gRPC', async (t) => {
    const { port } = gateway.addresses.adminGrpc;
    t.equal(await callGrpc(port, 'CreateKey', wanted, operator.key), 'PERMISSION_DENIED');
    const made = (await callGrpc(
      port,
      'CreateKey',
      { ...wanted, requests_per_s: 5 },
      admin.key,
    )) as NewKeyView;
    t.match(made, { role: 'search', state: 'valid', requests_per_s: 5, key: /^sy_/ });
    const rotated = await callGrpc(
      port,
      'RotateKey',
      { key_id: made.key_id, overlap_s: 0, reason: 'yearly' },
      admin.key,
    );
    t.match(rotated, { name: 'shop', requests_per_s: 5, key: /^sy_/ });
    t.equal(
      await callGrpc(port, 'RevokeKey', { key_id: 'nothing', reason: 'none' }, admin.key),
      'UNKNOWN_KEY',
    );
  });

  await t.test('by the command line with an admin’s key, and on the machine itself with none', async (t) => {
    const port = String(gateway.addresses.adminHttp.port);
    const run = async (key: string | null, ...args: string[]) => {
      const file = path.join(yard.varDir, 'key');
      if (key !== null) await writeFile(file, key);
      const access = key === null ? [] : ['--key-file', file];
      const place = ['--admin-port', port, '--var-dir', yard.varDir, '--json'];
      return runSwitchyard(['key', ...args, ...place, ...access]);
    };
    const create = ['create', 'cli', '--role', 'monitor', '--reason', 'a test'];
    const refused = await run(operator.key, ...create);
    t.not(refused.code, 0);
    t.match(refused.stdout + refused.stderr, /has the role operator, this needs admin/);
    const made = await run(admin.key, ...create);
    t.equal(made.code, 0, made.stderr);
    t.match(JSON.parse(made.stdout), { name: 'cli', role: 'monitor', key: /^sy_/ });
    const local = await run(null, ...create);
    t.equal(local.code, 0, local.stderr);
    t.match(JSON.parse(local.stdout), { name: 'cli', key: /^sy_/ });
  });

  await t.test('where no key is asked for nobody may', async (t) => {
    const open = await startGateway(plain, silentLog);
    t.teardown(() => open.close());
    const url = `${urlOf(open.addresses.adminHttp)}/v1/keys`;
    for (const headers of [{}, bearer(admin.key)]) {
      t.match(await send(url, 'POST', wanted, headers), {
        status: 403,
        body: { reason: 'PERMISSION_DENIED' },
      });
      t.equal((await send(url, 'GET', undefined, headers)).status, 403);
    }
    t.equal(
      await callGrpc(open.addresses.adminGrpc.port, 'CreateKey', wanted, admin.key),
      'PERMISSION_DENIED',
    );
  });
});
