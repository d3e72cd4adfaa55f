import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import { importLocalFolder, type LocalFolderImport } from '../../src/encoder/import/local-folder.js';
import { OnnxGraphBuilder } from '../../src/encoder/import/onnx-graph.js';
import type { ModelFolder } from '../../src/encoder/manifest.js';
import { temporaryFolder } from '../fixtures/folders.js';
import { miniLmFolder } from '../fixtures/model.js';
import { meanOf, SENTENCE_DIMS, TOKEN_DIMS, tinyGraph } from '../fixtures/tiny-graph.js';

const { folder: miniLm } = await miniLmFolder('int8');
async function importGraph(
  t: Test,
  onnx: Uint8Array,
  options: Partial<LocalFolderImport> = {},
  tokenizer: object = {},
): Promise<ModelFolder> {
  const root = await temporaryFolder(t);
  const folder = path.join(root, 'tiny');
  await mkdir(folder);
  await writeFile(path.join(folder, 'tiny.onnx'), onnx);
  const json: object = JSON.parse(await readFile(path.join(miniLm, 'tokenizer.json'), 'utf8'));
  await writeFile(path.join(folder, 'tokenizer.json'), JSON.stringify({ ...json, ...tokenizer }));
  const modelsFolder = path.join(root, 'models');
  try {
    return await importLocalFolder({ folder, modelsFolder, name: 'tiny', maxTokens: 32, ...options });
  } catch (error) {
    const left = await readdir(modelsFolder).catch(() => []);
    t.same(left, [], 'a refused model leaves nothing behind');
    throw error;
  }
}

t.test('a graph that does not normalise is imported as it is', async (t) => {
  const model = await importGraph(
    t,
    tinyGraph((graph, tokens, mask) => {
      graph.output('vectors', meanOf(graph, tokens, mask), 'float32', SENTENCE_DIMS);
    }),
  );
  t.match(model.manifest, { dimensions: 8, normalisation: 'none', pooling: 'in_graph', precision: 'fp32' });
  t.same(model.manifest.onnx.inputs, ['input_ids', 'attention_mask']);
});

t.test('cls and last token pooling take the token they name', async (t) => {
  const onnx = tinyGraph((graph, tokens) => graph.output('states', tokens, 'float32', TOKEN_DIMS));
  for (const pooling of ['cls', 'last_token'] as const) {
    const model = await importGraph(t, onnx, { pooling, normalisation: 'l2' });
    t.match(model.manifest, { pooling, onnx: { output: 'states', output_kind: 'tokens' } });
  }
});

t.test('a token that the graph has no vector for is found when a model is imported', async (t) => {
  const onnx = tinyGraph((graph, tokens) => graph.output('states', tokens, 'float32', TOKEN_DIMS));
  const added_tokens = [{ id: 30_522, content: '<one more>', special: true }];
  await t.rejects(importGraph(t, onnx, { pooling: 'mean', normalisation: 'l2' }, { added_tokens }), {
    reason: 'INVALID_MODEL',
    message: /does not take token 30522, the largest id of tokenizer\.json/,
  });
});

t.test('a vector that depends on its batch is refused with the measured figure', async (t) => {
  const onnx = tinyGraph((graph, tokens, mask) => {
    const mean = meanOf(graph, tokens, mask);
    const largest = graph.node('ReduceMax', 'largest', [mean], { axes: { ints: [0] }, keepdims: { int: 1 } });
    graph.output(
      'vectors',
      graph.node('Sub', 'difference', [mean, graph.node('Mul', 'half', [largest, graph.scalar(0.5)])]),
      'float32',
      SENTENCE_DIMS,
    );
  });
  await t.rejects(importGraph(t, onnx), {
    reason: 'INVALID_MODEL',
    message: /depends on its batch: cosine -?[01]\.\d{6}/,
  });
});

t.test('padding that leaks into the vectors is refused', async (t) => {
  const onnx = tinyGraph((graph, tokens, mask) => {
    const mean = graph.node('ReduceMean', 'plain_mean', [tokens], {
      axes: { ints: [1] },
      keepdims: { int: 0 },
    });
    const zero = graph.node('Mul', 'zero', [
      graph.node('ReduceSum', 'count', [mask, graph.integers(1)], { keepdims: { int: 1 } }),
      graph.scalar(0),
    ]);
    graph.output('vectors', graph.node('Add', 'sum', [mean, zero]), 'float32', SENTENCE_DIMS);
  });
  await t.rejects(importGraph(t, onnx), { reason: 'INVALID_MODEL', message: /depends on its batch/ });
});

t.test('several outputs without a name that is known are not guessed at', async (t) => {
  const onnx = tinyGraph((graph, tokens, mask) => {
    graph.output('last_hidden_state', tokens, 'float32', TOKEN_DIMS);
    graph.output('pooler_output', meanOf(graph, tokens, mask), 'float32', SENTENCE_DIMS);
  });
  await t.rejects(importGraph(t, onnx), {
    reason: 'INVALID_MODEL',
    message: /nothing says which to use.*pooler_output \[2, 8\]/,
  });
  const model = await importGraph(t, onnx, { pooling: 'mean', normalisation: 'none' });
  t.equal(model.manifest.onnx.output, 'last_hidden_state', 'with a pooling, the token-level output is meant');
});

t.test('numbers that are not finite and vectors of zeros are refused', async (t) => {
  const times = (factor: number): Uint8Array =>
    tinyGraph((graph, tokens, mask) => {
      const scaled = graph.node('Mul', 'scaled', [meanOf(graph, tokens, mask), graph.scalar(factor)]);
      graph.output('vectors', scaled, 'float32', SENTENCE_DIMS);
    });
  await t.rejects(importGraph(t, times(Number.POSITIVE_INFINITY)), {
    reason: 'INVALID_MODEL',
    message: /not finite/,
  });
  await t.rejects(importGraph(t, times(0)), { reason: 'INVALID_MODEL', message: /norm 0/ });
});

t.test('inputs and outputs of another kind are refused by name', async (t) => {
  const strange = new OnnxGraphBuilder('strange');
  strange.output(
    'y',
    strange.cast('x', strange.input('pixel_values', 'float32', ['batch', 3]), 'float32'),
    'float32',
    ['batch', 3],
  );
  await t.rejects(importGraph(t, strange.encode()), {
    reason: 'INVALID_MODEL',
    message: /pixel_values \(float32\)/,
  });

  const counting = tinyGraph((graph, tokens, mask) => {
    const ids = graph.cast('whole', meanOf(graph, tokens, mask), 'int64');
    graph.output('numbers', ids, 'int64', SENTENCE_DIMS);
  });
  await t.rejects(importGraph(t, counting), { reason: 'INVALID_MODEL', message: /numbers/ });
});

t.test('the same calls give the same bytes', async (t) => {
  const build = (): Uint8Array =>
    tinyGraph((graph, tokens, mask) =>
      graph.output('vectors', meanOf(graph, tokens, mask), 'float32', SENTENCE_DIMS),
    );
  t.ok(Buffer.from(build()).equals(Buffer.from(build())));
});
