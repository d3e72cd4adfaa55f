import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ClientReadableStream, type ServiceError, status } from '@grpc/grpc-js';
import { protoPath as healthProto } from 'grpc-health-check';
import t, { type Test } from 'tap';
import { GRPC_CODES, type SwitchyardError } from '../../src/errors.js';
import { InFlight } from '../../src/gateway/in-flight.js';
import { ACK, FRAME, frame, RawHttp2 } from '../security/raw-http2.js';
import { clientOf, type Gateway, LIMITS, LOCAL, startGateway } from './harness.js';

const SEARCH = { corpus: 'animals', text: 'fish' };
const HEALTH = 'grpc.health.v1.Health';

type Check = (
  request: { service: string },
  callback: (error: ServiceError | null, body: unknown) => void,
) => void;
type Watch = (request: { service: string }) => ClientReadableStream<{ status: string }>;

function healthOf(t: Test, gateway: Gateway) {
  const client = clientOf(healthProto, HEALTH, gateway.grpcAddress);
  t.teardown(() => client.close());
  return {
    check: (service: string) =>
      new Promise<string | number>((resolve) => {
        (client.Check as Check).call(client, { service }, (error, body) => {
          resolve(error === null ? (body as { status: string }).status : error.code);
        });
      }),
    watch: (service: string) => {
      const seen: string[] = [];
      const stream = (client.Watch as Watch).call(client, { service });
      const ended = new Promise<number>((resolve) => {
        stream.on('error', (error: ServiceError) => resolve(error.code));
        stream.on('end', () => resolve(0));
      });
      stream.on('data', (answer: { status: string }) => seen.push(answer.status));
      return { seen, ended };
    },
  };
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (await condition()) return;
    await sleep(10);
  }
  throw new Error('it did not happen within 5 s');
}

t.test('health follows the query service and the drain', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  const health = healthOf(t, gateway);
  t.equal(await health.check(''), 'SERVING');
  t.equal(await health.check('switchyard.v1.SearchService'), 'SERVING');
  t.equal(await health.check('switchyard.v1.Nothing'), status.NOT_FOUND);
  const { seen, ended } = health.watch('');
  const stranger = health.watch('switchyard.v1.Nothing');
  await until(() => seen.length === 1 && stranger.seen.length === 1);

  gateway.service.ready = false;
  t.equal(await health.check(''), 'NOT_SERVING');
  const readyz = await fetch(`${gateway.url}/readyz`);
  t.equal(readyz.status, 503);
  t.match(await readyz.json(), {
    ready: false,
    corpora: [{ corpus: 'animals', serving: false, why: 'no target is loaded' }],
  });
  await until(() => seen.length === 2);
  gateway.service.ready = true;
  await until(() => seen.length === 3);
  t.equal((await fetch(`${gateway.url}/readyz`)).status, 200);
  t.match(await (await fetch(`${gateway.url}/healthz`)).json(), { state: 'ok' });

  const drained = gateway.faces.drain({ lameDuckMs: 0, drainMs: 5_000 });
  t.equal(await ended, GRPC_CODES.UNAVAILABLE, 'a watch is told and ended');
  t.same(seen, ['SERVING', 'NOT_SERVING', 'SERVING', 'NOT_SERVING']);
  t.same([...new Set(stranger.seen)], ['SERVICE_UNKNOWN']);
  await drained;
});

t.test('requests are accepted while the duck is lame, and refused after', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  const health = healthOf(t, gateway);
  await health.check('');
  await gateway.call('Search', SEARCH);
  const drained = gateway.faces.drain({ lameDuckMs: 1_500, drainMs: 5_000 });
  t.equal(await health.check(''), 'NOT_SERVING');
  t.equal((await fetch(`${gateway.url}/readyz`)).status, 503);
  t.match(await (await fetch(`${gateway.url}/readyz`)).json(), { draining: true });
  t.equal((await gateway.call('Search', SEARCH)).reason, 'OK');
  t.equal((await gateway.post('/v1/search', SEARCH)).reason, 'OK');
  await drained;
  await t.rejects(fetch(`${gateway.url}/livez`));
  t.equal(
    (await gateway.call('Search', SEARCH, { deadline: Date.now() + 1_000 })).status,
    status.UNAVAILABLE,
  );
  await t.rejects(fetch(`${gateway.adminUrl}/livez`));
});

