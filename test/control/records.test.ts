import { cp, mkdir, open, rename, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { FormatRegistry } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import t from 'tap';
import { GatewayClient } from '../../src/cli/gateway-client.js';
import { remoteAdmin } from '../../src/cli/remote-admin.js';
import { type OperationName, operationOf } from '../../src/gateway/admin/api.js';
import type { Bundle } from '../../src/index/manifest.js';
import { TEXT_NORMALISATION } from '../../src/lifecycle/document-text.js';
import { digestPrefix } from '../../src/vocabulary.js';
import { miniLmFolder } from '../fixtures/model.js';
import { temporaryFolder } from '../fixtures/postgres.js';
import { send } from './http.js';
import { startGatewayProcess, switchyardWith } from './processes.js';
import { AUTHOR, builtBundle, builtBundles, CORPUS } from './yard.js';

/** Nobody listens there: a command that goes to the registry itself fails. */
const NO_DIRECT_WAY = { DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none' };

/** The reason for which the operation is refused. */
const refusal = (answer: Promise<unknown>): Promise<unknown> =>
  answer.then(
    () => 'OK',
    (error: { readonly reason?: unknown }) => error.reason,
  );

/** Changes one byte in the middle of a file. */
async function flip(file: string): Promise<void> {
  const handle = await open(file, 'r+');
  const at = Math.floor((await handle.stat()).size / 2);
  const byte = Buffer.alloc(1);
  await handle.read(byte, 0, 1, at);
  byte[0] = (byte[0] as number) ^ 0xff;
  await handle.write(byte, 0, 1, at);
  await handle.close();
}

t.test('commands of an operator while a gateway holds the registry', async (t) => {
  const fp16 = await miniLmFolder('fp16');
  const int8 = await miniLmFolder('int8');
  const built = await builtBundles({ v1: fp16, v2: int8 });
  const varDir = await temporaryFolder(t);
  const gateway = await startGatewayProcess(t, varDir);
  const api = remoteAdmin(new GatewayClient(gateway.admin));
  const run = (...args: string[]) =>
    switchyardWith(NO_DIRECT_WAY, varDir, ...args, '--admin-port', String(gateway.adminPort));
  const file = path.join(varDir, 'fruit.jsonl');
  await writeFile(
    file,
    ['a round red fruit', 'a long yellow fruit']
      .map((text, at) => JSON.stringify({ id: `f${at}`, text }))
      .join('\n'),
  );
  const model = fp16.manifest.fingerprint;

  await t.test('the direct way is closed, so what works went through the gateway', async (t) => {
    const direct = await switchyardWith(NO_DIRECT_WAY, varDir, 'model', 'list', '--admin-port', '1');
    t.equal(direct.code, 1);
    t.match(direct.stderr, /REGISTRY_UNAVAILABLE/);
    const elsewhere = await temporaryFolder(t);
    const wrong = await switchyardWith(
      NO_DIRECT_WAY,
      elsewhere,
      ...['model', 'import', 'minilm', '--admin-port', String(gateway.adminPort)],
    );
    t.match(wrong.stderr, /INVALID_CONFIG/, 'files that the gateway would not find are not written');
    t.match(wrong.stderr, varDir);
  });

  await t.test('a model is imported, and the gateway registers it', async (t) => {
    const imported = await run('model', 'import', 'minilm', '--json');
    t.equal(imported.code, 0, imported.stderr);
    t.match(JSON.parse(imported.stdout), { fingerprint: model, dimensions: 384 });
    t.match(await api.listModels(), [{ fingerprint: model, status: 'staging' }]);
    t.match(JSON.parse((await run('model', 'register', model, '--reason', 'again', '--json')).stdout), {
      fingerprint: model,
    });
  });

  await t.test('a corpus is built, recorded and served at once', async (t) => {
    const args = ['corpus', 'build', 'fruit', file, '--model', model, '--quantization', 'f32'];
    const first = await run(...args, '--json');
    t.equal(first.code, 0, first.stderr);
    t.match(JSON.parse(first.stdout), { corpus: 'fruit', version: 'v1', documents: 2, routed: true });
    t.match(await api.listCorpusVersions({ corpus: 'fruit' }), [{ status: 'active', failure: null }]);
    const unknown = await run('corpus', 'build', 'fruit', file, '--model', 'nobody@1', '--json');
    t.equal(unknown.code, 1);
    t.match(JSON.parse(unknown.stdout), { error: { reason: 'UNKNOWN_MODEL' } });
  });

  await t.test('a build that fails says why in the registry', async (t) => {
    const cut = { corpus: 'cut', version: 'v1' };
    const begun = { model, document_template: '{text}', text_normalisation: TEXT_NORMALISATION };
    await api.beginCorpusVersion({ ...cut, ...begun, ...AUTHOR });
    await api.failCorpusVersion({ ...cut, failure: 'TRUNCATION_LIMIT: too many', ...AUTHOR });
    t.match(await api.listCorpusVersions({ corpus: 'cut' }), [
      { status: 'building', failure: /^TRUNCATION_LIMIT/ },
    ]);
  });

  await t.test('names that would lead out of the folders are refused', async (t) => {
    const names = ['../fruit', '..', '/etc', 'mf1_', `${model}/..`, `${model}\u0000`];
    for (const fingerprint of names)
      t.equal(await refusal(api.registerModel({ fingerprint, ...AUTHOR })), 'INVALID_ARGUMENT');
    const fruit = { corpus: 'fruit', version: 'v1', digest: 'f'.repeat(64), ...AUTHOR };
    for (const wrong of [
      { version: '../v1' },
      { digest: `../${'f'.repeat(61)}` },
      { digest: 'F'.repeat(64) },
    ])
      t.equal(await refusal(api.recordBuild({ ...fruit, ...wrong })), 'INVALID_ARGUMENT');
    t.equal(await refusal(api.recordBuild(fruit)), 'UNKNOWN_BUILD');
    t.match(
      await send(`${gateway.admin}/v1/corpora/..%2ffruit/builds`, 'POST', {
        ...AUTHOR,
        version: 'v1',
        digest: fruit.digest,
      }),
      {
        status: 400,
      },
    );
  });

  await t.test('a model that is a link out of the folder, or was changed, is not registered', async (t) => {
    const other = int8.manifest.fingerprint;
    const place = path.join(varDir, 'models', other);
    t.equal(await refusal(api.registerModel({ fingerprint: other, ...AUTHOR })), 'UNKNOWN_MODEL');
    await symlink(int8.folder, place);
    t.equal(await refusal(api.registerModel({ fingerprint: other, ...AUTHOR })), 'INVALID_ARGUMENT');
    await rm(place);
    await cp(int8.folder, place, { recursive: true });
    await rename(path.join(place, 'tokenizer.json'), path.join(varDir, 'tokenizer.json'));
    await symlink(path.join(varDir, 'tokenizer.json'), path.join(place, 'tokenizer.json'));
    t.equal(await refusal(api.registerModel({ fingerprint: other, ...AUTHOR })), 'CORRUPT_MODEL');
    await rm(path.join(place, 'tokenizer.json'));
    await cp(path.join(int8.folder, 'tokenizer.json'), path.join(place, 'tokenizer.json'));
    await flip(path.join(place, 'model.onnx'));
    t.equal(await refusal(api.registerModel({ fingerprint: other, ...AUTHOR })), 'CORRUPT_MODEL');
    t.equal((await api.listModels()).length, 1, 'none of it is in the registry');
  });

  await t.test('a version becomes ready only by a bundle that verifies against its model', async (t) => {
    const begin = (version: string) =>
      api.beginCorpusVersion({
        corpus: CORPUS,
        version,
        model,
        document_template: '{text}',
        text_normalisation: TEXT_NORMALISATION,
        ...AUTHOR,
      });
    const record = ({ digest }: Bundle, version: string) =>
      api.recordBuild({ corpus: CORPUS, version, digest, ...AUTHOR });
    const placeOf = ({ digest }: Bundle, version: string) =>
      path.join(varDir, 'bundles', CORPUS, version, digestPrefix(digest));
    const statuses = async () =>
      (await api.listCorpusVersions({ corpus: CORPUS })).map(({ status }) => status);
    const own = await builtBundle(built, 'v1');
    const foreign = await builtBundle(built, 'v2');
    t.match(await begin('v1'), { status: 'building', model: /minilm/ });
    t.match(await begin('v2'), { status: 'building' });

    await cp(foreign.folder, placeOf(foreign, 'v2'), { recursive: true });
    t.equal(await refusal(record(foreign, 'v2')), 'FINGERPRINT_MISMATCH', 'of the same dimensions');
    await mkdir(path.dirname(placeOf(own, 'v1')), { recursive: true });
    await symlink(own.folder, placeOf(own, 'v1'));
    t.equal(await refusal(record(own, 'v1')), 'INVALID_ARGUMENT', 'a link out of the folder');
    await rm(placeOf(own, 'v1'));
    await cp(own.folder, placeOf(own, 'v1'), { recursive: true });
    await flip(path.join(placeOf(own, 'v1'), 'index.usearch'));
    t.equal(await refusal(record(own, 'v1')), 'CORRUPT_BUNDLE', 'a flipped byte');
    await cp(placeOf(own, 'v1'), placeOf(own, 'v2'), { recursive: true });
    t.equal(await refusal(record(own, 'v2')), 'CORRUPT_BUNDLE', "another version's");
    t.same(await statuses(), ['building', 'building']);

    await cp(own.folder, placeOf(own, 'v1'), { recursive: true });
    const recorded = await run('corpus', 'record', CORPUS, 'v1', own.digest, '--reason', 'whole', '--json');
    t.equal(recorded.code, 0, recorded.stderr);
    t.match(JSON.parse(recorded.stdout), { digest: own.digest, is_default: true });
    t.same(await statuses(), ['ready', 'building']);
  });

  await t.test('replicas and changes are listed', async (t) => {
    const gateways = JSON.parse((await run('gateway', 'list', '--json')).stdout);
    t.match(gateways, [{ alive: true, address: gateway.admin, current_revisions: { fruit: 1 } }]);
    t.match(JSON.parse((await run('gateway', 'status', '--json')).stdout), {
      registry: 'up',
      var_dir: varDir,
    });
    const metrics = await run('gateway', 'metrics');
    t.match(metrics.stdout, /^switchyard_registry_up 1$/m);
    t.match(JSON.parse((await run('gateway', 'metrics', '--json')).stdout), { text: /^# HELP / });
    await api.setModelStatus({ model, status: 'deprecated', reason: 'a better one came', actor: 'ann' });
    const changes = await run('changes', 'list', '--limit', '1');
    t.match(
      changes.stdout,
      /ann {2}model .*: a better one came\n {2}- \{"status":"active"\}\n {2}\+ \{"status":"deprecated"\}/,
    );
  });

  await t.test('each change has its audit row: who, why, before, after', async (t) => {
    const rows = async (subject: string) => (await api.listChanges({ subject })).toReversed();
    t.match(await rows(`model ${(await api.getModel({ model })).model}`), [
      { reason: 'model import', before: null, after: { status: 'staging', fingerprint: model } },
      { before: { status: 'staging' }, after: { status: 'active' } },
      { actor: 'ann', before: { status: 'active' }, after: { status: 'deprecated' } },
    ]);
    t.match(await rows('corpus_version fruit/v1'), [
      { reason: 'build of fruit/v1 from fruit.jsonl', before: null, after: { status: 'building' } },
      { reason: 'build of fruit/v1 from fruit.jsonl', before: null, after: { build: /^[0-9a-f]{64}$/ } },
    ]);
    t.match(await rows('corpus_version cut/v1'), [
      { before: null },
      { ...AUTHOR, before: { failure: null }, after: { failure: /^TRUNCATION_LIMIT/ } },
    ]);
    t.equal((await rows(`corpus_version ${CORPUS}/v2`)).length, 1, 'what was refused left none');
  });

  await t.test('every answer is what its schema says', async (t) => {
    FormatRegistry.Set('date-time', (text) => !Number.isNaN(Date.parse(text)));
    t.teardown(() => FormatRegistry.Delete('date-time'));
    const corpus = 'fruit';
    await api.addDesiredTarget({ corpus, version: 'v1', tier: 'ssd', ...AUTHOR });
    await api.addConsumer({ corpus, version: 'v1', service_name: 's', team_owner: 't', ...AUTHOR });
    const answers: readonly (readonly [OperationName, unknown])[] = [
      ['listRoutes', await api.listRoutes()],
      ['getRoute', await api.getRoute({ corpus })],
      ['listRouteRevisions', await api.listRouteRevisions({ corpus })],
      ['listDesiredTargets', await api.listDesiredTargets({ corpus })],
      ['getComparison', await api.getComparison({ corpus })],
      ['listModels', await api.listModels()],
      ['getModel', await api.getModel({ model })],
      ['listCorpusVersions', await api.listCorpusVersions()],
      ['listBuilds', await api.listBuilds({ corpus })],
      ['listConsumers', await api.listConsumers({ corpus })],
      ['listGateways', await api.listGateways()],
      ['listChanges', await api.listChanges({ limit: 5 })],
      ['getStorage', await api.getStorage()],
    ];
    for (const [name, answer] of answers) {
      const { output } = operationOf(name);
      if (output === null) throw new TypeError(`${name} answers nothing`);
      t.same([...Value.Errors(output, answer)], [], name);
      if (Array.isArray(answer)) t.ok(answer.length > 0, `${name} had something to show`);
    }
  });

  await t.test('the gateway ends cleanly', async (t) => {
    t.equal(await gateway.stop(), 0);
  });
});
