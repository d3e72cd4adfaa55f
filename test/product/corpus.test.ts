import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { cosineOfRows } from '../../src/encoder/probes.js';
import { ModelSession } from '../../src/encoder/session.js';
import { wordNetGlosses } from '../fixtures/glosses.js';
import { miniLmFolder } from '../fixtures/model.js';
import { descendantsOf, processesMentioning, stillRunning } from '../fixtures/processes.js';
import { ask, BIN, type Finished, runSwitchyard, serve, spawnNode } from '../fixtures/product.js';

/** Loads and runs in half the time of fp16, which quickstart.test.ts has. */
const MODEL = 'all-minilm-l6-v2@1-int8';
const varDir = mkdtempSync(path.join(tmpdir(), 'switchyard-corpus-'));
t.teardown(() => rmSync(varDir, { recursive: true, force: true }));

/** Port 1 is nobody's: the CLI must not find a gateway that happens to run on this machine. */
const common = ['--var-dir', varDir, '--admin-port', '1'];
const run = (...args: string[]): Promise<Finished> => runSwitchyard([...common, ...args]);

function jsonl(name: string, documents: readonly object[]): string {
  const file = path.join(varDir, name);
  writeFileSync(file, documents.map((document) => `${JSON.stringify(document)}\n`).join(''));
  return file;
}

const FRUIT = [
  { id: 'apple', title: 'Apple', text: 'a round fruit with red or green skin', attributes: { tree: true } },
  { id: 'banana', title: 'Banana', text: 'a long curved yellow fruit' },
  { id: 'anvil', title: 'Anvil', text: 'a heavy iron block on which a smith hammers metal' },
];

t.test('a model is imported and listed', async (t) => {
  const imported = await run('model', 'import', 'minilm', '--precision', 'int8');
  t.equal(imported.code, 0, imported.stderr);
  t.match(imported.stdout, /fingerprint mf1_[0-9a-f]{32}, 384 dimensions, cosine, int8/);
  const listed = JSON.parse((await run('model', 'list', '--json')).stdout) as {
    model: string;
    provider: string;
  }[];
  t.match(listed, [{ model: MODEL, provider: 'not loaded' }]);
});

t.test('documents are embedded, published, listed and found with what was stored', async (t) => {
  const built = await run('corpus', 'build', 'fruit', jsonl('fruit.jsonl', FRUIT), '--model', MODEL);
  t.equal(built.code, 0, built.stderr);
  t.match(built.stdout, /fruit\/v1 is ready: build [0-9a-f]{16}, 3 documents in 3 rows/);
  t.match(built.stdout, /now serves all of it/);
  t.match((await run('corpus', 'list')).stdout, /fruit +v1 +active +all-minilm-l6-v2@1-int8 +3/);
  const gateway = await serve(varDir);
  t.teardown(() => gateway.stop());
  const { body } = await ask(gateway.http, {
    corpus: 'fruit',
    text: 'blacksmith tool',
    top_k: 2,
    with_document: true,
  });
  t.equal(body.hits[0]?.id, 'anvil');
  const embed = await run('embed', MODEL, 'blacksmith tool', '--url', gateway.http);
  t.equal(embed.code, 0, embed.stderr);
  t.match(
    embed.stdout,
    /^\[(-?0\.\d{5}, ){6}…\] {2}384 numbers.*\nmodel \S+@1-int8, fingerprint mf1_.*, 4 tokens/,
  );
  const asJson = JSON.parse((await run('embed', MODEL, 'x', '--json', '--url', gateway.http)).stdout) as {
    vector: number[];
  };
  t.equal(asJson.vector.length, 384);
  const apple = await ask(gateway.http, {
    corpus: 'fruit',
    text: 'red apple',
    top_k: 1,
    with_document: true,
  });
  t.match(apple.body.hits[0], { id: 'apple', document: { title: 'Apple', attributes: { tree: true } } });
  const models = JSON.parse(
    (
      await runSwitchyard([
        '--var-dir',
        varDir,
        '--admin-port',
        new URL(gateway.admin).port,
        'model',
        'list',
        '--json',
      ])
    ).stdout,
  ) as object[];
  t.match(
    models,
    [{ model: MODEL, provider: 'cpu' }],
    'a running gateway says which provider it really uses',
  );
  t.equal(await gateway.stop(), 0);
});

