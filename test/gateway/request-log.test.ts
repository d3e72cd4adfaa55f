import { once } from 'node:events';
import { connect } from 'node:net';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { pino } from 'pino';
import t from 'tap';
import { Requests } from '../../src/gateway/requests.js';
import type { Priority } from '../../src/vocabulary.js';
import { eventually } from '../registry/registry-fixtures.js';
import { bearer, KEYED_LISTENERS, makeKey, ringOf } from '../security/keys.js';
import { contract, startGateway } from './harness.js';

const TEXT = 'a fish of the okapi-marker-12';

interface Line {
  readonly level: number;
  readonly msg: string;
  readonly requestId: string;
  readonly queryId: string;
  readonly outcome: string;
  readonly durationMs: number;
  readonly keyId?: string;
}

t.test('every request is in the log at level debug, with its ids and without its text', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  const lines = (): Line[] => gateway.logged.map((line) => JSON.parse(line) as Line);
  const { body } = await gateway.post(
    '/v1/search',
    { corpus: 'animals', text: TEXT },
    { 'x-request-id': 'mine' },
  );
  await gateway.call('Search', { corpus: 'animals', text: TEXT });
  await gateway.post('/v1/search', { corpus: 'nowhere', text: TEXT }, { 'x-request-id': 'refused' });
  const answered = lines().filter(({ msg }) => msg === 'a request was answered');
  t.match(
    answered.find(({ requestId }) => requestId === 'mine'),
    { outcome: 'OK', queryId: body.query_id, protocol: 'http', operation: 'search', corpusVersion: /./ },
  );
  t.match(
    answered.find(({ requestId }) => requestId === 'refused'),
    { outcome: 'UNKNOWN_CORPUS' },
  );
  t.equal(new Set(answered.map(({ requestId }) => requestId)).size, 3, 'each has an id of its own');
  t.notOk(gateway.logged.some((line) => line.includes('okapi-marker')));
});

t.test('a slow request is a warning, and a flood of them is ten lines a second', async (t) => {
  const gateway = await startGateway({ slowRequestMs: 1 });
  t.teardown(() => gateway.close());
  gateway.service.delayMs = 20;
  const begunAtMs = performance.now();
  await Promise.all(
    Array.from({ length: 60 }, () => gateway.post('/v1/search', { corpus: 'animals', text: TEXT })),
  );
  const seconds = Math.ceil((performance.now() - begunAtMs) / 1_000) + 1;
  const slow = gateway.logged
    .map((line) => JSON.parse(line) as Line)
    .filter(({ msg }) => msg === 'a request was slow');
  t.ok(slow.length > 0 && slow.length <= 10 * seconds, `${slow.length} lines in ${seconds} s`);
  for (const { level, durationMs } of slow) {
    t.equal(level, 40);
    t.ok(durationMs >= 1);
  }
});

t.test('a flood of slow bulk work hides no slow request that somebody waits for', (t) => {
  const said: { readonly msg: string; readonly priority: string }[] = [];
  const requests = new Requests({
    log: pino({ level: 'info' }, { write: (line) => said.push(JSON.parse(line)) }),
    metrics: { requestFinished: () => undefined, batchItems: () => undefined },
    tracer: null,
    slowRequestMs: 1,
  });
  const finish = (priority: Priority): void => {
    const scope = requests.begin('grpc', 'search', 'id', null, {}, () => undefined);
    scope.priority = priority;
    scope.arrivedAtMs = performance.now() - 1_000;
    requests.finish(scope, 'OK');
  };
  for (let at = 0; at < 1_000; at++) finish('bulk');
  finish('live');
  t.match(said.at(-1), { msg: 'a request was slow', priority: 'live' });
  t.ok(said.length < 500, `${said.length} lines`);
  t.end();
});

t.test('a request in the log names its key by its id, and never the key', async (t) => {
  const key = makeKey();
  const gateway = await startGateway({ listen: KEYED_LISTENERS, keys: ringOf([key]), slowRequestMs: 1 });
  t.teardown(() => gateway.close());
  gateway.service.delayMs = 20;
  await gateway.post('/v1/search', { corpus: 'animals', text: TEXT }, bearer(key.token));
  const client = new Client(gateway.grpcAddress, credentials.createInsecure());
  t.teardown(() => client.close());
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${key.token}`);
  const message = Buffer.from(
    contract
      .lookupType('switchyard.v1.SearchRequest')
      .encode({ corpus: 'animals', text: TEXT, topK: 1 })
      .finish(),
  );
  const identity = (bytes: Buffer): Buffer => bytes;
  await new Promise((resolve) => {
    client.makeUnaryRequest(
      '/switchyard.v1.SearchService/Search',
      identity,
      identity,
      message,
      metadata,
      resolve,
    );
  });
  const slow = gateway.logged
    .map((line) => JSON.parse(line) as Line & { readonly protocol: string })
    .filter(({ msg }) => msg === 'a request was slow');
  t.same(
    slow.map(({ protocol, keyId }) => [protocol, keyId]),
    [
      ['http', key.stored.keyId],
      ['grpc', key.stored.keyId],
    ],
  );
  t.notOk(gateway.logged.some((line) => line.includes(key.token.slice(16))));
});

t.test(
  'a body that does not come in time is counted as the client’s fault, one it gave up as given up',
  async (t) => {
    const gateway = await startGateway({ arrivalMsMax: 400 });
    t.teardown(() => gateway.close());
    const begin = async () => {
      const socket = connect(gateway.faces.addresses.http.port, '127.0.0.1');
      t.teardown(() => socket.destroy());
      await once(socket, 'connect');
      socket.write(
        'POST /v1/search HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{',
      );
      return socket;
    };
    const ends = (): readonly unknown[] => gateway.counted.map(({ outcome }) => outcome);
    const slow = await begin();
    const [answer] = await once(slow, 'data');
    t.match(String(answer), /^HTTP\/1\.1 408 .*"reason":"REQUEST_TOO_SLOW"/s);
    await eventually('it is counted', () => ends().length === 1);
    const gone = await begin();
    await eventually('it arrived', () => gone.bytesWritten > 0);
    await new Promise((resolve) => setTimeout(resolve, 50));
    gone.destroy();
    await eventually('it is counted too', () => ends().length === 2);
    t.same(ends(), ['REQUEST_TOO_SLOW', 'CANCELLED']);
  },
);
