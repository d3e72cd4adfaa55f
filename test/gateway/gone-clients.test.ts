import { once } from 'node:events';
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { connect, type Socket } from 'node:net';
import t from 'tap';
import { Overload } from '../../src/gateway/overload/overload.js';
import { systemTimers } from '../../src/process/timers.js';
import type { RequestSpan } from '../../src/telemetry/trace.js';
import { Tracer } from '../../src/telemetry/tracer.js';
import type { Teardown } from '../fixtures/folders.js';
import { framed, openCall } from '../fixtures/grpc-stream.js';
import { until } from '../process/wait.js';
import { bearer, KEYED_LISTENERS, makeKey, ringOf } from '../security/keys.js';
import { contract, type Gateway, OVERLOAD, startGateway } from './harness.js';

const corpus = 'animals';

interface Rig {
  readonly gateway: Gateway;
  readonly overload: Overload;
  /** How the span of each request ended. */
  readonly ended: (string | undefined)[];
  readonly begun: () => number;
  readonly free: () => void;
}

/** A gateway whose searches end when the test says so, with every request traced. */
async function rig(t: Teardown, options: Parameters<typeof startGateway>[0] = {}): Promise<Rig> {
  const overload = new Overload(OVERLOAD, systemTimers);
  const ended: (string | undefined)[] = [];
  let begun = 0;
  const tracer = new Tracer({
    sampleBps: 10_000,
    tracesPerSMax: 1_000,
    nowMs: () => performance.now(),
    random: () => 0,
    sink: {
      request: () => {
        begun++;
        const span: RequestSpan = {
          traceId: '0',
          traceResponse: '00',
          record: () => undefined,
          open: () => span,
          shared: () => ({ traceId: '0', spanId: '0' }),
          end: (_atMs, _attributes, failed) => void ended.push(failed),
        };
        return span;
      },
      close: async () => undefined,
    },
  });
  const gateway = await startGateway({ overload, tracer, ...options });
  t.teardown(() => gateway.close());
  let free = (): void => undefined;
  gateway.service.hold = new Promise((resolve) => {
    free = resolve;
  });
  return { gateway, overload, ended, begun: () => begun, free: () => free() };
}

const nothingLeft = ({ gateway, overload }: Rig): boolean =>
  gateway.faces.inFlightCount === 0 &&
  overload.states().every(({ inFlight }) => Object.values(inFlight).every((count) => count === 0));

async function socketTo(t: Teardown, { gateway }: Rig): Promise<Socket> {
  const { hostname, port } = new URL(gateway.url);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => undefined);
  t.teardown(() => void socket.destroy());
  await once(socket, 'connect');
  return socket;
}

