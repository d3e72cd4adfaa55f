import { execFile } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import t, { type Test } from 'tap';
import { freePort } from '../../bench/rig/redis.js';
import type { ListenerSettings } from '../../src/config/config.js';
import { packageRoot } from '../../src/package-root.js';
import { LOCAL, startGateway } from '../gateway/harness.js';
import { makeKey, ringOf } from '../security/keys.js';

const TLS = path.join(packageRoot(), 'test', 'fixtures', 'tls');

/** What the image's health check says of a gateway at this port. */
const check = (port: number): Promise<{ readonly code: number; readonly said: string }> =>
  new Promise((resolve) => {
    const { NODE_OPTIONS: _hooks, ...env } = process.env;
    const child = execFile(
      process.execPath,
      [path.join(packageRoot(), 'bin', 'healthcheck.mjs')],
      { env: { ...env, SWITCHYARD_LISTEN__HTTP__PORT: String(port) } },
      (_error, stdout) => resolve({ code: child.exitCode ?? -1, said: stdout.trim() }),
    );
  });

async function gatewayOf(t: Test, http: ListenerSettings) {
  const keys = http.auth === 'keys' ? ringOf([makeKey({ role: 'operator' })]) : null;
  const gateway = await startGateway({
    listen: { grpc: LOCAL, http, adminHttp: LOCAL, adminGrpc: LOCAL },
    ...(keys === null ? {} : { keys }),
  });
  t.teardown(() => gateway.close());
  return gateway;
}

function tlsOf(t: Test, clientCaFile: string | null): ListenerSettings {
  const folder = t.testdir({});
  for (const end of ['crt', 'key'])
    copyFileSync(path.join(TLS, `server-one.${end}`), path.join(folder, `tls.${end}`));
  const [certFile, keyFile] = [path.join(folder, 'tls.crt'), path.join(folder, 'tls.key')];
  return { ...LOCAL, auth: 'keys', tls: { certFile, keyFile, clientCaFile } };
}

t.test('the health check of the image: a gateway is healthy with and without TLS', async (t) => {
  for (const listener of [LOCAL, tlsOf(t, null), tlsOf(t, path.join(TLS, 'test-ca.crt'))]) {
    const gateway = await gatewayOf(t, listener);
    t.same(await check(gateway.faces.addresses.http.port), { code: 0, said: '' });
  }
});

t.test('and is not where nothing listens, or something else does', async (t) => {
  t.same(await check(await freePort()), { code: 1, said: 'ECONNREFUSED' });
  const other = createServer((socket) => socket.end('HTTP/1.1 503 Not Ready\r\ncontent-length: 0\r\n\r\n'));
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  t.teardown(() => other.close());
  t.same(await check((other.address() as { port: number }).port), { code: 1, said: 'status 503' });
});
