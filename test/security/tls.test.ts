import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import path from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import t from 'tap';
import { clientAccess } from '../../src/cli/client-access.js';
import { GatewayClient } from '../../src/cli/gateway-client.js';
import type { ListenerSettings } from '../../src/config/config.js';
import { packageRoot } from '../../src/package-root.js';
import { runCommand, switchyardWith } from '../control/processes.js';
import { until } from '../control/yard.js';
import { grpcRefused, LOCAL, startGateway } from '../gateway/harness.js';
import { bearer, makeKey, ringOf } from './keys.js';

const FOLDER = path.join(packageRoot(), 'test', 'fixtures', 'tls');
const file = (name: string): string => path.join(FOLDER, name);
const pem = (name: string): Buffer => readFileSync(file(name));
const key = makeKey({ role: 'operator' });
const SEARCH = { corpus: 'animals', text: 'a fish', top_k: 1 };

function install(folder: string, name: string): void {
  copyFileSync(file(`${name}.crt`), path.join(folder, 'tls.crt'));
  copyFileSync(file(`${name}.key`), path.join(folder, 'tls.key'));
}

function listenersOf(folder: string, clientCaFile: string | null = null) {
  const tls = { certFile: path.join(folder, 'tls.crt'), keyFile: path.join(folder, 'tls.key'), clientCaFile };
  const listener: ListenerSettings = { ...LOCAL, auth: 'keys', tls };
  return { grpc: listener, http: listener, adminHttp: listener, adminGrpc: listener };
}

/** Name on the certificate that a new connection is shown. */
const shownName = (port: number): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket: TLSSocket = connect(
      { port, host: '127.0.0.1', ca: pem('test-ca.crt'), ALPNProtocols: ['h2', 'http/1.1'] },
      () => {
        const { CN } = socket.getPeerCertificate().subject;
        socket.destroy();
        resolve(String(CN));
      },
    );
    socket.on('error', reject);
  });

const grpcReason = (client: Client): Promise<string> =>
  new Promise((resolve) => {
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${key.token}`);
    const identity = (bytes: Buffer): Buffer => bytes;
    const options = { deadline: Date.now() + 60_000 };
    client.makeUnaryRequest(
      '/grpc.health.v1.Health/Check',
      identity,
      identity,
      Buffer.alloc(0),
      metadata,
      options,
      (error) => {
        if (error === null) return resolve('OK');
        const { code } = error as ServiceError;
        return resolve(
          code === status.UNAVAILABLE ? 'UNAVAILABLE' : grpcRefused(error as ServiceError).reason,
        );
      },
    );
  });

/** Status of a request over HTTP with this client's certificate, on a connection of its own. */
const getAs = (port: number, who: string | null): Promise<string> =>
  new Promise((resolve) => {
    const request = httpsRequest(
      {
        port,
        host: '127.0.0.1',
        path: '/livez',
        agent: false,
        ca: pem('test-ca.crt'),
        headers: bearer(key.token),
        ...(who === null ? {} : { cert: pem(`${who}.crt`), key: pem(`${who}.key`) }),
      },
      (response) => {
        response.resume();
        resolve(String(response.statusCode));
      },
    );
    request.on('error', () => resolve('refused'));
    request.end();
  });

/** The same over gRPC. */
async function checkAs(port: number, who: string | null): Promise<string> {
  const client = new Client(
    `127.0.0.1:${port}`,
    who === null
      ? credentials.createSsl(pem('test-ca.crt'))
      : credentials.createSsl(pem('test-ca.crt'), pem(`${who}.key`), pem(`${who}.crt`)),
    { 'grpc.use_local_subchannel_pool': 1 },
  );
  const reason = await grpcReason(client);
  client.close();
  return reason;
}

t.test('every listener speaks TLS, and takes a new certificate without dropping a connection', async (t) => {
  const folder = t.testdir({});
  install(folder, 'server-one');
  const gateway = await startGateway({
    listen: listenersOf(folder),
    keys: ringOf([key]),
    tlsReloadIntervalMs: 50,
  });
  t.teardown(() => gateway.close());
  const { addresses } = gateway.faces;
  const ports = Object.values(addresses).map(({ port }) => port);
  for (const port of ports) t.equal(await shownName(port), 'server-one');

  const client = new Client(`127.0.0.1:${addresses.grpc.port}`, credentials.createSsl(pem('test-ca.crt')), {
    'grpc.use_local_subchannel_pool': 1,
  });
  t.teardown(() => client.close());
  t.equal(await grpcReason(client), 'OK');
  const held: TLSSocket = connect({ port: addresses.http.port, host: '127.0.0.1', ca: pem('test-ca.crt') });
  t.teardown(() => {
    held.destroy();
  });
  const ask = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const body = JSON.stringify(SEARCH);
      held.once('data', (chunk: Buffer) => resolve(chunk.toString('latin1').split('\r\n')[0] ?? ''));
      held.once('close', () => reject(new Error('the connection was dropped')));
      held.write(
        `POST /v1/search HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key.token}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      );
    });
  t.match(await ask(), / 200 /);

  writeFileSync(path.join(folder, 'tls.crt'), 'half a file');
  await until('it is said that the file is no certificate', async () =>
    gateway.logged.some((line) => line.includes('a certificate cannot be used')),
  );
  for (const port of ports) t.equal(await shownName(port), 'server-one', 'the last good one goes on');
  install(folder, 'server-two');
  for (const port of ports)
    await until('the new certificate', async () => (await shownName(port)) === 'server-two', 60_000);
  t.match(await ask(), / 200 /, 'the connection of before goes on');
  t.equal(await grpcReason(client), 'OK');

  const plain = await fetch(`http://127.0.0.1:${addresses.http.port}/livez`).then(
    () => 'answered',
    () => 'refused',
  );
  t.equal(plain, 'refused', 'nothing is answered in the clear');
});

