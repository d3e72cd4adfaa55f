import { execFile } from 'node:child_process';
import { appendFile, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { Tensor } from 'onnxruntime-node';
import t from 'tap';
import type { ModelFolder } from '../../src/encoder/manifest.js';
import { readModelFolder } from '../../src/encoder/model-folder.js';
import { poolTokens } from '../../src/encoder/pooling.js';
import { cosineOfRows, reproduceProbes } from '../../src/encoder/probes.js';
import { ModelSession } from '../../src/encoder/session.js';
import type { TokenisedText } from '../../src/encoder/tokenizer.js';
import { PRECISIONS } from '../../src/vocabulary.js';
import { copyOf, temporaryFolder } from '../fixtures/folders.js';
import { wordNetGlosses } from '../fixtures/glosses.js';
import { miniLmFolder } from '../fixtures/model.js';

const DIMENSIONS = 384;
const glosses = await wordNetGlosses(12, 100);
const texts = [...glosses, 'cat', glosses.slice(0, 4).join('. '), '東京都 🙂 naïve'];

async function withSession<T>(model: ModelFolder, use: (session: ModelSession) => Promise<T>): Promise<T> {
  const session = await ModelSession.open(model, { provider: 'cpu', threads: 2 });
  try {
    return await use(session);
  } finally {
    await session.release();
  }
}

for (const precision of PRECISIONS) {
  t.test(
    `at ${precision} a text has one vector, alone and inside any batch, and probes are reproduced`,
    async (t) => {
      const model = await miniLmFolder(precision);
      await withSession(model, async (session) => {
        const tokenised = session.tokenize(texts, 'query');
        const together = await session.run(tokenised);
        let worst = 1;
        for (const [row, text] of tokenised.entries()) {
          const alone = await session.run([text as TokenisedText]);
          const inBatch = together.slice(row * DIMENSIONS, (row + 1) * DIMENSIONS);
          worst = Math.min(worst, cosineOfRows(alone, inBatch, 0, DIMENSIONS));
        }
        t.ok(worst >= 0.9999, `worst cosine ${worst}`);
        t.ok((await reproduceProbes(session, model)) >= 0.999);
      });
    },
  );
}

t.test('an encoder of another model does not reproduce the probes', async (t) => {
  const model = await miniLmFolder('int8');
  const other: ModelFolder = {
    folder: model.folder,
    manifest: {
      ...model.manifest,
      pooling: 'cls',
      onnx: { ...model.manifest.onnx, output: 'last_hidden_state', output_kind: 'tokens' },
    },
  };
  await withSession(other, (session) =>
    t.rejects(reproduceProbes(session, model), { reason: 'PROBE_MISMATCH', message: /worst cosine/ }),
  );
});

t.test('vectors come back in the order of the texts, with token counts', async (t) => {
  await withSession(await miniLmFolder('int8'), async (session) => {
    const long = 'cat '.repeat(400);
    const encoded = await session.encode([long, 'cat', 'a cat and a dog'], 'query');
    t.same([...encoded.tokenCounts], [402, 3, 7]);
    t.equal(encoded.truncatedCount, 1);
    const single = await session.encode(['cat'], 'query');
    const row = encoded.values.slice(DIMENSIONS, 2 * DIMENSIONS);
    t.ok(cosineOfRows(row, single.values, 0, DIMENSIONS) > 0.9999);
    t.same(await session.encode([], 'query'), {
      values: new Float32Array(0),
      tokenCounts: new Uint32Array(0),
      truncatedCount: 0,
    });
  });
});

t.test('a tokenizer that was replaced since its folder was verified tokenises nothing', async (t) => {
  const folder = await copyOf(t, (await miniLmFolder('int8')).folder);
  const model = await readModelFolder(folder);
  const file = path.join(folder, 'tokenizer.json');
  for (const change of [() => appendFile(file, ' '), () => rm(file)]) {
    await change();
    const opened = ModelSession.open(model, { provider: 'cpu', threads: 1 });
    await t.rejects(opened, { reason: 'CORRUPT_MODEL', message: /tokenizer\.json/ });
  }
});

t.test('a text without tokens is never pooled', (t) => {
  const tokens = new Tensor('float32', Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8), [2, 2, 2]);
  const shape = { texts: 2, sequence: 2, dimensions: 2, rows: 2 };
  for (const pooling of ['mean', 'cls', 'last_token'] as const) {
    const pool = (lengths: readonly number[]) => poolTokens(tokens, shape, lengths, pooling, 'none');
    t.equal(pool([2, 1]).length, 4);
    t.throws(() => pool([2, 0]), { reason: 'INTERNAL', message: /without tokens/ }, pooling);
  }
  t.end();
});

t.test('opening a session leaves no usage report of the runtime behind', async (t) => {
  const { folder } = await miniLmFolder('int8');
  const home = await temporaryFolder(t);
  const program = `const { openGraph } = await import(process.argv[1]);
    const session = await openGraph(process.argv[2], { provider: 'cpu', threads: 1 });
    await session.release();`;
  const url = new URL('../../src/encoder/session.js', import.meta.url).href;
  await promisify(execFile)(
    process.execPath,
    ['--input-type=module', '-e', program, url, path.join(folder, 'model.onnx')],
    { env: { PATH: process.env.PATH, HOME: home } },
  );
  t.same(await readdir(home, { recursive: true }), []);
});
