import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import { startRedis, type TestRedis } from '../../bench/rig/redis.js';
import { ready, startLayer, until } from '../cache/redis-rig.js';
import { type CachingOptions, type CachingRig, createCachingRig } from './caching.js';
import { Checker } from './checker.js';
import { PLANS, route, textCall, V1, V2 } from './harness.js';
import { QUERIES, target } from './small-engines.js';

const SECRET = randomBytes(32);

interface Replica extends CachingRig {
  readonly layer: ReturnType<typeof startLayer>['layer'];
}

async function startReplica(t: Test, redis: TestRedis, over: CachingOptions = {}): Promise<Replica> {
  const { layer } = startLayer(t, redis.url);
  const rig = createCachingRig({ redis: layer, secret: SECRET, ...over });
  await rig.router.apply(route(1, [target(V1, 'active', 10_000)]));
  await ready(layer);
  t.teardown(() => rig.router.close());
  return { ...rig, layer };
}

async function ask(replica: Replica, query: string): Promise<string> {
  const outcome = await replica.router.search(textCall(query));
  const checker = new Checker(PLANS, [query]);
  checker.check(query, 10, outcome);
  if (checker.mispaired.length + checker.mislabelled.length > 0)
    throw new Error(`a wrong answer to ${query}`);
  return outcome.servedBy.resultCache;
}

const written = (replica: Replica, count: number): Promise<void> =>
  until(`${count} values are written`, () => replica.layer.counters.writes >= count);

t.test('what one replica found the other need not look for', async (t) => {
  const redis = await startRedis(t);
  const [first, second] = [await startReplica(t, redis), await startReplica(t, redis)];
  for (const query of QUERIES) t.equal(await ask(first, query), 'MISS');
  await written(first, 2 * QUERIES.length);
  for (const query of QUERIES) t.equal(await ask(second, query), 'HIT');
  t.same(second.work, [], 'neither encoder nor index');
  t.equal(second.results.layers.counters.redis.hits, QUERIES.length);
  for (const query of QUERIES) t.equal(await ask(second, query), 'HIT');
  t.equal(second.results.layers.counters.redis.hits, QUERIES.length, 'and then not even Redis');

  const other = route(2, [target(V1, 'active', 0), target(V2, 'active', 10_000)]);
  await second.router.apply(other);
  for (const query of QUERIES) t.equal(await ask(second, query), 'MISS', 'another build is another entry');
});

t.test('the two hits of one answer are the same answer', async (t) => {
  const redis = await startRedis(t);
  const [first, second] = [await startReplica(t, redis), await startReplica(t, redis)];
  const found = await first.router.search(textCall('owl'));
  await written(first, 2);
  const shared = await second.router.search(textCall('owl'));
  t.equal(shared.servedBy.resultCache, 'HIT');
  t.strictSame(shared.hits, found.hits, 'to the last digit');
});

t.test('Redis holds no query, and another secret finds nothing', async (t) => {
  const redis = await startRedis(t);
  const first = await startReplica(t, redis);
  const query = 'an unmistakable whale';
  await ask(first, query);
  await written(first, 2);
  const keys = await redis.client.keys('*');
  t.equal(keys.length, 2);
  for (const key of keys) {
    const value = await redis.client.getBuffer(key);
    t.notOk(key.includes('whale') || value?.includes('unmistakable'), key);
    const ttlMs = await redis.client.pttl(key);
    t.ok(ttlMs > 600_000 * 0.84 && ttlMs <= 600_000, `${ttlMs} ms`);
  }
  const stranger = await startReplica(t, redis, { secret: randomBytes(32) });
  t.equal(await ask(stranger, query), 'MISS');
  t.same(stranger.work, ['encode alpha live', 'search v1 live']);
});

