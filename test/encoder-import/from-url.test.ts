import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import { redirectTarget } from '../../src/encoder/import/download/http-client.js';
import { importFromUrl, type UrlImport } from '../../src/encoder/import/from-url.js';
import {
  decodeOnnx,
  EXTERNAL_DATA,
  encodeOnnx,
  type TensorProto,
} from '../../src/encoder/import/onnx-schema.js';
import type { ModelFolder } from '../../src/encoder/manifest.js';
import { temporaryFolder } from '../fixtures/folders.js';
import { miniLmFolder } from '../fixtures/model.js';
import { tinySentenceEncoder } from '../fixtures/tiny-graph.js';
import { FileServer, sha256, startProxy } from './file-server.js';

const miniLm = await miniLmFolder('int8');
const tokenizer = await readFile(path.join(miniLm.folder, 'tokenizer.json'));
const TINY = Buffer.from(tinySentenceEncoder());
const COMMIT = '0123456789abcdef0123456789abcdef01234567';

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const CONFIGS: Readonly<Record<string, Buffer>> = {
  'modules.json': json([
    { path: '', type: 'sentence_transformers.models.Transformer' },
    { path: 'my_pooling', type: 'sentence_transformers.models.Pooling' },
    { path: '2_Normalize', type: 'sentence_transformers.models.Normalize' },
  ]),
  'my_pooling/config.json': json({ pooling_mode_mean_tokens: true }),
  'sentence_bert_config.json': json({ max_seq_length: 256 }),
};

interface Prepared {
  readonly server: FileServer;
  readonly root: string;
  readonly importIt: (options?: Partial<UrlImport>) => Promise<ModelFolder>;
}

/** A server with a model below `base`. */
async function prepare(t: Test, base: string, files: Readonly<Record<string, Buffer>>): Promise<Prepared> {
  const server = await FileServer.start(t);
  for (const [name, content] of Object.entries({ ...CONFIGS, 'tokenizer.json': tokenizer, ...files })) {
    server.files.set(base + name, content);
  }
  const root = await temporaryFolder(t);
  const location = { url: `${server.url}/${base}` };
  return {
    server,
    root,
    importIt: (options = {}) =>
      importFromUrl({
        location,
        modelsFolder: path.join(root, 'models'),
        cacheFolder: path.join(root, 'cache'),
        name: 'mine',
        env: {},
        retryDelayMs: 1,
        ...options,
      }),
  };
}

t.test('a repository in the layout of Hugging Face is imported, and is the model it is', async (t) => {
  const onnx = await readFile(path.join(miniLm.folder, 'model.onnx'));
  const { server, root, importIt } = await prepare(t, 'me/minilm/resolve/refs%2Fpr%2F1/', {
    'onnx/model.onnx': onnx,
  });
  server.headers = { 'x-repo-commit': COMMIT };
  server.etagOf = (content) => `"${sha256(content)}"`;
  const received = new Map<string, number>();
  const stages = new Set<string>();
  const model = await importIt({
    location: { repository: 'me/minilm', revision: 'refs/pr/1', endpoint: server.url },
    sha256: { 'onnx/model.onnx': sha256(onnx) },
    env: { HF_TOKEN: 'secret' },
    onDownload: (file, bytes) => received.set(file, bytes),
    onProgress: (stage) => stages.add(stage),
  });
  t.equal(model.manifest.fingerprint, miniLm.manifest.fingerprint, 'the same vector space has one identity');
  t.match(model.manifest, {
    name: 'mine',
    version: '1-int8',
    source: `${server.url}/me/minilm@${COMMIT} onnx/model.onnx`,
    max_tokens: 256,
    pooling: 'mean',
  });
  t.equal(received.get('onnx/model.onnx'), onnx.length);
  t.same([...stages], ['convert', 'check', 'publish']);
  t.same(await readdir(path.join(root, 'cache')), [], 'nothing is left of the download');
  t.ok(server.answered.every(({ authorization }) => authorization === 'Bearer secret'));
});

