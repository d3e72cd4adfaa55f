import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import {
  type Downloaded,
  downloadFile,
  type FileDownload,
} from '../../src/encoder/import/download/download-file.js';
import { HttpClient, type HttpClientOptions } from '../../src/encoder/import/download/http-client.js';
import { temporaryFolder } from '../fixtures/folders.js';
import { FileServer, sha256, startProxy } from './file-server.js';

const SIZE = 2_000_000;
const NAME = 'model.onnx';

interface Prepared {
  readonly server: FileServer;
  readonly target: string;
  readonly content: Buffer;
  readonly get: (options?: Partial<FileDownload & HttpClientOptions>) => Promise<Downloaded>;
}

async function prepare(t: Test): Promise<Prepared> {
  const server = await FileServer.start(t);
  const content = randomBytes(SIZE);
  server.files.set(NAME, content);
  const target = path.join(await temporaryFolder(t), 'sub', NAME);
  const url = new URL(NAME, `${server.url}/`);
  const get: Prepared['get'] = async ({ env = {}, token, idleTimeoutMs, ...download } = {}) => {
    const { signal } = download;
    const client = new HttpClient({
      env,
      ...(token ? { token } : {}),
      ...(signal ? { signal } : {}),
      ...(idleTimeoutMs ? { idleTimeoutMs } : {}),
    });
    try {
      return await downloadFile(client, {
        url,
        target,
        name: NAME,
        bytesMax: SIZE,
        retryDelayMs: 1,
        ...download,
      });
    } finally {
      await client.close();
    }
  };
  return { server, target, content, get };
}

/** Names in the download's folder. */
const left = (target: string): Promise<string[]> => readdir(path.dirname(target));

t.test('a file arrives whole, and a second time only if it changed', async (t) => {
  const { server, target, content, get } = await prepare(t);
  const seen: number[] = [];
  t.match(await get({ onBytes: (received, total) => seen.push(received / (total ?? 0)) }), { kind: 'there' });
  t.ok((await readFile(target)).equals(content));
  t.equal(seen.at(-1), 1);
  t.equal(server.bytesServed, SIZE);

  await get();
  t.same(
    server.requestsOf(NAME).map(({ status }) => status),
    [200, 304],
  );
  t.equal(server.bytesServed, SIZE);
  await get({ sha256: sha256(content) });
  t.equal(server.requestsOf(NAME).length, 2, 'with its checksum known, nobody is asked');

  await writeFile(target, 'damaged');
  await get();
  t.ok((await readFile(target)).equals(content), 'a damaged copy is sent again');

  const changed = randomBytes(1000);
  server.files.set(NAME, changed);
  await get();
  t.ok((await readFile(target)).equals(changed));
  t.same(await left(target), [NAME, `${NAME}.source.json`]);
});

t.test('a transfer that is cut goes on where it stopped', async (t) => {
  const { server, target, content, get } = await prepare(t);
  server.faults.set(NAME, [
    { kind: 'cut', afterBytes: 700_000 },
    { kind: 'status', status: 503 },
    { kind: 'cut', afterBytes: 600_000 },
  ]);
  await get({ sha256: sha256(content) });
  t.ok((await readFile(target)).equals(content));
  const requests = server.requestsOf(NAME);
  t.equal(requests.length, 4);
  t.equal(requests[0]?.range, undefined);
  t.match(requests[3]?.range, /^bytes=[1-9]\d*-$/);
  // What the server had sent and the client not yet read when the connection broke is sent again.
  t.ok(server.bytesServed < SIZE + 1_300_000, `${server.bytesServed} bytes served for ${SIZE}`);
  t.ok(server.bytesServed >= SIZE);
});

t.test('a later run goes on where an earlier one was stopped', async (t) => {
  const { server, target, content, get } = await prepare(t);
  const stop = new AbortController();
  const onBytes = (received: number): void => {
    if (received > 500_000) stop.abort();
  };
  await t.rejects(get({ signal: stop.signal, onBytes }), {
    reason: 'DOWNLOAD_FAILED',
    message: /stopped; what was received is kept/,
  });
  t.same(await left(target), [`${NAME}.part`, `${NAME}.source.json`]);
  await get();
  t.ok((await readFile(target)).equals(content));
  t.match(server.requestsOf(NAME).at(-1), { status: 206, range: /^bytes=[1-9]/ });
});

