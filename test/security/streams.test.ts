import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { Client, type ClientReadableStream, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { SilentProxy } from '../../bench/chaos/silent-proxy.js';
import { OpenStreams } from '../../src/gateway/grpc/open-streams.js';
import { loadAdminProtos } from '../../src/gateway/grpc/protos.js';
import { RouteFeed } from '../../src/gateway/wiring/route-feed.js';
import type { Route } from '../../src/registry/route.js';
import type { Digest, Fingerprint, Revision } from '../../src/vocabulary.js';
import { adminSources, grpcRefused, httpOutcome, startGateway } from '../gateway/harness.js';
import { FakeTimers } from '../process/fake-timers.js';
import { until } from '../process/wait.js';
import { bearer, KEYED_LISTENERS, type MadeKey, makeKey, ringOf } from './keys.js';

const WATCH_ROUTE = '/switchyard.v1.RouterService/WatchRoute';
const GET_ROUTE = '/switchyard.v1.RouterService/GetRoute';
const WATCH_HEALTH = '/grpc.health.v1.Health/Watch';
const REFLECTION = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo';
const STALENESS_MS_MAX = 30_000;

const contract = loadAdminProtos().root;
const identity = (bytes: Buffer): Buffer => bytes;
const message = (type: string, fields: object): Buffer =>
  Buffer.from(contract.lookupType(`switchyard.v1.${type}`).encode(fields).finish());
const corpusOf = (type: string): Buffer => message(type, { corpus: 'animals' });

const route = (revision: number): Route => ({
  corpus: 'animals',
  revision: revision as Revision,
  salt: 'salt',
  targets: [
    {
      version: 'v1',
      build: 'a'.repeat(64) as Digest,
      fingerprint: `mf1_${'b'.repeat(32)}` as Fingerprint,
      modelRef: 'words@1',
      role: 'active',
      weightBps: 10_000,
      tier: 'dram',
      mirrorBps: 0,
      bundleUri: 'file:///nowhere',
    },
  ],
});

/** What a stream said, and why it ended: a reason of the catalogue, or null while it is open. */
interface Watched {
  messages: number;
  ended: string | null;
  cancel(): void;
}

async function rig(t: Test, keys: readonly MadeKey[], options: { readonly keepaliveMs?: number } = {}) {
  const clock = { nowMs: 0 };
  const ring = ringOf(keys, { stalenessMsMax: STALENESS_MS_MAX, now: () => clock.nowMs });
  const feed = new RouteFeed();
  feed.publish([route(1)]);
  const admin = adminSources(feed);
  const gateway = await startGateway({ listen: KEYED_LISTENERS, keys: ring, admin, ...options });
  t.teardown(() => gateway.close());
  const adminPort = gateway.faces.addresses.adminGrpc.port;
  const clientAt = (port: number): Client => {
    const local = { 'grpc.use_local_subchannel_pool': 1 };
    const made = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), local);
    t.teardown(() => made.close());
    return made;
  };
  const client = clientAt(adminPort);
  const metadataOf = (key: MadeKey | null): Metadata => {
    const metadata = new Metadata();
    if (key !== null) metadata.set('authorization', `Bearer ${key.token}`);
    return metadata;
  };
  const follow = (stream: Pick<ClientReadableStream<Buffer>, 'on' | 'cancel'>): Watched => {
    const watched: Watched = { messages: 0, ended: null, cancel: () => stream.cancel() };
    // A dialogue that its client has not ended keeps the client's connection, and so this process.
    t.teardown(() => stream.cancel());
    stream.on('data', () => watched.messages++);
    stream.on('error', (error: ServiceError) => {
      watched.ended ??= grpcRefused(error).reason;
    });
    return watched;
  };
  const watch = (key: MadeKey | null, path = WATCH_ROUTE, from = client): Watched => {
    const asked = path === WATCH_ROUTE ? corpusOf('WatchRouteRequest') : Buffer.alloc(0);
    return follow(from.makeServerStreamRequest(path, identity, identity, asked, metadataOf(key)));
  };
  const watchAt = (key: MadeKey, port: number): Watched => watch(key, WATCH_ROUTE, clientAt(port));
  const reflect = (key: MadeKey): Watched => {
    const stream = client.makeBidiStreamRequest(REFLECTION, identity, identity, metadataOf(key));
    // list_services (field 7): ''.
    stream.write(Buffer.from([0x3a, 0x00]));
    return follow(stream);
  };
  const ask = (key: MadeKey): Promise<string> =>
    new Promise((resolve) => {
      client.makeUnaryRequest(
        GET_ROUTE,
        identity,
        identity,
        corpusOf('GetRouteRequest'),
        metadataOf(key),
        (error) => resolve(error === null ? 'OK' : grpcRefused(error).reason),
      );
    });
  const askHttp = async (key: MadeKey): Promise<string> => {
    const response = await fetch(`${gateway.adminUrl}/v1/routes/animals`, { headers: bearer(key.token) });
    return response.ok ? 'OK' : (await httpOutcome(response)).reason;
  };
  return { clock, ring, feed, adminPort, watch, watchAt, reflect, ask, askHttp };
}