t.test('a request in flight survives the drain over both protocols', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  gateway.service.delayMs = 500;
  const answers = Promise.all([gateway.call('Search', SEARCH), gateway.post('/v1/search', SEARCH)]);
  await until(() => gateway.faces.inFlightCount === 2);
  await gateway.faces.drain({ lameDuckMs: 0, drainMs: 10_000 });
  for (const answer of await answers) t.equal(answer.reason, 'OK', answer.message);
});

t.test('a request that outlives the drain period is told so', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  gateway.service.delayMs = 1_500;
  const answers = Promise.all([gateway.call('Search', SEARCH), gateway.post('/v1/search', SEARCH)]);
  await until(() => gateway.faces.inFlightCount === 2);
  await gateway.faces.drain({ lameDuckMs: 0, drainMs: 50 });
  for (const answer of await answers) t.match(answer, { reason: 'SHUTTING_DOWN', retryAfterMs: 0 });
});

t.test('a client that keeps its connection open does not hold the drain', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  await gateway.call('Search', SEARCH);
  await gateway.post('/v1/search', SEARCH);
  healthOf(t, gateway).watch('');
  const first = gateway.faces.drain({ lameDuckMs: 0, drainMs: 60_000 });
  await first;
  t.equal(gateway.faces.drain({ lameDuckMs: 60_000, drainMs: 60_000 }), first, 'a second drain is the first');
});

t.test("deadlines are the client's, capped, with a default", async (t) => {
  const limits = { ...LIMITS, deadlineMsDefault: 20_000, deadlineMsMax: 100_000 };
  const gateway = await startGateway({ limits });
  t.teardown(() => gateway.close());
  const given = async (send: () => Promise<unknown>): Promise<number> => {
    const nowMs = performance.now();
    await send();
    return gateway.service.lastDeadlineAtMs - nowMs;
  };
  const within = (ms: number, low: number, high: number, what: string): void => {
    t.ok(ms > low && ms <= high, `${what}: ${ms.toFixed(0)} ms`);
  };
  within(await given(() => gateway.call('Search', SEARCH)), 19_000, 60_000, 'grpc default');
  within(await given(() => gateway.post('/v1/search', SEARCH)), 19_000, 60_000, 'http default');
  const far = { deadline: Date.now() + 1_000_000 };
  within(await given(() => gateway.call('Search', SEARCH, far)), 99_000, 140_000, 'grpc cap');
  const header = (ms: string) => ({ 'x-request-timeout-ms': ms });
  within(
    await given(() => gateway.post('/v1/search', SEARCH, header('999999'))),
    99_000,
    140_000,
    'http cap',
  );
  within(await given(() => gateway.post('/v1/search', SEARCH, header('7000'))), 6_000, 15_000, 'http own');
  const near = { deadline: Date.now() + 7_000 };
  within(await given(() => gateway.call('Search', SEARCH, near)), 0, 15_000, 'grpc own');

  gateway.service.delayMs = 1_500;
  t.match(await gateway.post('/v1/search', SEARCH, header('80')), {
    reason: 'DEADLINE_EXCEEDED',
    status: 504,
  });
  const late = await gateway.call('Search', SEARCH, { deadline: Date.now() + 80 });
  t.equal(late.status, status.DEADLINE_EXCEEDED, 'and never CANCELLED');
  t.equal(gateway.faces.inFlightCount <= 1, true);

  const before = gateway.service.callCount;
  t.match(await gateway.post('/v1/search', SEARCH, header('0')), { reason: 'DEADLINE_EXCEEDED' });
  const past = await gateway.call('Search', SEARCH, { deadline: Date.now() - 1 });
  t.equal(past.status, status.DEADLINE_EXCEEDED);
  t.equal(gateway.service.callCount, before, 'a deadline that passed starts nothing');
  t.match(await gateway.post('/v1/search', SEARCH, header('soon')), { reason: 'INVALID_ARGUMENT' });
  t.match(await gateway.post('/v1/search', SEARCH, header('-1')), { reason: 'INVALID_ARGUMENT' });
});