t.test('a file that changes in the middle is begun again', async (t) => {
  const changed = randomBytes(SIZE);
  for (const ignoresIfRange of [false, true]) {
    const { server, target, get } = await prepare(t);
    server.faults.set(NAME, [
      { kind: 'cut', afterBytes: 700_000 },
      {
        kind: 'before',
        act: () => {
          server.files.set(NAME, changed);
          server.ignoresIfRange = ignoresIfRange;
        },
      },
    ]);
    await get();
    t.ok((await readFile(target)).equals(changed), ignoresIfRange ? 'If-Range ignored' : 'If-Range obeyed');
    t.match(server.requestsOf(NAME)[1], { range: /^bytes=[1-9]/, status: ignoresIfRange ? 206 : 200 });
  }
});

t.test('without a strong ETag a cut transfer begins again', async (t) => {
  for (const etag of [undefined, 'W/"weak"']) {
    const { server, target, content, get } = await prepare(t);
    server.etagOf = () => etag;
    server.faults.set(NAME, [{ kind: 'cut', afterBytes: 700_000 }]);
    await get();
    t.ok((await readFile(target)).equals(content));
    t.same(
      server.requestsOf(NAME).map(({ range }) => range),
      [undefined, undefined],
    );
  }
});

t.test('a part that is whole already needs no more bytes', async (t) => {
  const { server, target, content, get } = await prepare(t);
  server.faults.set(NAME, [
    { kind: 'cut', afterBytes: 10 },
    { kind: 'status', status: 400 },
  ]);
  await t.rejects(get(), { reason: 'DOWNLOAD_FAILED', message: /answers 400/ });
  await writeFile(`${target}.part`, content);
  await get();
  t.ok((await readFile(target)).equals(content));
  t.equal(server.requestsOf(NAME).at(-1)?.status, 416);
});

t.test('another checksum is refused and nothing is left, whoever stated it', async (t) => {
  const other = 'a'.repeat(64);
  const stated = await prepare(t);
  await t.rejects(stated.get({ sha256: other }), {
    reason: 'INVALID_MODEL',
    message: /SHA-256.*must have aaaa.*removed/,
  });
  t.same(await left(stated.target), []);

  const etag = await prepare(t);
  etag.server.etagOf = () => `"${other}"`;
  await t.rejects(etag.get(), { reason: 'INVALID_MODEL', message: /must have aaaa/ });
  t.same(await left(etag.target), []);
  await etag.get({ sha256: sha256(etag.content) });
  t.ok(existsSync(etag.target), 'a stated checksum is worth more than an ETag');

  const linked = await prepare(t);
  const store = await FileServer.start(t);
  store.files.set('blob', linked.content);
  const redirect = (hash: string) => ({
    kind: 'redirect' as const,
    to: `${store.url}/blob`,
    headers: { 'x-linked-etag': `"${hash}"` },
  });
  linked.server.faults.set(NAME, [redirect(other), redirect(sha256(linked.content))]);
  await t.rejects(linked.get(), { reason: 'INVALID_MODEL', message: /must have aaaa/ });
  store.etagOf = () => `"${other}"`;
  await linked.get();
  t.ok(existsSync(linked.target), "the store's own ETag is no checksum");
});

t.test('a file that is too large is refused before and while it arrives', async (t) => {
  for (const hasLength of [true, false]) {
    const { server, target, get } = await prepare(t);
    server.hasLength = hasLength;
    await t.rejects(get({ bytesMax: 100_000 }), {
      reason: 'INVALID_MODEL',
      message: /it may have 100000/,
      details: { max: '100000' },
    });
    t.notOk((await left(target)).includes(`${NAME}.part`));
  }
});

t.test('redirects are followed, counted, and never to an address that is not secret', async (t) => {
  const { server, target, content, get } = await prepare(t);
  const to = (location: string) => ({ kind: 'redirect' as const, to: location });
  server.faults.set(NAME, [to(`/${NAME}`), to(`${server.url}/${NAME}`)]);
  await get();
  t.ok((await readFile(target)).equals(content));

  for (const foreign of ['http://example.com/x', 'ftp://127.0.0.1/x', 'file:///etc/passwd']) {
    const refused = await prepare(t);
    refused.server.faults.set(NAME, [to(foreign)]);
    await t.rejects(
      refused.get(),
      { reason: 'INVALID_MODEL', message: /not https; nothing was taken/ },
      foreign,
    );
  }
  const circle = await prepare(t);
  circle.server.faults.set(
    NAME,
    Array.from({ length: 100 }, () => to(`/${NAME}`)),
  );
  await t.rejects(circle.get(), { reason: 'DOWNLOAD_FAILED', message: /more than 5 times/ });

  for (const url of ['http://example.com/x', 'ftp://127.0.0.1/x']) {
    await t.rejects(get({ url: new URL(url) }), { reason: 'INVALID_ARGUMENT', message: /use https/ }, url);
  }
});