t.test('any address with the files below it is imported, with weights in files of their own', async (t) => {
  const { onnx, weights } = splitExternalData(TINY, 'model.onnx_data');
  const { server, root, importIt } = await prepare(t, 'some/where/', {
    'model.onnx': onnx,
    'model.onnx_data': weights,
  });
  server.faults.set('some/where/model.onnx_data', [{ kind: 'cut', afterBytes: 300_000 }]);
  const model = await importIt({ env: { HF_TOKEN: 'secret' }, maxTokens: 64 });
  t.match(model.manifest, { source: `${server.url}/some/where/ model.onnx`, max_tokens: 64 });
  t.ok(model.manifest.files['model.onnx_data']);
  t.ok(
    server.bytesServed < tokenizer.length + weights.length + onnx.length + 400_000,
    'the cut transfer went on',
  );
  t.ok(
    server.answered.every(({ authorization }) => authorization === undefined),
    'no token for any address',
  );
  t.same(await readdir(path.join(root, 'cache')), []);
});

t.test('an import that fails keeps its downloads for the next attempt', async (t) => {
  const { server, importIt } = await prepare(t, 'm/', { 'onnx/model.onnx': TINY });
  server.files.delete('m/sentence_bert_config.json');
  await t.rejects(importIt(), { reason: 'INVALID_MODEL', message: /max_tokens is not known/ });
  const served = server.bytesServed;
  await importIt({ maxTokens: 32 });
  t.equal(server.bytesServed, served, 'not a byte is sent again');
});

t.test('a required file that is not there is named, an optional one is not missed', async (t) => {
  const { server, importIt } = await prepare(t, 'm/', { 'model.onnx': TINY });
  await t.rejects(importIt({ onnxFile: 'onnx/other.onnx' }), {
    reason: 'INVALID_MODEL',
    message: /has no onnx\/other\.onnx/,
  });
  for (const name of Object.keys(CONFIGS)) server.files.delete(`m/${name}`);
  await importIt({ maxTokens: 32 });
  server.files.delete('m/tokenizer.json');
  await t.rejects(importIt({ maxTokens: 16 }), {
    reason: 'INVALID_MODEL',
    message: /has no tokenizer\.json/,
  });

  const empty = await prepare(t, 'm/', {});
  await t.rejects(empty.importIt(), {
    reason: 'INVALID_MODEL',
    message: /has no onnx\/model\.onnx and no model\.onnx: name the ONNX file/,
  });
  const { onnx } = splitExternalData(TINY, 'weights.bin');
  const split = await prepare(t, 'm/', { 'model.onnx': onnx });
  await t.rejects(split.importIt(), { reason: 'INVALID_MODEL', message: /has no weights\.bin/ });
});

t.test('what cannot be an address, a file or a checksum is refused before anything is asked', async (t) => {
  const { server, importIt } = await prepare(t, 'm/', { 'model.onnx': TINY });
  const endpoint = server.url;
  const cases: { name: string; options: Partial<UrlImport>; message: RegExp }[] = [
    { name: 'no URL', options: { location: { url: 'somewhere' } }, message: /url must be an https URL/ },
    { name: 'http elsewhere', options: { location: { url: 'http://example.com/m' } }, message: /use https/ },
    {
      name: 'a password',
      options: { location: { url: 'https://me:hidden@example.com/m' } },
      message: /^url must have no user, password, query or fragment$/,
    },
    {
      name: 'a query',
      options: { location: { url: 'https://example.com/m?x=1' } },
      message: /no user, password, query/,
    },
    {
      name: 'a path for a repository',
      options: { location: { repository: '../x', endpoint } },
      message: /organisation\/name/,
    },
    {
      name: 'a path for a revision',
      options: { location: { repository: 'a/b', revision: 'x/../../y', endpoint } },
      message: /branch, tag or commit/,
    },
    { name: 'a path for a file', options: { onnxFile: '../model.onnx' }, message: /path of plain names/ },
    { name: 'no SHA-256', options: { sha256: { 'model.onnx': 'abc' } }, message: /64 hexadecimal digits/ },
  ];
  for (const { name, options, message } of cases) {
    await t.rejects(importIt(options), { reason: 'INVALID_ARGUMENT', message }, name);
  }
  t.notOk(server.answered.some(({ path }) => path.includes('..')));
  await t.rejects(importIt({ sha256: { 'other.onnx': 'a'.repeat(64) } }), {
    reason: 'INVALID_ARGUMENT',
    message: /other\.onnx, which this model does not need/,
  });
  const large = await prepare(t, 'm/', { 'model.onnx': TINY });
  await t.rejects(large.importIt({ weightsBytesMax: 1000 }), {
    reason: 'INVALID_MODEL',
    message: /it may have 1000/,
  });
});

