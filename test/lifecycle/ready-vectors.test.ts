import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { importLocalFolder } from '../../src/encoder/import/local-folder.js';
import { readyVectorRows } from '../../src/lifecycle/ready-vectors.js';
import type { SourceDocument } from '../../src/lifecycle/source/document.js';
import type { Metric } from '../../src/vocabulary.js';
import { request, startEncoder } from '../encoder-process/start.js';
import { temporaryFolder } from '../fixtures/folders.js';
import { miniLmFolder } from '../fixtures/model.js';
import { tinySentenceEncoder } from '../fixtures/tiny-graph.js';

const TEXTS = Array.from({ length: 70 }, (_, i) => `document ${i} about ${i % 3 === 0 ? 'cats' : 'bread'}`);

/** Documents with the model's own vectors, each multiplied by `factor`, through the check for a model of `metric`. */
async function check(t: Parameters<typeof startEncoder>[0], metric: Metric, factor: number): Promise<number> {
  const root = await temporaryFolder(t);
  const folder = path.join(root, 'tiny');
  await mkdir(folder);
  const { folder: source } = await miniLmFolder('int8');
  await writeFile(path.join(folder, 'model.onnx'), tinySentenceEncoder());
  await copyFile(path.join(source, 'tokenizer.json'), path.join(folder, 'tokenizer.json'));
  const model = await importLocalFolder({
    folder,
    modelsFolder: path.join(root, 'models'),
    name: 'tiny',
    maxTokens: 64,
    metric,
  });
  const { encoder } = startEncoder(t, model);
  await encoder.ready();
  const { dimensions } = model.manifest;
  const { values } = await encoder.encode(request(TEXTS, { role: 'document' }));
  async function* documents(): AsyncGenerator<SourceDocument> {
    for (const [at, text] of TEXTS.entries()) {
      const vector = values.slice(at * dimensions, (at + 1) * dimensions).map((value) => value * factor);
      yield { id: `d${at}`, text, title: null, attributes: null, vector };
    }
  }
  let rows = 0;
  const checked = readyVectorRows(documents(), {
    encoder,
    render: ({ text }) => text,
    random: () => 0.5,
    onDocument: () => {},
  });
  for await (const batch of checked) rows += batch.rows.length;
  return rows;
}

t.test('under cosine the direction is all that is asked of a ready vector', async (t) => {
  t.equal(await check(t, 'cosine', 3), TEXTS.length);
});

t.test('under dot and l2 a ready vector of another length is refused', async (t) => {
  for (const metric of ['dot', 'l2'] as const) {
    t.equal(await check(t, metric, 1), TEXTS.length);
    await t.rejects(check(t, metric, 3), {
      reason: 'FINGERPRINT_MISMATCH',
      message: new RegExp(`has length 3\\.000, .* 1\\.000: under ${metric} lengths count`),
    });
  }
});
