import t, { type Test } from 'tap';
import { startImpostor, startRedis } from '../../bench/rig/redis.js';
import type { SharedKey } from '../../src/cache/keys.js';
import { ready, startLayer, until } from './redis-rig.js';

const key = (name: string | number): SharedKey => `key-${name}` as SharedKey;
const value = (text: string): Buffer => Buffer.from(text);

t.test('values come back byte by byte, many in one turn, and expire', async (t) => {
  const redis = await startRedis(t, 'secret');
  const { layer } = startLayer(t, redis.url);
  t.equal(layer.get(key('early')), 'skipped', 'nothing waits for the first connection');
  await ready(layer);
  const binary = Buffer.from(Array.from({ length: 256 }, (_, at) => at));
  for (let at = 0; at < 500; at++) layer.set(key(at), Buffer.concat([binary, value(String(at))]), 60_000);
  await until('they are written', () => layer.counters.writes === 500);
  const reads = await Promise.all(Array.from({ length: 600 }, (_, at) => layer.get(key(at))));
  reads.forEach((read, at) => {
    if (at >= 500) t.equal(read, 'absent');
    else t.same(read, Buffer.concat([binary, value(String(at))]));
  });
  const ttlMs = await redis.client.pttl('test:key-7');
  t.ok(ttlMs > 0 && ttlMs <= 60_000, `${ttlMs} ms`);
  const calls = await redis.client.info('commandstats');
  t.equal(Number(/cmdstat_mget:calls=(\d+)/.exec(calls)?.[1]), 5, '600 reads in groups of 128');
  layer.set(key('short'), binary, 1);
  await until('it expired', async () => (await layer.get(key('short'))) === 'absent');
});

t.test('what is under way is bounded, and the rest goes on without', async (t) => {
  const redis = await startRedis(t);
  const { layer } = startLayer(t, redis.url, { readsMax: 10, writeBytesMax: 1_000, timeoutMs: 10_000 });
  await ready(layer);
  redis.pause();
  const reads = Array.from({ length: 25 }, (_, at) => layer.get(key(at)));
  t.equal(reads.filter((read) => read === 'skipped').length, 15);
  for (let at = 0; at < 20; at++) layer.set(key(at), Buffer.alloc(100), 60_000);
  t.equal(layer.counters.writesDropped, 10);
  redis.resume();
  t.same(new Set(await Promise.all(reads)), new Set(['skipped', 'absent']));
  await until('the writes are through', () => layer.counters.writes === 10);
  t.same(await layer.get(key(1)), Buffer.alloc(100), 'there is room again');
});

/** Every read ends, none is a value or an error, and in the end nothing is asked. */
async function untilGivenUp(t: Test, layer: ReturnType<typeof startLayer>['layer']): Promise<void> {
  let reads = 0;
  await until('the breaker opens', async () => {
    const read = await layer.get(key(reads++));
    if (read !== 'failed' && read !== 'skipped') t.fail(`read ${String(read)}`);
    return layer.openedCount > 0;
  });
  t.equal(layer.get(key('next')), 'skipped', 'nothing waits any more');
}

t.test('a server that stops answering is given up, and used again when it answers', async (t) => {
  const redis = await startRedis(t);
  const { layer, reasons } = startLayer(t, redis.url);
  await ready(layer);
  layer.set(key('a'), value('kept'), 600_000);
  await until('it is written', () => layer.counters.writes === 1);
  redis.pause();
  await untilGivenUp(t, layer);
  t.match(reasons[0], /no answer within 100 ms/);
  t.ok(layer.counters.timeouts >= 3);
  await until('a trial fails', () => reasons.length > 2);
  redis.resume();
  await ready(layer);
  t.same(await layer.get(key('a')), value('kept'));
});

t.test('a server that is killed is given up at once, and found again when it is back', async (t) => {
  const redis = await startRedis(t);
  const { layer, reasons } = startLayer(t, redis.url);
  await ready(layer);
  await redis.kill();
  await until('the loss is noticed without a request', () => layer.state !== 'closed');
  t.equal(layer.get(key('a')), 'skipped');
  layer.set(key('a'), value('lost'), 1_000);
  t.equal(layer.counters.writesDropped, 1);
  await until('trials fail', () => reasons.some((why) => /ECONNREFUSED/.test(why)));
  await redis.start();
  await ready(layer);
  t.equal(await layer.get(key('a')), 'absent');
});

t.test('a full server is read and not written', async (t) => {
  const redis = await startRedis(t);
  const { layer } = startLayer(t, redis.url);
  await ready(layer);
  layer.set(key('a'), value('first'), 600_000);
  await until('it is written', () => layer.counters.writes === 1);
  await redis.client.config('SET', 'maxmemory', '1');
  layer.set(key('b'), value('second'), 600_000);
  await until('it is refused', () => layer.counters.writesFailed === 1);
  t.same(await layer.get(key('a')), value('first'));
  t.equal(layer.state, 'closed');
});

t.test('a wrong password keeps the layer closed off and is never told', async (t) => {
  const redis = await startRedis(t, 'right');
  const { layer, reasons } = startLayer(t, redis.url.replace('right', 'hunter2'));
  await until('trials fail', () => reasons.length >= 2);
  t.equal(layer.get(key('a')), 'skipped');
  t.match(reasons[0], /WRONGPASS|NOAUTH/);
  for (const why of reasons) t.notMatch(why, /hunter2/);
});

t.test('a server that answers nonsense from the start is never used', async (t) => {
  for (const answer of ['garbage\r\n', '\0\xff\x01\x02', '+PANG\r\n', '-ERR no\r\n', '']) {
    const url = await startImpostor(t, () => answer);
    const { layer, reasons } = startLayer(t, url, { connectTimeoutMs: 100 });
    await until('trials fail', () => reasons.length >= 2);
    t.equal(layer.get(key('a')), 'skipped', JSON.stringify(answer));
    layer.close();
  }
});

t.test('a server that answers reads with nonsense is given up', async (t) => {
  const answers = [
    'garbage\r\n',
    '+OK\r\n',
    '*0\r\n',
    '*2\r\n$1\r\na\r\n$1\r\nb\r\n',
    ':5\r\n',
    '*1\r\n:5\r\n',
    '-LOADING\r\n',
  ];
  for (const answer of answers) {
    const url = await startImpostor(t, (asked) => (/ping/i.test(asked) ? '+PONG\r\n' : answer));
    const { layer } = startLayer(t, url);
    await ready(layer);
    await untilGivenUp(t, layer);
    layer.close();
  }
});

t.test('closing answers everybody and leaves nothing running', async (t) => {
  const redis = await startRedis(t);
  const { layer } = startLayer(t, redis.url, { timeoutMs: 10_000 });
  await ready(layer);
  redis.pause();
  const reads = [layer.get(key(1)), layer.get(key(2))];
  await new Promise((resolve) => setImmediate(resolve));
  const late = layer.get(key(3));
  layer.close();
  for (const read of await Promise.all([...reads, late]))
    t.ok(read === 'failed' || read === 'skipped', String(read));
  t.equal(layer.get(key(4)), 'skipped');
  redis.resume();
});
