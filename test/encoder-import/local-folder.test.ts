import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import { importLocalFolder, type LocalFolderImport } from '../../src/encoder/import/local-folder.js';
import {
  decodeOnnx,
  EXTERNAL_DATA,
  encodeOnnx,
  type TensorProto,
} from '../../src/encoder/import/onnx-schema.js';
import type { ModelFolder } from '../../src/encoder/manifest.js';
import { readModelFolder } from '../../src/encoder/model-folder.js';
import { cosineOfRows } from '../../src/encoder/probes.js';
import { temporaryFolder } from '../fixtures/folders.js';
import { miniLmFolder } from '../fixtures/model.js';
import { tinySentenceEncoder } from '../fixtures/tiny-graph.js';

/** int8: the smallest and the fastest to check. */
const source = await miniLmFolder('int8');

const TINY = tinySentenceEncoder();

interface Prepared {
  readonly folder: string;
  readonly importIt: (options?: Partial<LocalFolderImport>) => Promise<ModelFolder>;
}

/** A folder with a model as somebody would bring it, and `files` beside it: the exported MiniLM or a tiny one. */
async function localModel(
  t: Test,
  files: Readonly<Record<string, unknown>> = {},
  kind: 'minilm' | 'tiny' = 'tiny',
): Promise<Prepared> {
  const root = await temporaryFolder(t);
  const folder = path.join(root, 'mine');
  await mkdir(path.join(folder, '1_Pooling'), { recursive: true });
  const onnx = kind === 'tiny' ? TINY : await readFile(path.join(source.folder, 'model.onnx'));
  await writeFile(path.join(folder, 'model.onnx'), onnx);
  await copyFile(path.join(source.folder, 'tokenizer.json'), path.join(folder, 'tokenizer.json'));
  for (const [name, content] of Object.entries(files)) {
    await writeFile(path.join(folder, name), JSON.stringify(content));
  }
  return {
    folder,
    importIt: (options = {}) =>
      importLocalFolder({ folder, modelsFolder: path.join(root, 'models'), name: 'mine', ...options }),
  };
}

const SENTENCE_TRANSFORMERS = {
  'modules.json': [
    { idx: 0, name: '0', path: '', type: 'sentence_transformers.models.Transformer' },
    { idx: 1, name: '1', path: '1_Pooling', type: 'sentence_transformers.models.Pooling' },
    { idx: 2, name: '2', path: '2_Normalize', type: 'sentence_transformers.models.Normalize' },
  ],
  '1_Pooling/config.json': {
    word_embedding_dimension: 384,
    pooling_mode_cls_token: false,
    pooling_mode_mean_tokens: true,
    pooling_mode_max_tokens: false,
  },
  'sentence_bert_config.json': { max_seq_length: 256, do_lower_case: false },
};

async function worstProbeCosine(model: ModelFolder, other: ModelFolder): Promise<number> {
  const [mine, theirs] = await Promise.all(
    [model.folder, other.folder].map(async (folder) => {
      const bytes = await readFile(path.join(folder, 'probes.f32'));
      return new Float32Array(Uint8Array.from(bytes).buffer);
    }),
  );
  if (mine?.length !== theirs?.length || !mine || !theirs) return 0;
  const { dimensions } = model.manifest;
  return Math.min(...Array.from({ length: 32 }, (_, row) => cosineOfRows(mine, theirs, row, dimensions)));
}

t.test(
  'a folder with sentence-transformers files is imported without a flag, as the same model',
  async (t) => {
    const { importIt } = await localModel(t, SENTENCE_TRANSFORMERS, 'minilm');
    const model = await importIt();
    t.equal(
      model.manifest.fingerprint,
      source.manifest.fingerprint,
      'the same vector space has one identity',
    );
    t.match(model.manifest, {
      name: 'mine',
      version: '1-int8',
      source: 'file:mine/model.onnx',
      pooling: 'mean',
      normalisation: 'l2',
      max_tokens: 256,
      metric: 'cosine',
      onnx: { output: 'sentence_embedding', output_kind: 'sentence' },
    });
    t.ok((await worstProbeCosine(model, source)) > 0.999_999);
  },
);

