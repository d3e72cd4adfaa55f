import {
  type ClientHttp2Session,
  connect,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import { gzipSync } from 'node:zlib';
import type { Server } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { limitHeads } from '../../src/gateway/grpc/heads.js';
import { Requests } from '../../src/gateway/requests.js';
import { framed, openCall } from '../fixtures/grpc-stream.js';
import { silentLog } from '../fixtures/postgres.js';
import { contract, LOCAL, startGateway } from './harness.js';

const SEARCH = '/switchyard.v1.SearchService/Search';
const REFLECTION = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo';
const METHODS = [SEARCH, '/grpc.health.v1.Health/Check', '/grpc.health.v1.Health/Watch', REFLECTION];
const [OK, RESOURCE_EXHAUSTED, UNIMPLEMENTED] = ['0', '8', '12'];

const searchBytes = contract
  .lookupType('switchyard.v1.SearchRequest')
  .encode({ corpus: 'animals', text: 'a fish' })
  .finish();

function sessionAt(t: Test, address: string): ClientHttp2Session {
  const session = connect(`http://${address}`);
  session.on('error', () => undefined);
  t.teardown(() => session.destroy());
  return session;
}

/** All headers and trailers of the answer. */
const call = (
  session: ClientHttp2Session,
  path: string,
  headers: Readonly<Record<string, string>>,
  body: Buffer,
): Promise<Readonly<Record<string, string>>> =>
  new Promise((resolve) => {
    const { stream, said } = openCall(session, path, headers);
    stream.on('close', () => resolve(said));
    stream.resume();
    stream.end(body);
  });

t.test('a compressed message is refused before it is inflated, by every service', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  const { grpc, adminGrpc } = gateway.faces.addresses;
  for (const encoding of ['gzip', 'deflate', 'snappy', 'gzip, identity'])
    for (const [port, paths] of [
      [grpc.port, METHODS],
      [adminGrpc.port, [...METHODS.slice(1), '/switchyard.v1.RouterService/GetRoute']],
    ] as const) {
      const session = sessionAt(t, `${LOCAL.host}:${port}`);
      for (const path of paths) {
        const answer = await call(
          session,
          path,
          { 'grpc-encoding': encoding },
          framed(gzipSync(searchBytes), true),
        );
        t.equal(answer['grpc-status'], UNIMPLEMENTED, `${encoding}: ${path}`);
        t.equal(answer['grpc-accept-encoding'], 'identity', 'and the client is told what would do');
        t.match(answer['grpc-message'], /must not be compressed/);
        t.ok(answer['grpc-status-details-bin'], 'with its reason');
      }
    }
  t.same(
    new Set(gateway.counted.map(({ outcome }) => outcome)),
    new Set(['UNSUPPORTED_ENCODING']),
    'searches are counted',
  );
});

t.test('whoever says that a message is as it is gets an answer, and hears what is taken', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  const session = sessionAt(t, gateway.grpcAddress);
  for (const [name, headers] of [
    ['without an encoding', {}],
    ['identity', { 'grpc-encoding': 'identity' }],
    ['binary metadata', { 'x-mine-bin': 'AAAA,AAAA' }],
  ] as const) {
    const answer = await call(session, SEARCH, headers, framed(searchBytes));
    t.equal(answer['grpc-status'], OK, name);
    t.equal(answer['grpc-accept-encoding'], 'identity');
  }
});

t.test('metadata beyond 16 kB is refused', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  const session = sessionAt(t, gateway.grpcAddress);
  const large = await call(session, SEARCH, { 'x-large': 'a'.repeat(16_400) }, framed(searchBytes));
  t.equal(large['grpc-status'], RESOURCE_EXHAUSTED);
  t.match(large['grpc-message'], /headers must be <= 16384 bytes/);
  const many = Object.fromEntries(Array.from({ length: 40 }, (_, at) => [`x-${at}`, 'a'.repeat(450)]));
  t.equal(
    (await call(session, SEARCH, many, framed(searchBytes)))['grpc-status'],
    RESOURCE_EXHAUSTED,
    'however many there are of it',
  );
  const within = await call(session, SEARCH, { 'x-large': 'a'.repeat(15_000) }, framed(searchBytes));
  t.equal(within['grpc-status'], OK);
});

t.test('binary metadata never reaches grpc-js, which makes an object of every comma in it', (t) => {
  const passed: IncomingHttpHeaders[] = [];
  const server = {
    _streamHandler: (_interceptors: unknown, _stream: unknown, headers: IncomingHttpHeaders) => {
      passed.push(headers);
    },
  };
  const metrics = { requestFinished: () => undefined, batchItems: () => undefined };
  const requests = new Requests({ log: silentLog, metrics, tracer: null, slowRequestMs: 0 });
  t.ok(limitHeads(server as unknown as Server, { requests, headersOf: () => ({}) }));
  const handle = server._streamHandler as unknown as (...given: readonly unknown[]) => void;
  const headers = (): IncomingHttpHeaders => ({
    ':path': SEARCH,
    'x-a-bin': ','.repeat(10_000),
    'grpc-trace-bin': 'AAAA',
    'x-bin-not': 'a',
  });
  handle([], {} as ServerHttp2Stream, headers(), 0, Object.entries(headers()).flat());
  handle([], {} as ServerHttp2Stream, headers(), 0);
  for (const got of passed) t.same(Object.keys(got), [':path', 'x-bin-not']);
  t.equal(passed.length, 2, 'whether Node gives them as they came or not');
  t.end();
});

t.test('metadata that cannot be read is written nowhere: it may be a key', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  const session = sessionAt(t, gateway.grpcAddress);
  const written: string[] = [];
  const { error } = console;
  console.error = (...what: readonly unknown[]) => written.push(String(what));
  t.teardown(() => {
    console.error = error;
  });
  const headers = { authorization: 'Bearer sy_secret\u00e9' };
  const answer = await call(session, SEARCH, headers, framed(searchBytes));
  t.equal(answer['grpc-status'], OK, 'this listener asks for no key');
  t.same(written, []);
  t.notMatch(gateway.logged.join(), /sy_secret/);
});
