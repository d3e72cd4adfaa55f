import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { Metadata } from '@grpc/grpc-js';
import { pino } from 'pino';
import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import { FailedItems } from '../../src/gateway/batch-items.js';
import { Overload } from '../../src/gateway/overload/overload.js';
import type { FaceMetrics } from '../../src/gateway/requests.js';
import { systemTimers } from '../../src/process/timers.js';
import type { SearchCall, SearchOutcome } from '../../src/router/query.js';
import { sleep } from '../control/yard.js';
import type { Teardown } from '../fixtures/folders.js';
import { until } from '../process/wait.js';
import { bearer, KEYED_LISTENERS, makeKey, ringOf } from '../security/keys.js';
import { slowCallsOn } from '../security/slow-clients.js';
import { framed, Http2Client, MB } from '../security/unread-clients.js';
import { BruteForceService } from './brute-force-service.js';
import { LIMITS, OVERLOAD, startGateway } from './harness.js';

const CORPUS = 'animals';

interface Finished {
  readonly operation: string;
  readonly outcome: string;
  readonly durationMs: number | null;
  readonly atMs: number;
}

/** Every document has a megabyte. */
class LongWinded extends BruteForceService {
  override async search(call: SearchCall): Promise<SearchOutcome> {
    const outcome = await super.search(call);
    const document = { title: 'x', text: 'x'.repeat(MB), attributes: {} };
    return { ...outcome, hits: outcome.hits.map((hit) => ({ ...hit, document })) };
  }
}

async function rig(t: Teardown, overrides: Parameters<typeof startGateway>[0] = {}) {
  const finished: Finished[] = [];
  const items = new Map<string, number>();
  const metrics: FaceMetrics = {
    requestFinished: (_protocol, operation, outcome, durationMs) =>
      finished.push({ operation, outcome, durationMs, atMs: performance.now() }),
    batchItems: (_protocol, outcome, count) => items.set(outcome, (items.get(outcome) ?? 0) + count),
  };
  const gateway = await startGateway({ metrics, ...overrides });
  t.teardown(() => gateway.close());
  return { gateway, finished, items };
}

async function socketTo(t: Teardown, url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => undefined);
  t.teardown(() => void socket.destroy());
  await once(socket, 'connect');
  return socket;
}

function httpRequest(path: string, body: object, bytes?: number): { head: string; body: string } {
  const text = JSON.stringify(body);
  const lines = ['host: x', 'content-type: application/json', `content-length: ${bytes ?? text.length}`];
  return { head: `POST ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`, body: text };
}

t.test('how long a client takes to send its request is no time of the gateway', async (t) => {
  const { gateway, finished } = await rig(t);
  const socket = await socketTo(t, gateway.url);
  const { head, body } = httpRequest('/v1/search', { corpus: CORPUS, text: 'fish' });
  socket.write(head + body.slice(0, 10));
  await sleep(100);
  const wholeAtMs = performance.now();
  socket.write(body.slice(10));
  await until('it is counted', () => finished.length === 1);
  const [one] = finished;
  t.equal(one?.outcome, 'OK');
  t.ok((one?.durationMs ?? Number.NaN) <= (one?.atMs ?? 0) - wholeAtMs, `${one?.durationMs} ms`);
});

t.test('nor is how long it takes to read the answer', async (t) => {
  let unread = (): number => 0;
  const service = new LongWinded();
  const { gateway, finished } = await rig(t, {
    service,
    unread: { connectionBytesMax: 256 * MB, bytesMax: 512 * MB, sendTimeoutMs: 60_000 },
    onUnread: (bytes) => {
      unread = bytes;
    },
  });
  const socket = await socketTo(t, gateway.url);
  socket.pause();
  const search = { corpus: CORPUS, text: 'fish', top_k: 24, with_document: true };
  const { head, body } = httpRequest('/v1/search', search);
  const sentAtMs = performance.now();
  socket.write(head + body);
  // More than the kernel holds for a client.
  await until('the answer is held back', () => unread() > 0);
  const heldAtMs = performance.now();
  await sleep(100);
  t.equal(finished.length, 0, 'it has not left');
  socket.resume();
  await until('it is counted', () => finished.length === 1);
  const [one] = finished;
  t.equal(one?.outcome, 'OK');
  t.ok((one?.durationMs ?? Number.NaN) <= heldAtMs - sentAtMs, `${one?.durationMs} ms`);
});

t.test('a request that does not arrive whole has none, however it ends', async (t) => {
  const { gateway, finished } = await rig(t, { arrivalMsMax: 300 });
  const { head, body } = httpRequest('/v1/search', { corpus: CORPUS, text: 'fish' });
  const slow = await socketTo(t, gateway.url);
  slow.resume();
  slow.write(head + body.slice(0, 10));
  const [first] = slowCallsOn(`http://${gateway.grpcAddress}`);
  t.teardown(() => first?.stream.session?.destroy());
  await until('all are counted', () => finished.length === 11);
  const gone = await socketTo(t, gateway.url);
  gone.write(head + body.slice(0, 10));
  await sleep(50);
  gone.destroy();
  await until('it is counted', () => finished.length === 12);
  t.same(new Set(finished.map(({ outcome }) => outcome)), new Set(['REQUEST_TOO_SLOW', 'CANCELLED']));
  t.same(new Set(finished.map(({ durationMs }) => durationMs)), new Set([null]));
});

t.test('nor has one that is refused at the door, so that strangers thin out nothing', async (t) => {
  const key = makeKey();
  const { gateway, finished } = await rig(t, { listen: KEYED_LISTENERS, keys: ringOf([key]) });
  const search = { corpus: CORPUS, text: 'fish' };
  await gateway.post('/v1/search', search);
  await gateway.call('Search', search);
  await gateway.post('/v1/search', search, bearer(key.token));
  t.same(
    finished.map(({ outcome, durationMs }) => [outcome, durationMs !== null]),
    [
      ['UNAUTHENTICATED', false],
      ['UNAUTHENTICATED', false],
      ['OK', true],
    ],
  );
});