t.test('a token goes to its own host alone', async (t) => {
  const { server, get } = await prepare(t);
  const store = await FileServer.start(t);
  store.files.set('blob', randomBytes(10));
  server.faults.set(NAME, [{ kind: 'redirect', to: `${store.url}/blob` }]);
  await get({ token: { host: new URL(server.url).host, value: 'secret' } });
  t.equal(server.answered[0]?.authorization, 'Bearer secret');
  t.equal(store.answered.length, 1);
  t.equal(store.answered[0]?.authorization, undefined);
});

t.test('refusals and failures of the server say what to do', async (t) => {
  const statuses: readonly [status: number, count: number, reason: string, message: RegExp][] = [
    [401, 1, 'INVALID_MODEL', /HF_TOKEN/],
    [403, 1, 'INVALID_MODEL', /refuses model/],
    [400, 1, 'DOWNLOAD_FAILED', /answers 400/],
    [500, 4, 'DOWNLOAD_FAILED', /answers 500/],
    [429, 4, 'DOWNLOAD_FAILED', /answers 429/],
    [206, 4, 'DOWNLOAD_FAILED', /answers 206/],
    [416, 4, 'DOWNLOAD_FAILED', /answers 416/],
  ];
  for (const [status, count, reason, message] of statuses) {
    const { server, get } = await prepare(t);
    server.faults.set(
      NAME,
      Array.from({ length: 100 }, () => ({ kind: 'status' as const, status })),
    );
    await t.rejects(get(), { reason, message }, String(status));
    t.equal(server.answered.length, count, `${status}: ${count} attempts`);
  }
  const missing = await prepare(t);
  missing.server.files.clear();
  t.same(await missing.get(), { kind: 'missing' });

  const compressed = await prepare(t);
  compressed.server.headers = { 'content-encoding': 'gzip' };
  await t.rejects(compressed.get(), { reason: 'INVALID_MODEL', message: /compressed/ });
});

t.test('a server that is down is named, with what to do without a network', async (t) => {
  const { server, get } = await prepare(t);
  const { host } = new URL(server.url);
  await server.stop();
  await t.rejects(get(), {
    reason: 'DOWNLOAD_FAILED',
    message: new RegExp(`cannot download from ${host} \\(ECONNREFUSED\\).*model import folder`),
    details: { host },
  });
});

t.test('the proxy of the environment is used, but for hosts it excepts', async (t) => {
  const { server, target, content, get } = await prepare(t);
  const proxy = await startProxy(t);
  const http_proxy = `http://user:pass%20word@127.0.0.1:${proxy.port}`;
  await get({ env: { http_proxy } });
  t.ok((await readFile(target)).equals(content));
  t.same(proxy.tunnels, [`127.0.0.1:${server.port}`]);
  t.same(proxy.credentials, [`Basic ${Buffer.from('user:pass word').toString('base64')}`]);

  for (const no_proxy of ['*', '127.0.0.1', `example.com, 127.0.0.1:${server.port}`]) {
    await get({ env: { http_proxy, no_proxy } });
    t.equal(proxy.tunnels.length, 1, no_proxy);
  }
  await get({ env: { http_proxy, no_proxy: '127.0.0.1:1,0.0.1' } });
  t.equal(proxy.tunnels.length, 2, 'another port, part of a name');

  const dead = await FileServer.start(t);
  const { port } = dead;
  await dead.stop();
  const failed = get({ env: { HTTP_PROXY: `http://user:hidden@127.0.0.1:${port}` } });
  const error = await failed.then(
    () => undefined,
    (thrown: Error) => thrown,
  );
  t.match(error, {
    reason: 'DOWNLOAD_FAILED',
    message: new RegExp(`through the proxy 127\\.0\\.0\\.1:${port}`),
  });
  t.notMatch(error?.message, /hidden/);
  await t.rejects(get({ env: { http_proxy: 'socks5://user:hidden@x' } }), {
    reason: 'INVALID_CONFIG',
    message: 'HTTP_PROXY must be the URL of an http or https proxy',
  });
});