t.test('with client_ca_file a client without its certificate gets no further, key or not', async (t) => {
  const folder = t.testdir({});
  install(folder, 'server-one');
  const gateway = await startGateway({
    listen: listenersOf(folder, file('test-ca.crt')),
    keys: ringOf([key]),
  });
  t.teardown(() => gateway.close());
  const { addresses } = gateway.faces;
  for (const { port } of [addresses.http, addresses.adminHttp]) {
    t.equal(await getAs(port, 'client'), '200');
    t.equal(await getAs(port, 'stranger'), 'refused');
    t.equal(await getAs(port, null), 'refused');
  }
  for (const { port } of [addresses.grpc, addresses.adminGrpc]) {
    for (const [who, wanted] of [
      ['client', 'OK'],
      ['stranger', 'UNAVAILABLE'],
      [null, 'UNAVAILABLE'],
    ] as const) {
      t.equal(await checkAs(port, who), wanted, `${who}`);
    }
  }
});

t.test(
  'client_ca_file is exchanged while it runs: the new authority is trusted, the old one no more',
  async (t) => {
    const folder = t.testdir({});
    install(folder, 'server-one');
    const ca = path.join(folder, 'clients.crt');
    copyFileSync(file('test-ca.crt'), ca);
    const gateway = await startGateway({
      listen: listenersOf(folder, ca),
      keys: ringOf([key]),
      tlsReloadIntervalMs: 50,
    });
    t.teardown(() => gateway.close());
    const { http, adminHttp, grpc, adminGrpc } = gateway.faces.addresses;
    /** What becomes of both clients on each listener. */
    const outcomes = async (): Promise<unknown> => {
      const asked: Record<string, string[]> = { client: [], stranger: [] };
      for (const [who, said] of Object.entries(asked)) {
        for (const { port } of [http, adminHttp]) said.push(await getAs(port, who));
        for (const { port } of [grpc, adminGrpc]) said.push(await checkAs(port, who));
      }
      return asked;
    };
    const letIn = ['200', '200', 'OK', 'OK'];
    const keptOut = ['refused', 'refused', 'UNAVAILABLE', 'UNAVAILABLE'];
    t.same(await outcomes(), { client: letIn, stranger: keptOut });

    writeFileSync(ca, 'half a file');
    await until('it is said that the file has no certificate', async () =>
      gateway.logged.some((line) => line.includes('a certificate cannot be used')),
    );
    t.same(await outcomes(), { client: letIn, stranger: keptOut }, 'the last good one goes on');

    copyFileSync(file('other-ca.crt'), ca);
    const becomes = (wanted: unknown, why: string) =>
      until(why, async () => JSON.stringify(await outcomes()) === JSON.stringify(wanted));
    await becomes({ client: keptOut, stranger: letIn }, 'the other authority is trusted alone');

    writeFileSync(ca, Buffer.concat([pem('test-ca.crt'), pem('other-ca.crt')]));
    await becomes({ client: letIn, stranger: letIn }, 'both, for as long as clients change over');
  },
);

