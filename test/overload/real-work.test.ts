import { type Client, credentials, Client as GrpcClient } from '@grpc/grpc-js';
import t from 'tap';
import { startGateway } from '../../src/gateway/gateway.js';
import { urlOf } from '../control/http.js';
import { CORPUS, makeYard, sleep, until as untilTrue } from '../control/yard.js';
import { silentLog } from '../fixtures/postgres.js';
import { clientsOf, type Outcome } from '../gateway/harness.js';
import { until } from '../process/wait.js';

const PLACES = 4;
const CLIENTS = 24;
const ROUNDS = 3;
/** Between what two questions of a few words and what forty of sixty words wait for one encoder. */
const ADAPTIVE = { limitMin: 2, limitMax: 64, queueMsTarget: 100 } as const;

/** Some sixty words, and one that no other question has, so that none is remembered: tens of milliseconds of a real encoder's work. */
const question = (number: number): string =>
  [`q${number}`, ...Array.from({ length: 60 }, (_, at) => `word${(number * 7 + at * 13) % 997}`)].join(' ');

t.test(
  'a real gateway that real work saturates answers health and operators, and whom it lets in',
  async (t) => {
    const yard = await makeYard(t);
    const config = yard.config();
    const overload = { ...config.overload, limitMin: PLACES, limitMax: PLACES };
    const gateway = await startGateway({ ...config, overload }, silentLog);
    t.teardown(() => gateway.close());
    const { addresses } = gateway;
    const [url, adminUrl] = [urlOf(addresses.http), urlOf(addresses.adminHttp)];
    const clients = clientsOf(`127.0.0.1:${addresses.grpc.port}`, url);
    const admin = new GrpcClient(`127.0.0.1:${addresses.adminGrpc.port}`, credentials.createInsecure());
    t.teardown(() => {
      clients.client.close();
      admin.close();
    });

    const outcomes: Outcome[] = [];
    let isOver = false;
    let asked = 0;
    /** One after the other, as soon as it may. */
    const client = async (at: number): Promise<void> => {
      while (!isOver) {
        const request = { corpus: CORPUS, text: question(asked++), top_k: 3 };
        const outcome =
          at % 2 === 0 ? await clients.call('Search', request) : await clients.post('/v1/search', request);
        outcomes.push(outcome);
        if (outcome.reason !== 'OK') await sleep(Math.min(50, outcome.retryAfterMs ?? 50));
      }
    };
    const load = Array.from({ length: CLIENTS }, (_, at) => client(at));
    const countOf = (reason: string): number =>
      outcomes.filter((outcome) => outcome.reason === reason).length;
    await until('it refuses', () => countOf('OVERLOADED') > 0 && countOf('OK') > 0);

    for (let round = 0; round < ROUNDS; round++) {
      for (const path of ['/healthz', '/livez', '/readyz'])
        t.equal((await fetch(url + path)).status, 200, path);
      t.equal(await checkHealth(clients.client), SERVING, 'health over gRPC');
      t.equal(await checkHealth(admin), SERVING, 'and at the admin port');
      for (const path of ['/v1/status', `/v1/routes/${CORPUS}`, '/v1/models', '/livez'])
        t.equal((await fetch(adminUrl + path)).status, 200, path);
      const metrics = await (await fetch(`${adminUrl}/metrics`)).text();
      const inFlight = Number(
        /^switchyard_overload_in_flight\{kind="text",partition="live"\} (\d+)$/m.exec(metrics)?.[1],
      );
      t.ok(inFlight <= PLACES, `${inFlight} in flight`);
      const [refused, answered] = [countOf('OVERLOADED'), countOf('OK')];
      await until(
        'it is saturated all the while',
        () => countOf('OVERLOADED') > refused && countOf('OK') > answered,
      );
    }
    isOver = true;
    await Promise.all(load);
    t.same(new Set(outcomes.map(({ reason }) => reason)), new Set(['OK', 'OVERLOADED']), 'and nothing else');
    for (const { reason, body, retryAfterMs } of outcomes)
      if (reason === 'OK') t.equal((body.hits as readonly unknown[]).length, 3);
      else t.ok((retryAfterMs ?? 0) > 0, 'a refusal says when to come back');
    t.equal(
      (await clients.call('Search', { corpus: CORPUS, text: 'a big cat' })).reason,
      'OK',
      'there is room again',
    );
  },
);

t.test('the limit falls while real work waits too long, and comes back when it does not', async (t) => {
  const yard = await makeYard(t);
  const config = yard.config();
  const overload = { ...config.overload, ...ADAPTIVE };
  const gateway = await startGateway({ ...config, overload }, silentLog);
  t.teardown(() => gateway.close());
  const { addresses } = gateway;
  const [url, adminUrl] = [urlOf(addresses.http), urlOf(addresses.adminHttp)];
  const limit = async (): Promise<number> => {
    const metrics = await (await fetch(`${adminUrl}/metrics`)).text();
    return Number(/^switchyard_overload_limit\{kind="text"\} (\d+)$/m.exec(metrics)?.[1]);
  };
  let asked = 0;
  const reasons = new Map<string, number>();
  /** So many clients, one question after the other each, until `isOver`. */
  const under = async (
    clients: number,
    text: (number: number) => string,
    what: string,
    isOver: () => Promise<boolean>,
  ): Promise<void> => {
    let ended = false;
    const load = Array.from({ length: clients }, async () => {
      while (!ended) {
        const response = await fetch(`${url}/v1/search`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ corpus: CORPUS, text: text(asked++), top_k: 3 }),
        });
        const { reason = 'OK' } = (await response.json()) as { reason?: string };
        reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
        if (reason !== 'OK') await sleep(20);
      }
    });
    try {
      await untilTrue(what, isOver);
    } finally {
      ended = true;
      await Promise.all(load);
    }
  };

  t.equal(await limit(), ADAPTIVE.limitMax, 'it begins at its most');
  let lowest: number = ADAPTIVE.limitMax;
  await under(ADAPTIVE.limitMax * 2, question, 'the limit falls', async () => {
    lowest = Math.min(lowest, await limit());
    // Far above where it settles, so that a fast machine falls as far.
    return lowest <= ADAPTIVE.limitMax / 2;
  });
  t.ok(lowest >= ADAPTIVE.limitMin, `the lowest was ${lowest}`);
  t.ok((reasons.get('OVERLOADED') ?? 0) > 0, 'and what is beyond is refused');
  t.ok((reasons.get('OK') ?? 0) > 0, 'and what is let in answered');
  const before = await limit();
  reasons.clear();
  await under(
    before,
    (number) => `cat ${number}`,
    'the limit comes back',
    async () => (await limit()) > before,
  );
  t.ok((await limit()) <= ADAPTIVE.limitMax);
  t.ok((reasons.get('OK') ?? 0) > 0);
  t.same(
    [...reasons.keys()].filter((reason) => !['OK', 'OVERLOADED'].includes(reason)),
    [],
  );
});

/** `HealthCheckResponse { status: SERVING }`. */
const SERVING = '0801';

const checkHealth = (client: Client): Promise<string> =>
  new Promise((resolve, reject) => {
    const identity = (bytes: Buffer): Buffer => bytes;
    client.makeUnaryRequest(
      '/grpc.health.v1.Health/Check',
      identity,
      identity,
      Buffer.alloc(0),
      (error, answer) => {
        if (error !== null || answer === undefined) reject(error ?? new Error('no answer'));
        else resolve(answer.toString('hex'));
      },
    );
  });