t.test('the token-level output, pooled and normalised here, gives the same vectors', async (t) => {
  const { importIt } = await localModel(t, SENTENCE_TRANSFORMERS, 'minilm');
  const model = await importIt({ output: 'last_hidden_state' });
  t.match(model.manifest.onnx, { output: 'last_hidden_state', output_kind: 'tokens' });
  t.ok((await worstProbeCosine(model, source)) > 0.999_999);
});

t.test('a bare folder needs max_tokens stated and nothing else', async (t) => {
  const { importIt } = await localModel(t);
  await t.rejects(importIt(), {
    reason: 'INVALID_MODEL',
    message: /max_tokens/,
    details: { setting: 'max_tokens' },
  });
  const model = await importIt({ maxTokens: 256 });
  t.match(model.manifest, { pooling: 'in_graph', normalisation: 'l2', precision: 'fp32', version: '1-fp32' });
});

t.test('prompts become prefixes and flags win over files', async (t) => {
  const { importIt } = await localModel(t, {
    ...SENTENCE_TRANSFORMERS,
    'config_sentence_transformers.json': {
      prompts: { query: 'query: ', passage: 'passage: ' },
      default_prompt_name: null,
      similarity_fn_name: 'dot',
    },
  });
  const declared = await importIt();
  const plain = await localModel(t, SENTENCE_TRANSFORMERS);
  t.match(declared.manifest, { query_prefix: 'query: ', document_prefix: 'passage: ', metric: 'dot' });
  t.ok((await worstProbeCosine(declared, await plain.importIt())) < 0.999, 'prefixes change the vectors');
  const stated = await importIt({ queryPrefix: 'q: ', metric: 'cosine', maxTokens: 64, version: '2' });
  t.match(stated.manifest, {
    query_prefix: 'q: ',
    document_prefix: 'passage: ',
    metric: 'cosine',
    max_tokens: 64,
  });
});

t.test('external data is copied, hashed and part of the identity', async (t) => {
  const { folder, importIt } = await localModel(t, SENTENCE_TRANSFORMERS);
  const whole = await importIt();
  await splitExternalData(path.join(folder, 'model.onnx'), 'model.onnx_data');
  const model = await importIt({ version: '2' });
  t.ok(model.manifest.files['model.onnx_data']);
  t.not(model.manifest.fingerprint, whole.manifest.fingerprint);
  t.ok((await worstProbeCosine(model, whole)) > 0.999_999);

  const data = path.join(model.folder, 'model.onnx_data');
  const bytes = await readFile(data);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1;
  await writeFile(data, bytes);
  await t.rejects(readModelFolder(model.folder), { reason: 'CORRUPT_MODEL', message: /model\.onnx_data/ });
});

t.test('external data outside of the folder or missing is refused', async (t) => {
  for (const location of ['../../secret', '/etc/passwd', 'sub/weights', 'manifest.json', 'tokenizer.json']) {
    const { folder, importIt } = await localModel(t, SENTENCE_TRANSFORMERS);
    await splitExternalData(path.join(folder, 'model.onnx'), location, false);
    await t.rejects(importIt(), { reason: 'INVALID_MODEL', message: /plain files beside it/ }, location);
  }
  const { folder, importIt } = await localModel(t, SENTENCE_TRANSFORMERS);
  await splitExternalData(path.join(folder, 'model.onnx'), 'weights.bin', false);
  await t.rejects(importIt(), { reason: 'INVALID_MODEL', message: /weights\.bin is not beside/ });
});

/** Moves every large weight of an ONNX file out of it. */
async function splitExternalData(file: string, location: string, write = true): Promise<void> {
  const model = decodeOnnx(await readFile(file));
  const chunks: Uint8Array[] = [];
  let offset = 0;
  const initializer = model.graph?.initializer?.map((tensor): TensorProto => {
    const { rawData, ...rest } = tensor;
    if (!rawData || rawData.length < 1024) return tensor;
    const externalData = [
      { key: 'location', value: location },
      { key: 'offset', value: String(offset) },
      { key: 'length', value: String(rawData.length) },
    ];
    chunks.push(rawData);
    offset += rawData.length;
    return { ...rest, externalData, dataLocation: EXTERNAL_DATA };
  });
  if (write) await writeFile(path.join(path.dirname(file), location), Buffer.concat(chunks));
  await writeFile(file, encodeOnnx({ ...model, graph: { ...model.graph, initializer: initializer ?? [] } }));
}