const revoked = ({ token, stored }: MadeKey): MadeKey => ({
  token,
  stored: { ...stored, revokedAt: new Date() },
});

t.test('a stream ends when the key that opened it is revoked, and no other one does', async (t) => {
  const [leaked, other] = [makeKey({ role: 'operator' }), makeKey({ role: 'operator' })];
  const { ring, feed, watch, reflect } = await rig(t, [leaked, other]);
  const streams = [watch(leaked), reflect(leaked), watch(other), reflect(other), watch(null, WATCH_HEALTH)];
  await until('each has its first message', () => streams.every(({ messages }) => messages === 1));
  ring.replace([revoked(leaked), other].map(({ stored }) => stored));
  await until('its streams ended', () => streams.slice(0, 2).every(({ ended }) => ended !== null));
  feed.publish([route(2)]);
  await until('the other one is told of the next route', () => streams[2]?.messages === 2);
  t.same(
    streams.map(({ ended }) => ended),
    ['UNAUTHENTICATED', 'UNAUTHENTICATED', null, null, null],
  );
  t.equal(streams[0]?.messages, 1, 'and its own stream said nothing more');
});

t.test('a stream ends when its key expires', async (t) => {
  const key = makeKey({ role: 'operator', expiresAt: new Date(Date.now() + 1_500) });
  const { watch } = await rig(t, [key]);
  const stream = watch(key);
  await until('it is open', () => stream.messages === 1);
  await until('it ended', () => stream.ended !== null);
  t.equal(stream.ended, 'UNAUTHENTICATED');
});

t.test('streams end where the keys can no longer be read: nobody would be let in', async (t) => {
  const key = makeKey({ role: 'operator' });
  const { clock, watch } = await rig(t, [key]);
  const [stream, health] = [watch(key), watch(null, WATCH_HEALTH)];
  await until('both are open', () => stream.messages === 1 && health.messages === 1);
  clock.nowMs += STALENESS_MS_MAX + 1;
  await until('it ended', () => stream.ended !== null);
  t.equal(stream.ended, 'REGISTRY_UNAVAILABLE');
  t.equal(health.ended, null, 'probes need no key');
});

t.test(
  'an open stream takes a place in its key’s quota until it is over, beside single requests',
  async (t) => {
    const key = makeKey({ role: 'operator', concurrencyMax: 2 });
    const { watch, reflect, ask, askHttp } = await rig(t, [key]);
    const streams = [watch(key), reflect(key)];
    await until('both are open', () => streams.every(({ messages }) => messages === 1));
    const third = watch(key);
    await until('the third is refused', () => third.ended !== null);
    t.equal(third.ended, 'QUOTA_EXCEEDED');
    t.equal(await ask(key), 'QUOTA_EXCEEDED');
    t.equal(await askHttp(key), 'QUOTA_EXCEEDED');
    streams[0]?.cancel();
    let answer: string;
    do answer = await ask(key);
    while (answer === 'QUOTA_EXCEEDED');
    t.equal(await ask(key), 'REGISTRY_UNAVAILABLE', 'as far as the operation, which has no registry here');
    t.equal(await askHttp(key), 'REGISTRY_UNAVAILABLE');
  },
);