t.test('the command line proves itself by key and certificate', async (t) => {
  const folder = t.testdir({ key: `${key.token}\n` });
  install(folder, 'server-one');
  const gateway = await startGateway({
    listen: listenersOf(folder, file('test-ca.crt')),
    keys: ringOf([key]),
  });
  t.teardown(() => gateway.close());
  const url = `https://127.0.0.1:${gateway.faces.addresses.adminHttp.port}`;
  const env = {
    SWITCHYARD_API_KEY_FILE: path.join(folder, 'key'),
    SWITCHYARD_CA_FILE: file('test-ca.crt'),
    SWITCHYARD_CLIENT_CERT_FILE: file('client.crt'),
    SWITCHYARD_CLIENT_KEY_FILE: file('client.key'),
  };
  t.match(await new GatewayClient(url, clientAccess({}, env)).get('/v1/status'), { state: 'ok' });
  const { SWITCHYARD_API_KEY_FILE: _none, ...keyless } = env;
  await t.rejects(new GatewayClient(url, clientAccess({}, keyless)).get('/v1/status'), {
    reason: 'UNAUTHENTICATED',
    message: /API key is needed/,
  });
  await t.rejects(new GatewayClient(url, clientAccess({}, {})).get('/v1/status'), {
    message: /no gateway answers/,
  });

  const settings = {
    SWITCHYARD_LISTEN__ADMIN_HTTP__TLS__CERT_FILE: path.join(folder, 'tls.crt'),
    SWITCHYARD_LISTEN__ADMIN_HTTP__TLS__KEY_FILE: path.join(folder, 'tls.key'),
    SWITCHYARD_CLIENT_CERT_FILE: file('client.crt'),
    SWITCHYARD_CLIENT_KEY_FILE: file('client.key'),
  };
  const port = new URL(url).port;
  const proof = ['--key-file', path.join(folder, 'key'), '--ca-file', file('test-ca.crt')];
  for (const [words, answer] of [
    [['gateway', 'status'], /"state": "ok"/],
    [['gateway', 'metrics'], /^switchyard_up 1$/m],
  ] as const) {
    const command = [...words, '--admin-port', port];
    const run = await switchyardWith(settings, folder, ...command, ...proof);
    t.match(run, { code: 0, stdout: answer }, `${words.join(' ')}: ${run.stderr}`);
    t.not((await switchyardWith(settings, folder, ...command)).code, 0);
    const ofStdin = ['--key-file', '-', '--ca-file', file('test-ca.crt')];
    const piped = await runCommand(settings, folder, [...command, ...ofStdin], `${key.token}\n`);
    t.match(piped, { code: 0, stdout: answer }, piped.stderr);
  }
});

t.test('beyond loopback neither a listener without keys nor one without TLS boots', async (t) => {
  const beyond = { ...LOCAL, host: '0.0.0.0' };
  const start = (listener: ListenerSettings) =>
    startGateway({
      listen: { grpc: LOCAL, http: listener, adminHttp: LOCAL, adminGrpc: LOCAL },
      keys: ringOf([key]),
    });
  await t.rejects(start(beyond), { reason: 'INVALID_CONFIG', message: /listen\.http\.auth to keys/ });
  await t.rejects(start({ ...beyond, auth: 'keys' }), {
    reason: 'INVALID_CONFIG',
    message: /travel unencrypted/,
  });
  const folder = t.testdir({});
  install(folder, 'server-one');
  const { http } = listenersOf(folder);
  for (const listener of [
    { ...beyond, auth: 'keys', allowPlaintext: true } as const,
    { ...http, host: '0.0.0.0' },
  ]) {
    const gateway = await start(listener);
    await gateway.close();
  }
  const missing = {
    certFile: path.join(folder, 'none.crt'),
    keyFile: path.join(folder, 'tls.key'),
    clientCaFile: null,
  };
  await t.rejects(start({ ...http, tls: missing }), {
    reason: 'INVALID_CONFIG',
    message: /none\.crt cannot be read/,
  });
});