t.test('a version gets builds in other formats from its own vectors, and they are served', async (t) => {
  const glosses = (await wordNetGlosses(300)).map((text, at) => ({ id: `g${at}`, title: `t${at}`, text }));
  const first = await run('corpus', 'build', 'formats', jsonl('formats.jsonl', glosses), '--model', MODEL);
  t.equal(first.code, 0, first.stderr);
  const builds = [
    ['--quantization', 'i8'],
    ['--dimensions', '96', '--rescore-factor', '12'],
  ];
  const digests: string[] = [];
  for (const format of builds) {
    const built = await run('corpus', 'build', 'formats', '--from-version', 'v1', ...format, '--json');
    t.equal(built.code, 0, built.stderr);
    digests.push((JSON.parse(built.stdout) as { build: string }).build);
  }
  t.match(
    (await run('corpus', 'builds', 'formats')).stdout,
    /yes +bf16 +384 +300[\s\S]*no +i8 +384 +300[\s\S]*no +bf16 +96 +300/,
  );
  const session = await ModelSession.open(await miniLmFolder('int8'), { provider: 'cpu', threads: 1 });
  t.teardown(() => session.release());
  const texts = glosses.map(({ text }, at) => `t${at}\n${text}`);
  const rows = await session.encode(texts, 'document');
  const gateway = await serve(varDir);
  t.teardown(() => gateway.stop());
  for (const [at, build] of digests.entries()) {
    const set = await runSwitchyard([
      ...['--var-dir', varDir, '--admin-port', new URL(gateway.admin).port],
      ...['route', 'set', 'formats', `v1:${build.slice(0, 16)}=10000`, '--preload', '--reason', 'format'],
    ]);
    t.equal(set.code, 0, set.stderr);
    for (const text of ['a large wild cat']) {
      const { body } = await ask(gateway.http, { corpus: 'formats', text, top_k: 5, with_document: true });
      const { values } = await session.encode([text], 'query');
      t.equal(body.served_by.build, build.slice(0, 16));
      for (const hit of body.hits) {
        const row = Number(hit.id.slice(1));
        const score = cosineOfRows(values, rows.values.subarray(row * 384), 0, 384);
        t.ok(Math.abs(hit.score - score) < 1e-4, `${builds[at]} ${hit.id}: ${hit.score}, exactly ${score}`);
        t.equal(hit.document?.title, `t${row}`);
      }
    }
  }
  t.equal(await gateway.stop(), 0);
});

t.test('formats are measured on a version, and the recommendation is a command that works', async (t) => {
  const measured = await run('corpus', 'tune', 'formats/v1', '--formats', 'bf16,i8', '--expansions', '64');
  t.equal(measured.code, 0, measured.stderr);
  t.match(measured.stdout, /bf16@384 +no +64 +[01]\.\d{4}[\s\S]*i8@384 +yes +64/);
  const command = /fastest: .*\n +(.*corpus build formats --from-version v1 --quantization (bf16|i8).*)/.exec(
    measured.stdout,
  )?.[1];
  t.match(command, /--expansion-search 64 --var-dir/);
  t.match((await run('corpus', 'tune', 'formats')).stderr, /name a corpus version like docs\/v1/);
  t.match((await run('corpus', 'tune', 'formats/v1', '--formats', 'i9')).stderr, /i9 is no format/);
});

t.test('a long document is cut into chunks, and the hit names the chunk', async (t) => {
  const filler = 'The weather was mild and nothing else happened on that day. '.repeat(12);
  const text = `${filler} A volcano erupted and covered the town with ash and lava. ${filler}`;
  const file = jsonl('long.jsonl', [{ id: 'diary', text }, ...FRUIT]);
  const args = [
    'corpus',
    'build',
    'diaries',
    file,
    '--model',
    MODEL,
    '--chunk-tokens',
    '40',
    '--chunk-overlap',
    '8',
  ];
  const built = await run(...args);
  t.equal(built.code, 0, built.stderr);
  const gateway = await serve(varDir);
  t.teardown(() => gateway.stop());
  const { body } = await ask(gateway.http, { corpus: 'diaries', text: 'volcanic eruption', top_k: 3 });
  t.equal(body.hits[0]?.id, 'diary');
  t.ok((body.hits[0]?.chunk ?? 0) > 0, `chunk ${body.hits[0]?.chunk}`);
  t.equal(new Set(body.hits.map(({ id }) => id)).size, 3, 'one hit a document');
  t.equal(await gateway.stop(), 0);
});

t.test('more texts cut at max tokens than allowed fail the build, and leave nothing', async (t) => {
  const file = jsonl('cut.jsonl', [{ id: 'long', text: 'word '.repeat(400) }, ...FRUIT]);
  const built = await run('corpus', 'build', 'cut', file, '--model', MODEL);
  t.equal(built.code, 1);
  t.match(built.stderr, /TRUNCATION_LIMIT/);
  t.same(bundlesOf('cut', 'v1'), []);
  const [version] = (
    JSON.parse((await run('corpus', 'list', '--json')).stdout) as {
      corpus: string;
      failure: string | null;
    }[]
  ).filter(({ corpus }) => corpus === 'cut');
  t.match(version?.failure, /^TRUNCATION_LIMIT/, 'the version says why it has no build');
});