t.test('no damaged or misplaced value is ever an answer, and each is replaced', async (t) => {
  const redis = await startRedis(t);
  const first = await startReplica(t, redis);
  await ask(first, 'owl');
  await written(first, 2);
  const of = await redis.client.keys('*');
  await ask(first, 'dog');
  await written(first, 4);
  const dogs = (await redis.client.keys('*')).filter((key) => !of.includes(key));
  const swaps = async (): Promise<void> => {
    for (const dog of dogs) for (const owl of of) await redis.client.copy(owl, dog, 'REPLACE');
  };
  const damages: [string, () => Promise<void>][] = [
    ["another key's value", swaps],
    [
      'a flipped byte',
      async () => void (await Promise.all(dogs.map((key) => redis.client.setrange(key, 100, '\u0001')))),
    ],
    [
      'half a value',
      async () => {
        for (const key of dogs) {
          const value = (await redis.client.getBuffer(key)) ?? Buffer.alloc(0);
          await redis.client.set(key, value.subarray(0, value.length / 2));
        }
      },
    ],
    ['no value at all', async () => void (await Promise.all(dogs.map((key) => redis.client.set(key, ''))))],
    [
      'another type',
      async () => {
        for (const key of dogs) {
          await redis.client.del(key);
          await redis.client.lpush(key, 'x');
        }
      },
    ],
  ];
  for (const [what, damage] of damages) {
    await damage();
    const replica = await startReplica(t, redis);
    t.equal(await ask(replica, 'dog'), 'MISS', what);
    t.same(replica.work, ['encode alpha live', 'search v1 live'], what);
    await written(replica, 2);
    const counted = (cache: CachingRig['results'] | CachingRig['embeddings']): number =>
      [...cache.layers.counters.redis.invalid.values()].reduce((sum, count) => sum + count, 0);
    // A key of another type reads as an absent one.
    if (what !== 'another type')
      t.same([counted(replica.results), counted(replica.embeddings)], [1, 1], what);
    const next = await startReplica(t, redis);
    t.equal(await ask(next, 'dog'), 'HIT', `${what} was replaced`);
  }
});

t.test('answers of other keys, one after the other, end the use of the connection', async (t) => {
  const redis = await startRedis(t);
  const first = await startReplica(t, redis);
  const texts = Array.from({ length: 12 }, (_, at) => `question ${at}`);
  for (const text of texts) await ask(first, text);
  await written(first, 2 * texts.length);
  const keys = await redis.client.keys('*');
  const values = await Promise.all(keys.map((key) => redis.client.getBuffer(key)));
  for (const [at, key] of keys.entries())
    await redis.client.set(key, values[(at + 1) % keys.length] as Buffer);
  const replica = await startReplica(t, redis);
  for (const text of texts) t.equal(await ask(replica, text), 'MISS');
  t.ok(replica.layer.openedCount >= 1, 'the breaker opened');
  await ready(replica.layer);
});

t.test('nothing fails and nothing is wrong while Redis hangs, dies and comes back', async (t) => {
  const redis = await startRedis(t);
  // Too small for any entry: the load goes to Redis.
  const tiny = { bytesMax: 1 };
  const replicas = [await startReplica(t, redis, tiny), await startReplica(t, redis, tiny)] as const;
  const uses = new Map<string, number>();
  let stopping = false;
  let asked = 0;
  const caller = async (from: number): Promise<void> => {
    for (let at = from; !stopping; at += 7) {
      const use = await ask(replicas[at % 2] as Replica, `question ${at % 400}`);
      uses.set(use, (uses.get(use) ?? 0) + 1);
      asked++;
    }
  };
  const callers = Array.from({ length: 16 }, (_, from) => caller(from));
  const more = async (count: number): Promise<void> => {
    const from = asked;
    await until(`${count} more answers`, () => asked > from + count);
  };
  const opened = (): number => replicas.reduce((sum, { layer }) => sum + layer.openedCount, 0);
  await more(200);
  redis.pause();
  await until('the breakers open', () => opened() >= 2);
  await more(200);
  redis.resume();
  for (const { layer } of replicas) await ready(layer);
  await more(200);
  await redis.kill();
  await more(200);
  await redis.start();
  for (const { layer } of replicas) await ready(layer);
  const before = replicas[0].results.layers.counters.redis.hits;
  await until('Redis is of use again', () => replicas[0].results.layers.counters.redis.hits > before);
  stopping = true;
  await Promise.all(callers);
  t.same([...uses.keys()].sort(), ['HIT', 'MISS']);
  t.ok(asked >= 800, `${asked} answers, every one of them right`);
});