t.test('a branch that moves during the download is noticed', async (t) => {
  const { server, importIt } = await prepare(t, 'me/m/resolve/main/', { 'model.onnx': TINY });
  server.headers = { 'x-repo-commit': COMMIT };
  const act = (): void => {
    server.headers = { 'x-repo-commit': 'f'.repeat(40) };
  };
  server.faults.set('me/m/resolve/main/model.onnx', [{ kind: 'before', act }]);
  const location = { repository: 'me/m', endpoint: server.url };
  await t.rejects(importIt({ location }), { reason: 'DOWNLOAD_FAILED', message: /revision moved/ });
  t.match((await importIt({ location })).manifest.source, /@ffff/);
});

t.test('two downloads of the same files do not mix', async (t) => {
  const { importIt } = await prepare(t, 'm/', { 'model.onnx': TINY });
  const both = await Promise.allSettled([importIt(), importIt()]);
  t.same(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
  const failed = both.find((outcome) => outcome.status === 'rejected');
  t.match(failed?.reason, { reason: 'STATUS_CONFLICT', message: /being downloaded already/ });
});

t.test('a whole import goes through the proxy', async (t) => {
  const { server, importIt } = await prepare(t, 'm/', { 'model.onnx': TINY });
  const proxy = await startProxy(t);
  await importIt({ env: { HTTP_PROXY: `http://127.0.0.1:${proxy.port}` } });
  t.ok(proxy.tunnels.length > 0);
  t.same(new Set(proxy.tunnels), new Set([`127.0.0.1:${server.port}`]));
});

t.test('https never leads to http, not even to this machine', (t) => {
  const from = new URL('https://example.com/a/b');
  t.throws(() => redirectTarget(from, 'http://127.0.0.1/x'), {
    reason: 'INVALID_MODEL',
    message: /not https/,
  });
  t.throws(() => redirectTarget(from, 'http://example.com/x'), {
    reason: 'INVALID_MODEL',
    message: /not https/,
  });
  t.throws(() => redirectTarget(from, undefined), { reason: 'INVALID_MODEL', message: /without an address/ });
  t.throws(() => redirectTarget(from, 'https://'), {
    reason: 'INVALID_MODEL',
    message: /without an address/,
  });
  t.equal(redirectTarget(from, '../c').href, 'https://example.com/c');
  t.equal(redirectTarget(from, 'https://cdn.example.com/x').host, 'cdn.example.com');
  t.end();
});

/** Every large weight of an ONNX file in a file of its own. */
function splitExternalData(bytes: Buffer, location: string): { onnx: Buffer; weights: Buffer } {
  const model = decodeOnnx(bytes);
  const chunks: Uint8Array[] = [];
  let offset = 0;
  const initializer = (model.graph?.initializer ?? []).map((tensor): TensorProto => {
    const { rawData, ...rest } = tensor;
    if (!rawData || rawData.length < 1024) return tensor;
    const entries = { location, offset: String(offset), length: String(rawData.length) };
    const externalData = Object.entries(entries).map(([key, value]) => ({ key, value }));
    chunks.push(rawData);
    offset += rawData.length;
    return { ...rest, externalData, dataLocation: EXTERNAL_DATA };
  });
  const onnx = Buffer.from(encodeOnnx({ ...model, graph: { ...model.graph, initializer } }));
  return { onnx, weights: Buffer.concat(chunks) };
}