t.test(
  'nor one that there is no room for, so that many who are refused hide nobody who is late',
  async (t) => {
    const overload = new Overload(
      { ...OVERLOAD, limitMin: 1, limitMax: 1, shares: { live: 0, shadow: 0, bulk: 0 } },
      systemTimers,
    );
    const key = makeKey({ concurrencyMax: 2 });
    const { gateway, finished } = await rig(t, { overload, listen: KEYED_LISTENERS, keys: ringOf([key]) });
    let free = (): void => undefined;
    gateway.service.hold = new Promise((resolve) => {
      free = resolve;
    });
    const search = { corpus: CORPUS, text: 'fish' };
    const auth = bearer(key.token);
    const metadata = new Metadata();
    metadata.set('authorization', auth.authorization ?? '');
    const first = gateway.call('Search', search, {}, metadata);
    await until('it is worked on', () => gateway.service.callCount === 1);
    await gateway.post('/v1/search', search, auth);
    await gateway.post('/v1/embed', { model: 'brute@1', text: 'fish' }, auth);
    await gateway.post('/v1/search:batch', { requests: [search] }, auth);
    await gateway.call('Search', search, {}, metadata);
    await gateway.call('BatchSearch', { requests: [search] }, {}, metadata);
    t.same(
      finished.map(({ outcome, durationMs }) => [outcome, durationMs]),
      Array(5).fill(['OVERLOADED', null]),
    );
    free();
    await first;
    await until('it is counted', () => finished.length === 6);
    t.match(finished.at(-1), { outcome: 'OK', durationMs: Number });
  },
);

t.test('nor one that its key has no quota for', async (t) => {
  const key = makeKey({ concurrencyMax: 1 });
  const { gateway, finished } = await rig(t, { listen: KEYED_LISTENERS, keys: ringOf([key]) });
  let free = (): void => undefined;
  gateway.service.hold = new Promise((resolve) => {
    free = resolve;
  });
  const search = { corpus: CORPUS, text: 'fish' };
  const metadata = new Metadata();
  metadata.set('authorization', bearer(key.token).authorization ?? '');
  const first = gateway.call('Search', search, {}, metadata);
  await until('it is worked on', () => gateway.service.callCount === 1);
  await gateway.call('Search', search, {}, metadata);
  await gateway.post('/v1/search', search, bearer(key.token));
  await until('both are counted', () => finished.length === 2);
  t.same(
    finished.map(({ outcome, durationMs }) => [outcome, durationMs]),
    Array(2).fill(['QUOTA_EXCEEDED', null]),
  );
  free();
  await first;
});

t.test('items of a batch that is refused once it is answered are not counted', async (t) => {
  const { gateway, finished, items } = await rig(t, {
    limits: { ...LIMITS, batchItemsMax: 64 },
    unread: { connectionBytesMax: 65_536, bytesMax: 64 * MB, sendTimeoutMs: 60_000 },
  });
  const search = { corpus: CORPUS, text: 'fish', top_k: 24, with_document: true };
  const requests = Array(64).fill(search);
  const deaf = new Http2Client(`http://${gateway.grpcAddress}`, 0);
  t.teardown(() => deaf.session.destroy());
  const { service } = gateway;
  let free = (): void => undefined;
  const hold = (): void => {
    service.hold = new Promise((resolve) => {
      free = resolve;
    });
  };
  hold();
  const body = framed('switchyard.v1.BatchSearchRequest', { requests });
  for (let at = 0; at < 4; at++) deaf.call(body, '/switchyard.v1.SearchService/BatchSearch');
  await until('all are worked on', () => service.callCount === 4 * 64);
  free();
  await until('all are counted', () => finished.length === 4);
  t.same(
    finished.map(({ outcome }) => outcome),
    ['OK', 'ANSWERS_UNREAD', 'ANSWERS_UNREAD', 'ANSWERS_UNREAD'],
  );
  t.same([...items], [['OK', 64]]);

  const pipelined = await socketTo(t, gateway.url);
  pipelined.resume();
  const http = httpRequest('/v1/search:batch', { requests });
  hold();
  pipelined.write((http.head + http.body).repeat(4));
  await until('all are worked on', () => service.callCount === 8 * 64);
  free();
  await until('all are counted', () => finished.length === 8);
  const ofHttp = finished.slice(4).map(({ outcome }) => outcome);
  const answered = ofHttp.filter((outcome) => outcome === 'OK').length;
  t.same(new Set(ofHttp), new Set(['OK', 'ANSWERS_UNREAD']));
  t.same([...items], [['OK', 64 * (1 + answered)]]);
});

t.test('a flood of warnings about items hides no fault of the program', (t) => {
  const said: { readonly level: number; readonly reason: string }[] = [];
  const failed = new FailedItems(pino({ level: 'info' }, { write: (line) => said.push(JSON.parse(line)) }));
  const away = new SwitchyardError('ENCODER_UNAVAILABLE', 'it restarts', { cause: new Error('gone') });
  for (let at = 0; at < 1_000; at++) failed.write([away], 'grpc batch_search', 'id');
  const few = said.length;
  t.ok(few > 0 && few < 1_000, `${few} lines`);
  failed.write([away, new SwitchyardError('INTERNAL', 'a fault')], 'grpc batch_search', 'id');
  t.same(
    said.slice(few).map(({ level, reason }) => [level, reason]),
    [[50, 'INTERNAL']],
  );
  t.end();
});