t.test("the gateway's own deadline is told over gRPC with its reason", async (t) => {
  const gateway = await startGateway({ limits: { ...LIMITS, deadlineMsDefault: 60 } });
  t.teardown(() => gateway.close());
  gateway.service.delayMs = 1_000;
  const outcome = await gateway.call('Search', SEARCH);
  t.match(outcome, { reason: 'DEADLINE_EXCEEDED', status: status.DEADLINE_EXCEEDED, retryAfterMs: 1_000 });
});

t.test('a port in use is named together with the setting that changes it', async (t) => {
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  t.teardown(() => taken.close());
  const port = (taken.address() as { port: number }).port;
  const local = { ...LOCAL };
  for (const [name, setting] of [
    ['grpc', 'listen.grpc.port'],
    ['http', 'listen.http.port'],
    ['adminHttp', 'listen.admin_http.port'],
    ['adminGrpc', 'listen.admin_grpc.port'],
  ] as const) {
    const listen = {
      grpc: local,
      http: local,
      adminHttp: local,
      adminGrpc: local,
      [name]: { ...local, port },
    };
    const error = await startGateway({ listen }).then(
      () => null,
      (thrown: SwitchyardError) => thrown,
    );
    t.equal(error?.reason, 'INVALID_CONFIG', name);
    t.match(error?.message, new RegExp(`127\\.0\\.0\\.1:${port} is in use .*${setting}`), name);
  }
});

t.test('an address that other machines reach does not boot', async (t) => {
  for (const host of ['0.0.0.0', '::', '', '192.168.1.10', '::ffff:10.0.0.1', 'example.org', '0177.0.0.1']) {
    for (const name of ['grpc', 'http', 'adminHttp', 'adminGrpc'] as const) {
      const listen = {
        grpc: LOCAL,
        http: LOCAL,
        adminHttp: LOCAL,
        adminGrpc: LOCAL,
        [name]: { ...LOCAL, host },
      };
      const error = await startGateway({ listen }).then(
        () => null,
        (thrown: SwitchyardError) => thrown,
      );
      t.match(
        error,
        { reason: 'INVALID_CONFIG', message: /no authentication is configured/ },
        `${name} ${host}`,
      );
    }
  }
});

t.test('the admin listener says what it knows without a registry, and refuses the rest', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  const get = async (path: string) => (await fetch(gateway.adminUrl + path)).json();
  t.match(await get('/v1/models'), { status: 503, reason: 'REGISTRY_UNAVAILABLE' });
  t.match(await get('/v1/status'), { state: 'ok' });
  const metrics = await fetch(`${gateway.adminUrl}/metrics`);
  t.match(metrics.headers.get('content-type'), /^text\/plain/);
  t.equal(await metrics.text(), 'switchyard_up 1\n');
  t.equal((await fetch(`${gateway.adminUrl}/v1/models`, { method: 'PUT' })).status, 405);
  t.equal((await fetch(`${gateway.adminUrl}/v1/search`)).status, 404, 'the public API is not here');
});

t.test('an aged connection is replaced without losing a request', async (t) => {
  const gateway = await startGateway({ connectionAgeMsMax: 100 });
  t.teardown(() => gateway.close());
  const endMs = performance.now() + 600;
  let answered = 0;
  while (performance.now() < endMs) {
    t.equal((await gateway.call('Search', SEARCH)).reason, 'OK');
    answered++;
    await sleep(5);
  }
  t.ok(answered > 5);
});