t.test(
  'a client that is gone without a word is hung up on, and its streams give their places back',
  async (t) => {
    const key = makeKey({ role: 'operator', concurrencyMax: 2 });
    const { feed, adminPort, watchAt, ask } = await rig(t, [key], { keepaliveMs: 300 });
    const proxy = await SilentProxy.open(adminPort);
    t.teardown(() => proxy.close());
    const [gone, there] = [watchAt(key, proxy.port), watchAt(key, adminPort)];
    await until('both are open', () => gone.messages === 1 && there.messages === 1);
    t.equal(await ask(key), 'QUOTA_EXCEEDED');
    proxy.forget();
    let answer: string;
    do answer = await ask(key);
    while (answer === 'QUOTA_EXCEEDED');
    t.equal(answer, 'REGISTRY_UNAVAILABLE', 'as far as the operation');
    feed.publish([route(2)]);
    await until('who is there hears on', () => there.messages === 2);
    t.same([gone.ended, there.ended], [null, null], 'the one that is cut off hears of nothing');
  },
);

t.test('the rate of a key is one for all admin listeners', async (t) => {
  const key = makeKey({ role: 'operator', requestsPerS: 3 });
  const { clock, watch, ask, askHttp } = await rig(t, [key]);
  const stream = watch(key);
  await until('it is open', () => stream.messages === 1);
  t.equal(await ask(key), 'REGISTRY_UNAVAILABLE');
  t.equal(await askHttp(key), 'REGISTRY_UNAVAILABLE');
  t.equal(await ask(key), 'QUOTA_EXCEEDED');
  t.equal(await askHttp(key), 'QUOTA_EXCEEDED');
  clock.nowMs += 1_000;
  t.equal(await ask(key), 'REGISTRY_UNAVAILABLE', 'a second later it may go on');
});

t.test('a gateway that closed ends, whatever its clients have not ended', async (t) => {
  const script = fileURLToPath(new URL('./closing-main.js', import.meta.url));
  const child = spawn('env', ['-u', 'NODE_OPTIONS', process.execPath, script], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(() => void child.kill('SIGKILL'));
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const ports = JSON.parse(String(line)) as Record<'grpc' | 'http' | 'admin' | 'adminGrpc', number>;
  const told: string[] = [];
  for (const port of [ports.grpc, ports.adminGrpc]) {
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    const dialogue = client.makeBidiStreamRequest(REFLECTION, identity, identity, new Metadata());
    dialogue.write(Buffer.from([0x3a, 0x00]));
    dialogue.on('error', ({ code }: ServiceError) => told.push(String(code)));
    await once(dialogue, 'data');
    t.teardown(() => {
      dialogue.cancel();
      client.close();
    });
  }
  for (const port of [ports.http, ports.admin]) {
    const half = connect(port, '127.0.0.1');
    half.on('error', () => undefined);
    half.write('POST /v1/search HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{');
    await once(half, 'connect');
    t.teardown(() => half.destroy());
  }
  const exited = once(child, 'exit');
  child.stdin.write('now\n');
  const [status] = (await exited) as [number | null];
  t.equal(status, 0);
  await until('both dialogues are over for their clients too', () => told.length === 2);
});

t.test('streams are looked at while there are any, and no longer', (t) => {
  const timers = new FakeTimers();
  const streams = new OpenStreams(timers);
  const ended: string[] = [];
  let isLetIn = true;
  const stream = (name: string) => ({
    check: () => {
      if (!isLetIn) throw new Error('no');
    },
    end: () => ended.push(name),
  });
  const over = streams.add(stream('a'));
  t.equal(timers.pending, 1);
  over();
  over();
  t.equal(timers.pending, 0);
  streams.add(stream('b'));
  const overC = streams.add(stream('c'));
  timers.advance(10_000);
  t.same(ended, []);
  isLetIn = false;
  timers.advance(1_000);
  t.same(ended, ['b', 'c']);
  t.equal(timers.pending, 0);
  overC();
  isLetIn = true;
  streams.add(stream('d'));
  timers.advance(1_000);
  t.equal(timers.pending, 1);
  t.end();
});
