import { readFileSync } from 'node:fs';
import { chmod, cp, rm, truncate } from 'node:fs/promises';
import path from 'node:path';
import { Metadata } from '@grpc/grpc-js';
import t from 'tap';
import { KeyOperations } from '../../src/gateway/auth/key-operations.js';
import { loadKeySecret } from '../../src/gateway/auth/key-secret.js';
import { modelRef } from '../../src/vocabulary.js';
import { startGatewayProcess } from '../control/processes.js';
import { AUTHOR, builtBundle, CORPUS, makeYard, mirrorToV2, until } from '../control/yard.js';
import { shortModelsFolder } from '../fixtures/model.js';
import { descendantsOf } from '../fixtures/processes.js';
import { clientsOf } from '../gateway/harness.js';
import { bearer } from './keys.js';

const MARKER = 'zebra-marker-5813';
const ENCODER = 'encoder/child-main';

const commandOf = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
};

/**
 * Everything that a gateway's process writes, at its most talkative: its own lines and what its children say on their
 * stderr, as they serve, as they are killed in the middle of a text, and as they find their files broken.
 */
t.test('the whole log of a gateway has neither a text nor a key', async (t) => {
  const yard = await makeYard(t);
  const config = yard.config();
  const keys = new KeyOperations(
    () => yard.registry,
    () => loadKeySecret(config.auth),
  );
  const model = modelRef(yard.fp16.manifest);
  const { key } = await keys.createKey({ name: 'shop', role: 'search', ...AUTHOR });
  await mirrorToV2(yard);
  // Copies of its own: they are broken below.
  const models = path.join(yard.varDir, 'models');
  await rm(models);
  await cp(shortModelsFolder(), models, { recursive: true, dereference: true });

  const gateway = await startGatewayProcess(t, yard.varDir, {
    SWITCHYARD_LISTEN__HTTP__AUTH: 'keys',
    SWITCHYARD_LISTEN__GRPC__AUTH: 'keys',
    SWITCHYARD_LOG__LEVEL: 'debug',
  });
  const ask = async (
    text: string,
    more: object = {},
    headers: Readonly<Record<string, string>> = bearer(key),
  ): Promise<string> => {
    const response = await fetch(`${gateway.http}/v1/search`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ corpus: CORPUS, text: `${MARKER} ${text}`, affinity_key: MARKER, ...more }),
    });
    const body = (await response.json()) as { readonly reason?: string };
    return response.ok ? 'OK' : String(body.reason);
  };
  const grpc = clientsOf(gateway.grpc, gateway.http);
  t.teardown(() => grpc.client.close());
  const askGrpc = async (method: string, message: object, token: string | null = key): Promise<string> => {
    const metadata = new Metadata();
    if (token !== null) metadata.set('authorization', `Bearer ${token}`);
    return (await grpc.call(method, message, {}, metadata)).reason;
  };
  const searches = (what: string) =>
    Promise.all(
      Array.from({ length: 16 }, (_, at) => ask(`${what} ${at} ${'and a long way to go '.repeat(40)}`)),
    );
  const metric = async (series: string): Promise<number> => {
    const text = await (await fetch(`${gateway.admin}/metrics`)).text();
    return Number(
      text
        .split('\n')
        .find((line) => line.startsWith(series))
        ?.split(' ')
        .at(-1) ?? 0,
    );
  };
  let asked = 0;
  await until('a mirror reached the shadow', async () => {
    t.equal(await ask(`number ${asked++}`), 'OK');
    return (await metric('switchyard_mirrors_total{corpus="docs",version="v2",outcome="compared"')) > 0;
  });
  t.same(new Set(await searches('served')), new Set(['OK']));
  t.equal(await ask('with an unknown field', { unknown: MARKER }), 'UNKNOWN_FIELD');
  t.equal(await ask('without a key', {}, {}), 'UNAUTHENTICATED');
  const cut = key.slice(0, -1);
  t.equal(await ask('with a cut key', {}, bearer(cut)), 'UNAUTHENTICATED');
  const search = { corpus: CORPUS, text: `${MARKER} over gRPC`, affinity_key: MARKER };
  t.equal(await askGrpc('Search', search), 'OK');
  t.equal(await askGrpc('BatchSearch', { requests: [search, { ...search, model: MARKER }] }), 'OK');
  t.equal(await askGrpc('Embed', { model, text: MARKER, input_role: 'QUERY' }), 'OK');
  t.equal(await askGrpc('Search', { ...search, corpus: MARKER }), 'UNKNOWN_CORPUS');
  t.equal(await askGrpc('Search', { ...search, top_k: 1_000_000 }), 'INVALID_ARGUMENT');
  t.equal(await askGrpc('Search', search, null), 'UNAUTHENTICATED');
  t.equal(await askGrpc('Search', search, cut), 'UNAUTHENTICATED');

  const index = path.join(
    (await builtBundle(path.join(yard.varDir, 'bundles'), 'v2')).folder,
    'index.usearch',
  );
  await chmod(index, 0o644);
  await truncate(index, 0);
  // The search that meets it is a crash in native code; the process after it finds the file broken, and says so.
  await until('the shadow finds its index broken', async () => {
    await searches('mirrored');
    return /index[^\n]*CORRUPT_BUNDLE/.test(gateway.said());
  });

  const { folder } = yard.fp16;
  const onnx = path.join(models, path.basename(folder), 'model.onnx');
  await chmod(onnx, 0o644);
  await truncate(onnx, 1_000);
  const encoders = descendantsOf(gateway.pid).filter((one) => commandOf(one).includes(ENCODER));
  t.ok(encoders.length > 0);
  // Stopped before they are asked, so that they have the texts and answer none.
  for (const pid of encoders) process.kill(pid, 'SIGSTOP');
  const underWay = searches('under way');
  const waiting = `switchyard_encoder_queue_length{model="${model}",lane="live"}`;
  await until('the encoder has texts', async () => (await metric(waiting)) > 0);
  for (const pid of encoders) process.kill(pid, 'SIGKILL');
  t.notOk((await underWay).includes('OK'), 'it was killed in the middle of them');
  await until('the encoder finds its model broken', async () => {
    await ask('refused');
    return /encoder [^\n]*(CORRUPT_MODEL|model\.onnx)/.test(gateway.said());
  });

  await gateway.stop();
  const said = gateway.said();
  t.ok(said.split('\n').length > 20, `${said.split('\n').length} lines`);
  t.notOk(said.includes(MARKER), 'no line has the text');
  // Half of it, so that the cut key is found as well.
  t.notOk(said.includes(key.slice(16, 48)), 'nor the part of the key that nobody may know');
});