/** Resolves when the gateway hung up on a client that goes on with its headers for ever. */
async function endlessHeaders(t: Test, port: number): Promise<void> {
  const http2 = await RawHttp2.open(port);
  t.teardown(() => {
    http2.socket.destroy();
  });
  http2.socket.write(frame(FRAME.headers, 0, 1, Buffer.from([0x83, 0x86])));
  const gone = new Promise<void>((resolve) => http2.socket.once('close', resolve));
  const drip = setInterval(() => http2.socket.write(frame(FRAME.continuation, 0, 1)), 20);
  t.teardown(() => clearInterval(drip));
  await gone;
}

t.test('a connection that never ends its headers cannot answer a ping, and is hung up on', async (t) => {
  const gateway = await startGateway({ keepaliveMs: 150 });
  t.teardown(() => gateway.close());
  const { grpc, adminGrpc } = gateway.faces.addresses;
  await Promise.all([grpc, adminGrpc].map(({ port }) => endlessHeaders(t, port)));
  t.equal((await gateway.call('Search', SEARCH)).reason, 'OK', 'and others are served');
});

t.test(
  'a client whose answer to a ping waits behind much else has as long for it as from ping to ping',
  async (t) => {
    const keepaliveMs = 1_400;
    const gateway = await startGateway({ keepaliveMs });
    t.teardown(() => gateway.close());
    const http2 = await RawHttp2.open(gateway.faces.addresses.grpc.port);
    t.teardown(() => {
      http2.socket.destroy();
    });
    let pings = 0;
    http2.onPing = (payload) => {
      pings++;
      setTimeout(() => http2.socket.write(frame(FRAME.ping, ACK, 0, payload)), keepaliveMs * 0.45);
    };
    await until(() => pings === 2 || http2.isRefused);
    t.notOk(http2.isRefused);
  },
);

t.test('at the latest it goes when its age does', async (t) => {
  const limits = { ...LIMITS, deadlineMsMax: 200 };
  const gateway = await startGateway({ connectionAgeMsMax: 100, limits });
  t.teardown(() => gateway.close());
  await endlessHeaders(t, gateway.faces.addresses.grpc.port);
  t.equal((await gateway.call('Search', SEARCH)).reason, 'OK', 'and others are served');
});

t.test('a client that keeps its half of a connection open is hung up on when its time is over', async (t) => {
  let open = (): number => 0;
  const gateway = await startGateway({
    arrivalMsMax: 400,
    onConnections: (listener, counts) => {
      if (listener === 'http') open = () => counts().open;
    },
  });
  t.teardown(() => gateway.close());
  const socket = connect({
    port: gateway.faces.addresses.http.port,
    host: '127.0.0.1',
    allowHalfOpen: true,
  });
  t.teardown(() => {
    socket.destroy();
  });
  let answer = '';
  socket.on('data', (chunk: Buffer) => {
    answer += chunk.toString('utf8');
  });
  socket.write('POST /v1/search HTTP/1.1\r\nhost: x\r\n');
  await until(() => answer.includes('REQUEST_TOO_SLOW'));
  await until(() => open() === 0);
});

t.test('idle waits for the last request, and gives up at its cap', async (t) => {
  const inFlight = new InFlight();
  t.equal(await inFlight.idle(10), true);
  let finish = (): void => {};
  const work = inFlight.run(
    performance.now() + 10_000,
    performance.now(),
    () =>
      new Promise<void>((resolve) => {
        finish = resolve;
      }),
    undefined,
  );
  t.equal(await inFlight.idle(20), false);
  const idle = inFlight.idle(10_000);
  finish();
  t.equal(await idle, true);
  await work;
  await t.rejects(
    inFlight.run(
      performance.now() + 1_000,
      performance.now(),
      (why: string) => Promise.reject(new Error(why)),
      'its own',
    ),
    /its own/,
  );
  t.equal(inFlight.count, 0);
});