t.test('ready vectors are believed only when a sample of their texts gives them again', async (t) => {
  const session = await ModelSession.open(await miniLmFolder('int8'), { provider: 'cpu', threads: 1 });
  t.teardown(() => session.release());
  const texts = await wordNetGlosses(80);
  const { values } = await session.encode(texts, 'document');
  const documents = texts.map((text, at) => ({
    id: `g${at}`,
    text,
    vector: [...values.slice(at * 384, (at + 1) * 384)],
  }));
  const good = await run('corpus', 'build', 'ready', jsonl('ready.jsonl', documents), '--model', MODEL);
  t.equal(good.code, 0, good.stderr);

  const shifted = documents.map((document, at) => ({
    ...document,
    vector: documents[(at + 1) % 80]?.vector,
  }));
  const bad = await run('corpus', 'build', 'shifted', jsonl('shifted.jsonl', shifted), '--model', MODEL);
  t.equal(bad.code, 1);
  t.match(bad.stderr, /FINGERPRINT_MISMATCH/);
  t.match(bad.stderr, /cosine -?0\.\d+ .*0\.999 is needed/);
  t.same(bundlesOf('shifted', 'v1'), []);

  const short = documents.map(({ vector, ...rest }) => ({ ...rest, vector: vector.slice(1) }));
  const wrongLength = await run('corpus', 'build', 'short', jsonl('short.jsonl', short), '--model', MODEL);
  t.match(wrongLength.stderr, /383 numbers.*DIMENSION_MISMATCH/s);
});

t.test('what a person gets wrong is answered with what to do', async (t) => {
  const file = jsonl('one.jsonl', FRUIT);
  const cases: [string[], number, RegExp][] = [
    [['corpus', 'build', 'x', file], 1, /name it with --model/],
    [['corpus', 'build', 'x'], 1, /--from-version <version> to add a build/],
    [['corpus', 'build', 'fruit', file, '--from-version', 'v1'], 1, /a file to embed or --from-version/],
    [['corpus', 'build', 'fruit', '--from-version', 'v9'], 1, /UNKNOWN_CORPUS_VERSION/],
    [
      ['corpus', 'build', 'fruit', '--from-version', 'v1', '--rescore-factor', '4'],
      1,
      /bf16 with all dimensions is not rescored/,
    ],
    [['corpus', 'build', 'x', file, '--model', 'nobody@1'], 1, /UNKNOWN_MODEL/],
    [['corpus', 'build', 'X!', file, '--model', MODEL], 1, /INVALID_ARGUMENT/],
    [
      ['corpus', 'build', 'x', file, '--model', MODEL, '--quantization', 'f8'],
      2,
      /must be one of f32, f16, bf16/,
    ],
    [['corpus', 'build', 'x', path.join(varDir, 'absent.jsonl'), '--model', MODEL], 1, /does not exist/],
    [['corpus', 'build', 'x', jsonl('twice.jsonl', [...FRUIT, ...FRUIT]), '--model', MODEL], 1, /apple/],
    [['corpus', 'build', 'x', jsonl('none.jsonl', []), '--model', MODEL], 1, /holds no document/],
    [['search', 'fruit', 'x', '--url', 'http://127.0.0.1:1'], 1, /no gateway answers.*switchyard serve/],
    [['serach'], 2, /unknown command 'serach'/],
  ];
  for (const [args, code, message] of cases) {
    const result = await run(...args);
    t.equal(result.code, code, args.join(' '));
    t.match(result.stderr, message);
    t.notMatch(result.stderr, /\n\s+at /, 'no stack trace');
  }
});

t.test('kill -9 during a build leaves nothing that opens, and the next build cleans up', async (t) => {
  const texts = await wordNetGlosses(4000, 1);
  const documents = texts.map((text, at) => ({ id: `g${at}`, text }));
  const file = jsonl('killed.jsonl', documents);
  const args = [...common, 'corpus', 'build', 'killed', file, '--model', MODEL];
  const child = spawnNode(BIN, args);
  child.stderr?.resume();
  const closed = once(child, 'close');
  await untilWork(child, path.join(varDir, 'bundles', 'killed', 'v1'));
  const children = descendantsOf(child.pid as number);
  child.kill('SIGKILL');
  await closed;
  t.same(bundlesOf('killed', 'v1'), [], 'nothing published');
  t.ok(readdirSync(path.join(varDir, 'bundles', 'killed', 'v1')).some((name) => name.startsWith('.')));
  const listed = JSON.parse((await run('corpus', 'list', '--json')).stdout) as {
    corpus: string;
    status: string;
  }[];
  t.equal(listed.find(({ corpus }) => corpus === 'killed')?.status, 'building');

  const again = await run('corpus', 'build', 'killed', jsonl('small.jsonl', FRUIT), '--model', MODEL);
  t.equal(again.code, 0, again.stderr);
  t.equal(bundlesOf('killed', 'v1').length, 1);
  t.notOk(readdirSync(path.join(varDir, 'bundles', 'killed', 'v1')).some((name) => name.startsWith('.tmp-')));
  t.same(stillRunning(children), [], 'the encoder of the killed build ended by itself');
});