t.test('what cannot be known is refused instead of guessed', async (t) => {
  const pooling = SENTENCE_TRANSFORMERS['1_Pooling/config.json'];
  const cases: {
    name: string;
    files?: Record<string, unknown>;
    options?: Partial<LocalFolderImport>;
    message: RegExp;
  }[] = [
    {
      name: 'tokens without pooling',
      options: { output: 'last_hidden_state', maxTokens: 256 },
      message: /pooling is not known/,
    },
    {
      name: 'tokens without normalisation',
      options: { output: 'last_hidden_state', maxTokens: 256, pooling: 'mean' },
      message: /normalisation is not known/,
    },
    {
      name: 'an output that is not there',
      options: { output: 'x', maxTokens: 9 },
      message: /last_hidden_state \[2, /,
    },
    {
      name: 'two pooling modes',
      files: { '1_Pooling/config.json': { ...pooling, pooling_mode_cls_token: true } },
      message: /mean, cls and last token are supported/,
    },
    {
      name: 'max pooling',
      files: {
        '1_Pooling/config.json': { pooling_mode_mean_tokens: false, pooling_mode_max_tokens: true },
      },
      message: /pooling_mode_max_tokens/,
    },
    {
      name: 'prompts of no role',
      files: { ...SENTENCE_TRANSFORMERS, 'config_sentence_transformers.json': { prompts: { s2p: 'x' } } },
      message: /s2p/,
    },
    {
      name: 'an unknown similarity',
      files: {
        ...SENTENCE_TRANSFORMERS,
        'config_sentence_transformers.json': { similarity_fn_name: 'manhattan' },
      },
      message: /manhattan/,
    },
    {
      name: 'a dense layer after pooling',
      files: {
        ...SENTENCE_TRANSFORMERS,
        'modules.json': [
          ...SENTENCE_TRANSFORMERS['modules.json'],
          { path: '3_Dense', type: 'sentence_transformers.models.Dense' },
        ],
      },
      options: { output: 'last_hidden_state' },
      message: /Dense/,
    },
    {
      name: 'modules that lead out of the folder',
      files: { 'modules.json': [{ path: '../1_Pooling', type: 'Pooling' }] },
      message: /inside the folder/,
    },
    { name: 'an ONNX file that is not there', options: { onnxFile: 'x.onnx' }, message: /x\.onnx/ },
  ];
  for (const { name, files, options, message } of cases) {
    const { importIt } = await localModel(t, files);
    await t.rejects(importIt(options), { reason: 'INVALID_MODEL', message }, name);
  }
});

t.test('more tokens than the graph has positions are refused', async (t) => {
  const { importIt } = await localModel(t, {}, 'minilm');
  await t.rejects(importIt({ maxTokens: 600 }), {
    reason: 'INVALID_MODEL',
    message: /up to 600 tokens.*smaller max_tokens/,
  });
});

t.test('several ONNX files, none, garbage, or no tokenizer are refused', async (t) => {
  const several = await localModel(t, SENTENCE_TRANSFORMERS);
  await mkdir(path.join(several.folder, 'onnx'));
  await writeFile(path.join(several.folder, 'onnx', 'model_q.onnx'), TINY);
  await t.rejects(several.importIt(), { reason: 'INVALID_MODEL', message: /name one of model\.onnx, onnx/ });
  const named = await several.importIt({ onnxFile: 'onnx/model_q.onnx' });
  t.equal(named.manifest.source, 'file:mine/onnx/model_q.onnx');

  const garbage = await localModel(t, SENTENCE_TRANSFORMERS);
  for (const bytes of [Buffer.alloc(0), Buffer.from('not onnx'), Buffer.alloc(1000, 0xff)]) {
    await writeFile(path.join(garbage.folder, 'model.onnx'), bytes);
    await t.rejects(garbage.importIt(), { reason: 'INVALID_MODEL', message: /model\.onnx/ });
  }

  const root = await temporaryFolder(t);
  const importEmpty = (): Promise<ModelFolder> =>
    importLocalFolder({ folder: root, modelsFolder: path.join(root, 'models'), name: 'mine' });
  await t.rejects(importEmpty(), { reason: 'INVALID_MODEL', message: /no \*\.onnx/ });
  await writeFile(path.join(root, 'model.onnx'), TINY);
  await t.rejects(importEmpty(), { reason: 'INVALID_MODEL', message: /tokenizer\.json/ });
});
