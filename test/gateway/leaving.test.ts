import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import type { Readable } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import t from 'tap';
import { SERVER_TLS } from '../fixtures/server-tls.js';
import { until } from '../process/wait.js';
import { FRAME, opened, RawHttp2 } from '../security/raw-http2.js';
import { slowLink } from '../security/slow-link.js';
import { framed, Http2Client, MB, openHttp, requestOf, search } from '../security/unread-clients.js';
import { LIMITS, LOCAL, startGateway } from './harness.js';
import { LargeService } from './large-service.js';

const SEARCH = { corpus: 'animals', text: 'fish' };
const KEEPALIVE_MS = 150;
/** Several times from ping to ping. */
const WORK_MS = 1_000;
/** Of a megabyte each: twice what the kernel takes for a client that does not read. */
const DOCUMENTS = 24;
/** What the kernel did not take is then on its way for longer than clients have to hang up. */
const LINK_BYTES_PER_S = 8 * MB;

/** How many bytes came until there are no more. */
async function bytesOf(stream: Readable): Promise<number> {
  let bytes = 0;
  stream.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
  });
  await once(stream, 'close');
  return bytes;
}

t.test('a call that is longer than keepalive asks survives the drain', async (t) => {
  const gateway = await startGateway({ keepaliveMs: KEEPALIVE_MS });
  t.teardown(() => gateway.close());
  gateway.service.delayMs = WORK_MS;
  const answer = gateway.call('Search', SEARCH);
  await until('it is worked on', () => gateway.faces.inFlightCount === 1);
  await gateway.faces.drain({ lameDuckMs: 0, drainMs: 20_000 });
  t.match(await answer, { reason: 'OK' });
});

t.test('so does one on a connection that is too old', async (t) => {
  const gateway = await startGateway({ keepaliveMs: KEEPALIVE_MS, connectionAgeMsMax: 100 });
  t.teardown(() => gateway.close());
  gateway.service.delayMs = WORK_MS;
  t.match(await gateway.call('Search', SEARCH), { reason: 'OK' });
});

t.test('a connection that is leaving, whose client answers no ping, is hung up on', async (t) => {
  const limits = { ...LIMITS, deadlineMsMax: 600_000 };
  const gateway = await startGateway({ keepaliveMs: KEEPALIVE_MS, connectionAgeMsMax: 100, limits });
  t.teardown(() => gateway.close());
  const client = await RawHttp2.open(gateway.faces.addresses.grpc.port);
  t.teardown(() => void client.socket.destroy());
  client.socket.write(opened(0));
  await until('it is told to go', () => client.heard.has(FRAME.goAway));
  await until('it is asked nevertheless', () => client.heard.has(FRAME.ping));
  await until('it is hung up on', () => client.socket.readableEnded || client.socket.destroyed);
});

for (const scheme of ['http', 'https'])
  t.test(
    `answers that are on their way when a drain begins are sent to their end, over ${scheme}`,
    async (t) => {
      let unread = (): number => 0;
      const listener = scheme === 'https' ? { ...LOCAL, tls: SERVER_TLS } : LOCAL;
      const gateway = await startGateway({
        service: new LargeService('x'.repeat(MB)),
        listen: { grpc: listener, http: listener, adminHttp: LOCAL, adminGrpc: LOCAL },
        onUnread: (bytes) => {
          unread = bytes;
        },
      });
      t.teardown(() => gateway.close());
      const { grpc, http } = gateway.faces.addresses;
      const [grpcPort, httpPort] = [
        await slowLink(t, grpc.port, LINK_BYTES_PER_S),
        await slowLink(t, http.port, LINK_BYTES_PER_S),
      ];
      const clientOf = async (windowBytes: number): Promise<Http2Client> => {
        const client = new Http2Client(`${scheme}://127.0.0.1:${grpcPort}`, windowBytes);
        t.teardown(() => client.session.destroy());
        await once(client.session, 'connect');
        return client;
      };
      // Of a wide window everything is in the hands of the connection at once, of a narrow one in those of the stream.
      const [narrow, wide] = [await clientOf(65_536), await clientOf(64 * MB)];
      wide.session.setLocalWindowSize(64 * MB);
      const calls = [narrow, wide].map((client) => {
        const { stream, headers } = client.call(framed('switchyard.v1.SearchRequest', search(DOCUMENTS)));
        return { headers, bytes: bytesOf(stream) };
      });
      const socket = await openHttp(httpPort, scheme === 'https');
      socket.write(requestOf(DOCUMENTS).replace('host: x', 'host: x\r\nconnection: close'));
      const overHttp = bytesOf(socket);
      await until('all are on their way', () => unread() > 2.5 * DOCUMENTS * MB);
      await gateway.faces.drain({ lameDuckMs: 0, drainMs: 60_000 });
      for (const { headers, bytes } of calls) {
        t.ok((await bytes) > DOCUMENTS * MB, `${await bytes} bytes over gRPC`);
        t.equal(headers['grpc-status'], '0');
      }
      t.ok((await overHttp) > DOCUMENTS * MB, `${await overHttp} bytes over HTTP`);
    },
  );

