import { Writable } from 'node:stream';
import { pino } from 'pino';
import t from 'tap';
import { startRedis } from '../../bench/rig/redis.js';
import type { Config } from '../../src/config/config.js';
import { startGateway } from '../../src/gateway/gateway.js';
import { search, send, urlOf } from './http.js';
import { AUTHOR, CORPUS, makeYard, until } from './yard.js';

const SECRET = 'a secret that both of the replicas have';
const PASSWORD = 'hunter2';

interface ServedBy {
  readonly corpus_version: string;
  readonly result_cache: string;
}

t.test('two gateways share what they remember in Redis', async (t) => {
  const yard = await makeYard(t);
  const redis = await startRedis(t, PASSWORD);
  const said: string[] = [];
  const log = pino(
    { level: 'debug' },
    new Writable({
      write: (line: Buffer, _encoding, done) => {
        said.push(line.toString());
        done();
      },
    }),
  );
  const config = (): Config => {
    const plain = yard.config();
    const shared = { url: redis.url, keyPrefix: 'sy:', timeoutMs: 100, connectTimeoutMs: 500 };
    return { ...plain, cache: { ...plain.cache, secret: SECRET, redis: shared } };
  };
  const gateways = [await startGateway(config(), log), await startGateway(config(), log)] as const;
  t.teardown(() => Promise.all(gateways.map((gateway) => gateway.close())));
  const [first, second] = gateways.map(({ addresses }) => urlOf(addresses.http)) as [string, string];
  const admins = gateways.map(({ addresses }) => urlOf(addresses.adminHttp)) as [string, string];

  const ask = async (http: string, text: string, more: Record<string, unknown> = {}) => {
    const answer = await search(http, { text, bypass_cache: false, ...more });
    if (answer.status !== 200) throw new Error(`${text}: ${JSON.stringify(answer.body)}`);
    return { hits: answer.body.hits, served: answer.body.served_by as ServedBy };
  };
  const metric = async (admin: string, name: string): Promise<number> => {
    const text = await (await fetch(`${admin}/metrics`)).text();
    return Number(
      text
        .split('\n')
        .find((line) => line.startsWith(`${name} `))
        ?.split(' ')[1] ?? Number.NaN,
    );
  };
  const isConnected = () =>
    until(
      'both use Redis',
      async () => {
        const open = await Promise.all(admins.map((admin) => metric(admin, 'switchyard_cache_breaker_open')));
        return open.every((value) => value === 0);
      },
      60_000,
    );
  await isConnected();

  await t.test('the same text again is a hit, on the other replica as well', async (t) => {
    const fresh = await ask(first, 'a cat with stripes');
    t.equal(fresh.served.result_cache, 'MISS');
    const again = await ask(first, 'a cat with stripes');
    t.equal(again.served.result_cache, 'HIT');
    t.same(again.hits, fresh.hits);
    await until(
      'it is written',
      async () => (await metric(admins[0], 'switchyard_cache_redis_writes_total{outcome="written"}')) >= 2,
      60_000,
    );
    const texts = await metric(admins[1], 'switchyard_encoder_texts_total{model="all-minilm-l6-v2@1-fp16"}');
    const shared = await ask(second, 'a cat with stripes');
    t.equal(shared.served.result_cache, 'HIT');
    t.same(shared.hits, fresh.hits);
    t.equal(
      await metric(admins[1], 'switchyard_encoder_texts_total{model="all-minilm-l6-v2@1-fp16"}'),
      texts,
    );
    t.equal(await metric(admins[1], 'switchyard_cache_hits_total{layer="redis",kind="result"}'), 1);
    const measured = await ask(second, 'a cat with stripes', { bypass_cache: true });
    t.equal(measured.served.result_cache, 'BYPASS');
    t.same(measured.hits, fresh.hits);
  });

  await t.test(
    'requests go on, with the right answers, while Redis hangs, dies and comes back',
    async (t) => {
      const texts = Array.from({ length: 40 }, (_, at) => `thing number ${at}`);
      const truth = new Map<string, unknown>();
      for (const text of texts) truth.set(text, (await ask(first, text, { bypass_cache: true })).hits);
      let stopping = false;
      let asked = 0;
      const wrong: string[] = [];
      const caller = async (http: string): Promise<void> => {
        while (!stopping) {
          const text = texts[asked++ % texts.length] as string;
          // A size of its own for each: an answer remembered in the process would hide Redis.
          const top_k = 1 + (asked % 8);
          const { hits } = await ask(http, text, { top_k });
          const expected = (truth.get(text) as unknown[]).slice(0, top_k);
          if (JSON.stringify((hits as unknown[]).slice(0, 3)) !== JSON.stringify(expected)) wrong.push(text);
        }
      };
      const callers = [caller(first), caller(first), caller(second), caller(second)];
      const more = async (): Promise<void> => {
        const from = asked;
        await until('20 more requests', async () => asked > from + 20, 60_000);
      };
      const open = () => metric(admins[0], 'switchyard_cache_breaker_open');
      redis.pause();
      await until('the breaker opens', async () => (await open()) === 1, 60_000);
      await more();
      redis.resume();
      await isConnected();
      await more();
      await redis.kill();
      await until('the breaker opens', async () => (await open()) === 1, 60_000);
      await more();
      await redis.start();
      await isConnected();
      await more();
      stopping = true;
      await Promise.all(callers);
      t.same(wrong, []);
      t.ok(asked > 80, `${asked} requests, none failed`);
    },
  );

  await t.test('a route change to another build is a miss', async (t) => {
    await yard.registry.routes.change({
      corpus: CORPUS,
      expectedRevision: 1,
      force: true,
      targets: [
        { version: 'v1', build: null, role: 'draining', weightBps: 0, tier: 'ssd', mirrorBps: 0 },
        { version: 'v2', build: null, role: 'active', weightBps: 10_000, tier: 'ssd', mirrorBps: 0 },
      ],
      ...AUTHOR,
    });
    const { value } = await until(
      'v2 serves',
      async () => {
        const answer = await ask(first, 'a cat with stripes');
        return answer.served.corpus_version === 'v2' && answer;
      },
      60_000,
    );
    t.equal(value.served.result_cache, 'MISS');
    t.equal((await ask(first, 'a cat with stripes')).served.result_cache, 'HIT');
    t.equal((await ask(first, 'a cat with stripes', { corpus_version: 'v1' })).served.result_cache, 'HIT');
  });

  await t.test('the log says what happened, and neither password nor secret nor query', async (t) => {
    const everything = said.join('');
    t.match(everything, /the cache goes on without Redis/);
    t.match(everything, /the cache uses Redis/);
    t.notMatch(everything, new RegExp(PASSWORD));
    t.notMatch(everything, new RegExp(SECRET));
    t.notMatch(everything, /stripes|thing number/);
    t.match((await send(`${admins[0]}/v1/status`, 'GET')).status, 200);
  });
});
