import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { connect as connectTcp } from 'node:net';
import t, { type Test } from 'tap';
import { loadAdminProtos } from '../../src/gateway/grpc/protos.js';
import { contract, startGateway } from '../gateway/harness.js';
import { bearer, KEYED_LISTENERS, type MadeKey, makeKey, ringOf } from './keys.js';

/** A request of which the gateway has the headers and half of the body. Its status, once the rest was sent. */
type Begun = () => Promise<string>;

async function overGrpc(t: Test, port: number, path: string, body: Uint8Array, key: MadeKey): Promise<Begun> {
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  t.teardown(() => session.destroy());
  const stream = session.request({
    ':method': 'POST',
    ':path': path,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...bearer(key.token),
  });
  stream.on('error', () => undefined);
  const status = new Promise<string>((resolve) => {
    const hear = (headers: Readonly<Record<string, unknown>>): void => {
      if (headers['grpc-status'] !== undefined) resolve(String(headers['grpc-status']));
    };
    stream.on('response', hear);
    stream.on('trailers', hear);
  });
  stream.resume();
  const head = Buffer.alloc(5);
  head.writeUInt32BE(body.length, 1);
  stream.write(Buffer.concat([head, body.subarray(0, 1)]));
  if (session.connecting) await once(session, 'connect');
  // Answered in the order of what was sent.
  await new Promise<void>((resolve, reject) =>
    session.ping((error) => (error === null ? resolve() : reject(error))),
  );
  return () => {
    stream.end(body.subarray(1));
    return status;
  };
}

async function overHttp(t: Test, port: number, address: string, body: object, key: MadeKey): Promise<Begun> {
  const text = JSON.stringify(body);
  const socket = connectTcp(port, '127.0.0.1');
  t.teardown(() => socket.destroy());
  const head = [
    `${address} HTTP/1.1`,
    'host: x',
    `authorization: Bearer ${key.token}`,
    'content-type: application/json',
    `content-length: ${text.length}`,
    'expect: 100-continue',
  ];
  socket.write(`${head.join('\r\n')}\r\n\r\n`);
  const [said] = (await once(socket, 'data')) as [Buffer];
  t.match(said.toString('latin1'), /^HTTP\/1\.1 100 /, 'the headers are there');
  socket.write(text.slice(0, 1));
  return async () => {
    socket.write(text.slice(1));
    const [answer] = (await once(socket, 'data')) as [Buffer];
    return answer.toString('latin1').slice(9, 12);
  };
}

t.test('a request whose key is revoked while its body is on its way is not served', async (t) => {
  const keys = [makeKey(), makeKey(), makeKey({ role: 'operator' }), makeKey({ role: 'operator' })] as const;
  const [leaked, other, leakedOperator, operator] = keys;
  const ring = ringOf(keys);
  const gateway = await startGateway({ keys: ring, listen: KEYED_LISTENERS });
  t.teardown(() => gateway.close());
  const { grpc, http, adminGrpc, adminHttp } = gateway.faces.addresses;
  const search = { corpus: 'animals', text: 'a fish' };
  const searchBytes = contract.lookupType('switchyard.v1.SearchRequest').encode(search).finish();
  const getRoute = loadAdminProtos().root.lookupType('switchyard.v1.GetRouteRequest');
  const getRouteBytes = getRoute.encode({ corpus: 'animals' }).finish();
  const change = { targets: [], expected_revision: 1, actor: 'a', reason: 'a' };
  const SEARCH = '/switchyard.v1.SearchService/Search';
  const GET_ROUTE = '/switchyard.v1.RouterService/GetRoute';
  const begin = async (searcher: MadeKey, operating: MadeKey): Promise<readonly Begun[]> => [
    await overGrpc(t, grpc.port, SEARCH, searchBytes, searcher),
    await overHttp(t, http.port, 'POST /v1/search', search, searcher),
    await overGrpc(t, adminGrpc.port, GET_ROUTE, getRouteBytes, operating),
    await overHttp(t, adminHttp.port, 'PUT /v1/routes/animals', change, operating),
  ];
  const [ofLeaked, ofOthers] = [await begin(leaked, leakedOperator), await begin(other, operator)];
  const now = new Date();
  ring.replace(
    keys.map((key) =>
      key === leaked || key === leakedOperator ? { ...key.stored, revokedAt: now } : key.stored,
    ),
  );
  t.same(await Promise.all(ofLeaked.map((finish) => finish())), ['16', '401', '16', '401']);
  t.equal(gateway.service.callCount, 0);
  const [overGrpcStatus, overHttpStatus, ...operations] = await Promise.all(
    ofOthers.map((finish) => finish()),
  );
  t.same([overGrpcStatus, overHttpStatus], ['0', '200'], 'others are served');
  for (const status of operations)
    t.notOk(['16', '401'].includes(String(status)), `as far as the operation: ${status}`);
});