/** A call of which half is there, and what finishes it. */
const halfOf = async (client: Http2Client) => {
  const message = framed('switchyard.v1.SearchRequest', { corpus: 'animals', text: 'fish' });
  await once(client.session, 'connect');
  const { stream, headers } = client.call(message.subarray(0, 10), undefined, false);
  stream.resume();
  // Answered in the order of what was sent.
  await new Promise((resolve) => client.session.ping(resolve));
  return { headers, finish: () => stream.end(message.subarray(10)) };
};

t.test('requests that are still arriving when a drain begins are answered', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  const client = new Http2Client(`http://${gateway.grpcAddress}`, 65_536);
  t.teardown(() => client.session.destroy());
  const half = await halfOf(client);
  const socket = await openHttp(gateway.faces.addresses.http.port, false);
  t.teardown(() => void socket.destroy());
  let overHttp = '';
  socket.on('data', (chunk: Buffer) => {
    overHttp += chunk.toString('latin1');
  });
  const request = requestOf(1).replace('host: x', 'host: x\r\nexpect: 100-continue');
  const headEnd = request.indexOf('\r\n\r\n') + 4;
  socket.write(request.slice(0, headEnd + 5));
  await until('the head is there', () => overHttp.includes('100 Continue'));
  const begunAtMs = performance.now();
  const drained = gateway.faces.drain({ lameDuckMs: 0, drainMs: 20_000 });
  await until('hanging up was due', () => performance.now() - begunAtMs > 3_000);
  socket.write(request.slice(headEnd + 5));
  half.finish();
  await until('they are answered', () => half.headers['grpc-status'] === '0' && overHttp.includes(' 200 OK'));
  await drained;
  t.notOk(gateway.logged.some((line) => line.includes('the drain period is over')));
});

t.test('a connection whose handshake ends after the listener was closed is told to go', async (t) => {
  const listener = { ...LOCAL, tls: SERVER_TLS };
  const gateway = await startGateway({
    listen: { grpc: listener, http: LOCAL, adminHttp: LOCAL, adminGrpc: LOCAL },
  });
  t.teardown(() => gateway.close());
  gateway.service.delayMs = WORK_MS;
  const { port } = gateway.faces.addresses.grpc;
  // Holds the drain meanwhile.
  const early = new Http2Client(`https://127.0.0.1:${port}`, 65_536);
  t.teardown(() => early.session.destroy());
  const message = framed('switchyard.v1.SearchRequest', { corpus: 'animals', text: 'fish' });
  const held = early.call(message);
  held.stream.resume();
  await until('it is worked on', () => gateway.faces.inFlightCount === 1);
  const socket = connect(port, '127.0.0.1');
  t.teardown(() => void socket.destroy());
  await once(socket, 'connect');
  const drained = gateway.faces.drain({ lameDuckMs: 0, drainMs: 60_000 });
  const session = connectHttp2(`https://127.0.0.1:${port}`, {
    createConnection: () => connectTls({ socket, rejectUnauthorized: false, ALPNProtocols: ['h2'] }),
  });
  session.on('error', () => undefined);
  let isTold = false;
  session.on('goaway', () => {
    isTold = true;
  });
  await until('it is told', () => isTold);
  await drained;
  t.equal(held.headers['grpc-status'], '0');
});

t.test('half a request that stays one holds a drain no longer than its period', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  const client = new Http2Client(`http://${gateway.grpcAddress}`, 65_536);
  t.teardown(() => client.session.destroy());
  const half = await halfOf(client);
  await gateway.faces.drain({ lameDuckMs: 0, drainMs: 200 });
  await until('it is hung up on', () => client.session.destroyed);
  t.not(half.headers['grpc-status'], '0');
  t.ok(gateway.logged.some((line) => line.includes('the drain period is over')));
});

t.test('who reads nothing holds a drain no longer than its period', async (t) => {
  const gateway = await startGateway({ service: new LargeService('x'.repeat(MB)) });
  t.teardown(() => gateway.close());
  const deaf = new Http2Client(`http://${gateway.grpcAddress}`, 0);
  t.teardown(() => deaf.session.destroy());
  const call = deaf.call(framed('switchyard.v1.SearchRequest', search(1)));
  await until('it is answered', () => call.headers[':status'] === '200');
  await gateway.faces.drain({ lameDuckMs: 0, drainMs: 200 });
  await until('it is hung up on', () => deaf.session.destroyed);
  t.not(call.headers['grpc-status'], '0');
  t.ok(gateway.logged.some((line) => line.includes('the drain period is over')));
});