t.test('Ctrl-C during a build ends it in words and publishes nothing', async (t) => {
  const file = path.join(varDir, 'killed.jsonl');
  const child = spawnNode(BIN, [...common, 'corpus', 'build', 'interrupted', file, '--model', MODEL]);
  let stderr = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString('utf8');
  });
  const closed = once(child, 'close');
  await untilWork(child, path.join(varDir, 'bundles', 'interrupted', 'v1'));
  child.kill('SIGINT');
  t.equal(((await closed) as [number])[0], 1);
  t.match(stderr, /interrupted; nothing was published/);
  t.same(bundlesOf('interrupted', 'v1'), []);
});

t.test('a damaged bundle is not served, is named, and the other corpora are', async (t) => {
  const [build] = bundlesOf('fruit', 'v1');
  const file = path.join(varDir, 'bundles', 'fruit', 'v1', build as string, 'index.usearch');
  const bytes = readFileSync(file);
  const at = Math.floor(bytes.length * 0.7);
  bytes[at] = (bytes[at] as number) ^ 0x10;
  writeFileSync(file, bytes);

  const doctor = await run('doctor');
  t.equal(doctor.code, 1);
  t.match(doctor.stdout, /FAIL +bundle fruit\/v1 .*index\.usearch/);
  t.match(doctor.stdout, /ok +bundle diaries\/v1/);

  const gateway = await serve(varDir);
  t.teardown(() => gateway.stop());
  const refused = await ask(gateway.http, { corpus: 'fruit', text: 'apple' });
  t.ok(refused.status >= 500, `status ${refused.status} ${refused.body.reason}`);
  t.equal((await ask(gateway.http, { corpus: 'diaries', text: 'apple' })).status, 200);
  const ready = await fetch(`${gateway.http}/readyz`);
  t.equal(ready.status, 503);
  t.match(await ready.text(), /index\.usearch/);
  t.equal(await gateway.stop(), 0);
});

t.test('a routed build that is not there is found by the doctor', async (t) => {
  const [build] = bundlesOf('diaries', 'v1');
  const folder = path.join(varDir, 'bundles', 'diaries', 'v1', build as string);
  renameSync(folder, `${folder}.aside`);
  const doctor = await run('doctor');
  renameSync(`${folder}.aside`, folder);
  t.equal(doctor.code, 1);
  t.match(
    doctor.stdout,
    /FAIL +route diaries +build [0-9a-f]{16} of v1 is routed, and .* is not there\n +→ copy it/,
  );
});

t.test('an encoder that is killed comes back by itself', async (t) => {
  const gateway = await serve(varDir);
  t.teardown(() => gateway.stop());
  const encoder = descendantsOf(gateway.child.pid as number).find((pid) =>
    processesMentioning('child-main').some((line) => line.startsWith(`${pid}:`)),
  );
  t.ok(encoder, 'the encoder process');
  process.kill(encoder as number, 'SIGKILL');
  const reasons = new Set<string>();
  for (let attempt = 0; attempt < 300; attempt++) {
    const { status, body } = await ask(gateway.http, { corpus: 'diaries', text: `apple ${attempt}` });
    if (status === 200) {
      t.equal(body.hits[0]?.id, 'apple');
      break;
    }
    reasons.add(body.reason ?? 'none');
    await sleep(100);
  }
  t.same(
    [...reasons].filter((reason) => reason !== 'ENCODER_UNAVAILABLE'),
    [],
    'only a retryable error on the way',
  );
  t.equal(await gateway.stop(), 0);
  t.same(processesMentioning(varDir), []);
});

function bundlesOf(corpus: string, version: string): string[] {
  const folder = path.join(varDir, 'bundles', corpus, version);
  return existsSync(folder) ? readdirSync(folder).filter((name) => /^[0-9a-f]{16}$/.test(name)) : [];
}

/** Waits until the build has begun to write: its checkpoints or its bundle. */
async function untilWork(child: ChildProcess, folder: string): Promise<void> {
  while (child.exitCode === null) {
    if (existsSync(folder) && readdirSync(folder).some((name) => name.startsWith('.'))) return;
    await sleep(20);
  }
}