function httpRequest(
  body: object,
  more: Readonly<Record<string, string>> = {},
): { head: string; body: string } {
  const text = JSON.stringify(body);
  const headers = {
    host: 'x',
    'content-type': 'application/json',
    'content-length': String(text.length),
    ...more,
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return { head: `POST /v1/search HTTP/1.1\r\n${lines.join('')}\r\n`, body: text };
}

t.test('an HTTP client that goes away while its answer is made is counted as cancelled', async (t) => {
  const made = await rig(t);
  const { gateway, ended, free } = made;
  const socket = await socketTo(t, made);
  const { head, body } = httpRequest({ corpus, text: 'fish' });
  socket.write(head + body);
  await until('it is being answered', () => gateway.service.callCount === 1);
  t.equal(gateway.faces.inFlightCount, 1);
  socket.resetAndDestroy();
  await until('it is counted', () => gateway.counted.length > 0);
  t.notOk(nothingLeft(made), 'its work goes on and keeps its place until it ends');
  free();
  await until('nothing is left of it', () => nothingLeft(made));
  t.same(gateway.counted, [{ protocol: 'http', operation: 'search', outcome: 'CANCELLED' }]);
  t.same(ended, ['CANCELLED'], 'its span ended, once');
  t.equal((await gateway.post('/v1/search', { corpus, text: 'fish' })).reason, 'OK');
  t.equal(gateway.counted.length, 2);
});

t.test('an HTTP client that goes away with requests in a row leaves no place taken', async (t) => {
  const key = makeKey({ concurrencyMax: 20 });
  const made = await rig(t, { listen: KEYED_LISTENERS, keys: ringOf([key]) });
  const { gateway, free } = made;
  const authorization = bearer(key.token);
  const socket = await socketTo(t, made);
  const { head, body } = httpRequest({ corpus, text: 'fish' }, authorization);
  socket.write((head + body).repeat(20));
  await until('they are being answered', () => gateway.service.callCount === 20);
  t.equal(
    (await gateway.post('/v1/search', { corpus, text: 'fish' }, authorization)).reason,
    'QUOTA_EXCEEDED',
  );
  socket.resetAndDestroy();
  await until('all are counted', () => gateway.counted.length === 21);
  free();
  await until('nothing is left of them', () => nothingLeft(made));
  t.equal(gateway.counted.filter(({ outcome }) => outcome === 'CANCELLED').length, 20);
  const again = await Promise.all(
    Array.from({ length: 20 }, () => gateway.post('/v1/search', { corpus, text: 'fish' }, authorization)),
  );
  t.ok(
    again.every(({ reason }) => reason === 'OK'),
    'the key may open as many as before',
  );
});

t.test('an HTTP client that goes away in the middle of its body is counted as cancelled', async (t) => {
  const made = await rig(t);
  const { gateway, ended, begun } = made;
  const socket = await socketTo(t, made);
  const { head, body } = httpRequest({ corpus, text: 'fish' });
  socket.write(head + body.slice(0, 10));
  await until('it began', () => begun() === 1);
  socket.resetAndDestroy();
  await until('it is counted', () => gateway.counted.length > 0);
  t.same(gateway.counted, [{ protocol: 'http', operation: 'search', outcome: 'CANCELLED' }]);
  t.same(ended, ['CANCELLED']);
  t.ok(nothingLeft(made));
  t.equal(gateway.service.callCount, 0);
});

t.test('a gRPC client that cancels, or whose connection breaks, is counted as cancelled', async (t) => {
  const made = await rig(t);
  const { gateway, ended, free } = made;
  const bytes = Buffer.from(
    contract.lookupType('switchyard.v1.SearchRequest').encode({ corpus, text: 'fish' }).finish(),
  );
  const identity = (message: Buffer): Buffer => message;
  const path = '/switchyard.v1.SearchService/Search';
  const call = gateway.client.makeUnaryRequest(path, identity, identity, bytes, () => undefined);
  const session = connectHttp2(`http://${gateway.grpcAddress}`);
  session.on('error', () => undefined);
  t.teardown(() => session.destroy());
  const patient = connectHttp2(`http://${gateway.grpcAddress}`);
  t.teardown(() => patient.destroy());
  const ask = (over: ClientHttp2Session, headers: Readonly<Record<string, string>> = {}): void => {
    openCall(over, path, headers).stream.end(framed(bytes));
  };
  ask(session);
  // Its client never says that it gave up, so that the server's clock alone decides.
  ask(patient, { 'grpc-timeout': '50m' });
  await until('three are being answered', () => gateway.service.callCount === 3);
  const givenUpAtMs = performance.now() + 200;
  call.cancel();
  session.destroy();
  // A method that is not there is answered at once, after what was sent before it was heard.
  for (let times = 0; times < 3; times++)
    await new Promise<void>((resolve) => {
      gateway.client.makeUnaryRequest('/switchyard.v1.SearchService/None', identity, identity, bytes, () =>
        resolve(),
      );
    });
  await until('the deadline has passed', () => performance.now() > givenUpAtMs);
  free();
  await until('all are counted', () => gateway.counted.length === 3);
  await until('nothing is left of them', () => nothingLeft(made));
  patient.destroy();
  t.same(
    gateway.counted.map(({ outcome }) => outcome).sort(),
    ['CANCELLED', 'CANCELLED', 'DEADLINE_EXCEEDED'],
    'and a deadline that passed is no change of mind',
  );
  t.same([...ended].sort(), ['CANCELLED', 'CANCELLED', 'DEADLINE_EXCEEDED']);
});

t.test('half a gRPC message and then nothing leaves nothing behind', async (t) => {
  const made = await rig(t);
  const { gateway } = made;
  const session = connectHttp2(`http://${gateway.grpcAddress}`);
  session.on('error', () => undefined);
  t.teardown(() => session.destroy());
  const { stream } = openCall(session, '/switchyard.v1.SearchService/Search');
  await new Promise((resolve) => stream.write(Buffer.from([0, 0, 0, 0, 40, 10]), resolve));
  session.destroy();
  made.free();
  t.equal((await gateway.call('Search', { corpus, text: 'fish' })).reason, 'OK');
  t.ok(nothingLeft(made));
  t.equal(gateway.service.callCount, 1);
});

t.test("a client that went away gives its key's place back when its work ends, and not before", async (t) => {
  const key = makeKey({ concurrencyMax: 1 });
  const made = await rig(t, { keys: ringOf([key]), listen: KEYED_LISTENERS });
  const { gateway, free } = made;
  const headers = bearer(key.token);
  const socket = await socketTo(t, made);
  const { head, body } = httpRequest({ corpus, text: 'fish' }, headers);
  socket.write(head + body);
  await until('it is being answered', () => gateway.service.callCount === 1);
  const second = await gateway.post('/v1/search', { corpus, text: 'cat' }, headers);
  t.equal(second.reason, 'QUOTA_EXCEEDED');
  socket.resetAndDestroy();
  await until('it is counted', () => gateway.counted.some(({ outcome }) => outcome === 'CANCELLED'));
  t.equal(
    (await gateway.post('/v1/search', { corpus, text: 'cat' }, headers)).reason,
    'QUOTA_EXCEEDED',
    'whoever comes and goes has no more at once than whoever waits',
  );
  free();
  await until('nothing is left of it', () => nothingLeft(made));
  t.equal((await gateway.post('/v1/search', { corpus, text: 'cat' }, headers)).reason, 'OK');
});
