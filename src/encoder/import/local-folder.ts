import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { SwitchyardError } from '../../errors.js';
import type { Metric, Precision } from '../../vocabulary.js';
import type { ModelFolder, Normalisation, Pooling } from '../manifest.js';
import { MODEL_FILES } from '../model-folder.js';
import { openGraph } from '../session.js';
import { TextTokenizer, type TokenisedText } from '../tokenizer.js';
import { defaultThreads } from './default-threads.js';
import { chooseOutput, type GraphOutput, graphInputs, graphOutputs } from './graph-outputs.js';
import { readInputFile } from './input-file.js';
import { inspectOnnx } from './onnx-file.js';
import { type FileSource, type ImportProgress, type ModelDraft, publishModel } from './publish-model.js';
import { type Declarations, readDeclarations } from './sentence-transformers.js';

/** What a person states about a model; each replaces what the folder's own files say. */
export interface ModelOverrides {
  readonly pooling?: Exclude<Pooling, 'in_graph'>;
  readonly normalisation?: Normalisation;
  readonly maxTokens?: number;
  readonly queryPrefix?: string;
  readonly documentPrefix?: string;
  readonly metric?: Metric;
  readonly precision?: Precision;
  readonly padTokenId?: number;
  /** Name of the graph's output to use. */
  readonly output?: string;
  /** The ONNX file, relative to the folder, when it has several. */
  readonly onnxFile?: string;
}

export interface LocalFolderImport extends ModelOverrides {
  /** Holds `tokenizer.json` and one `*.onnx`, there or in `onnx/`, as a Hugging Face repository does. */
  readonly folder: string;
  readonly modelsFolder: string;
  readonly name: string;
  /** Default: `1-<precision>`. */
  readonly version?: string;
  /** Where it came from, for a person. Default: the folder's name and the ONNX file. */
  readonly source?: string;
  readonly threads?: number;
  readonly onProgress?: ImportProgress;
}

/**
 * Any sentence embedding model from a local folder. What the files do not say and a run does not show must be stated.
 * Errors: INVALID_MODEL (saying which statement is missing), ALREADY_EXISTS, CORRUPT_MODEL, DISK_FULL.
 */
export async function importLocalFolder(options: LocalFolderImport): Promise<ModelFolder> {
  const onProgress = options.onProgress ?? (() => undefined);
  const threads = options.threads ?? defaultThreads();
  onProgress('convert', 0, 1);
  const draft = await draftModel(options, threads);
  onProgress('convert', 1, 1);
  return publishModel(draft, { modelsFolder: options.modelsFolder, threads, onProgress });
}

async function draftModel(options: LocalFolderImport, threads: number): Promise<ModelDraft> {
  const onnxFile = await findOnnxFile(options.folder, options.onnxFile);
  const fileName = path.basename(onnxFile);
  const tokenizerFile = path.join(options.folder, MODEL_FILES.tokenizer);
  const tokenizerBytes = await readInputFile(tokenizerFile);
  const facts = inspectOnnx(await readInputFile(onnxFile), fileName);
  const externalData = await findExternalData(path.dirname(onnxFile), facts.externalFiles);
  const declared = await readDeclarations(options.folder);

  const maxTokens = stated(
    options.maxTokens ?? declared.maxTokens,
    'max_tokens',
    'no file of the folder says it',
  );
  const pooling = options.pooling ?? declared.pooling;
  const tokenizer = TextTokenizer.fromJson(tokenizerBytes, MODEL_FILES.tokenizer, maxTokens);
  const graph = await examineGraph(onnxFile, threads, tokenizer, options.output, pooling !== undefined);
  expectNoExtraModule(declared, graph.output);
  const precision = stated(
    options.precision ?? facts.precision,
    'precision',
    `${fileName} mixes number formats`,
  );

  return {
    description: {
      name: options.name,
      version: options.version ?? `1-${precision}`,
      provider: 'onnx',
      source:
        options.source ??
        `file:${path.basename(path.resolve(options.folder))}/${path.relative(options.folder, onnxFile)}`,
      dimensions: graph.output.dimensions,
      max_tokens: maxTokens,
      metric: options.metric ?? declared.metric ?? 'cosine',
      pooling: poolingOf(graph.output, pooling),
      normalisation: normalisationOf(graph.output, options.normalisation ?? declared.normalisation),
      ...prefixesOf(options, declared),
      precision,
      onnx: {
        inputs: graph.inputs,
        output: graph.output.name,
        output_kind: graph.output.kind,
        pad_token_id: stated(
          options.padTokenId ?? declared.padTokenId,
          'pad_token_id',
          'no file of the folder says it',
        ),
      },
    },
    onnx: { kind: 'file', file: onnxFile },
    tokenizer: { kind: 'bytes', bytes: tokenizerBytes },
    externalData,
  };
}

async function findOnnxFile(folder: string, wanted: string | undefined): Promise<string> {
  if (wanted !== undefined) return path.join(folder, wanted);
  const found = [...(await onnxFilesIn(folder)), ...(await onnxFilesIn(path.join(folder, 'onnx')))];
  const [file] = found;
  if (found.length === 1 && file !== undefined) return file;
  const names = found.map((name) => path.relative(folder, name)).join(', ');
  throw new SwitchyardError(
    'INVALID_MODEL',
    found.length === 0
      ? `${folder} has no *.onnx file, neither there nor in onnx/`
      : `${folder} has several ONNX files: name one of ${names}`,
  );
}

async function onnxFilesIn(folder: string): Promise<string[]> {
  try {
    const names = await readdir(folder);
    return names
      .filter((name) => name.endsWith('.onnx'))
      .sort()
      .map((name) => path.join(folder, name));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw error;
  }
}

async function findExternalData(
  folder: string,
  names: readonly string[],
): Promise<Record<string, FileSource>> {
  const sources: Record<string, FileSource> = {};
  for (const name of names) {
    const file = path.join(folder, name);
    const isThere = await stat(file).then(
      (found) => found.isFile(),
      () => false,
    );
    if (!isThere) {
      throw new SwitchyardError(
        'INVALID_MODEL',
        `the weights file ${name} is not beside the ONNX file in ${folder}`,
        {
          details: { file: name },
        },
      );
    }
    sources[name] = { kind: 'file', file };
  }
  return sources;
}

type ChosenOutput = GraphOutput & { readonly kind: 'sentence' | 'tokens' };

async function examineGraph(
  onnxFile: string,
  threads: number,
  tokenizer: TextTokenizer,
  wantedOutput: string | undefined,
  poolingIsKnown: boolean,
): Promise<{ inputs: ReturnType<typeof graphInputs>; output: ChosenOutput }> {
  const fileName = path.basename(onnxFile);
  const session = await openGraph(onnxFile, { provider: 'cpu', threads });
  try {
    const texts: [TokenisedText, TokenisedText] = [
      tokenizer.encode('cat'),
      tokenizer.encode('a longer text about several animals'),
    ];
    const outputs = await graphOutputs(session, texts, fileName);
    return {
      inputs: graphInputs(session, fileName),
      output: chooseOutput(outputs, wantedOutput, poolingIsKnown, fileName),
    };
  } finally {
    await session.release();
  }
}

function poolingOf(output: ChosenOutput, pooling: Pooling | undefined): Pooling {
  if (output.kind === 'sentence') return pooling ?? 'in_graph';
  return stated(
    pooling,
    'pooling',
    `${output.name} has a vector per token and no file of the folder says it`,
  );
}

/** A graph that gives unit vectors normalises, whatever the files say; a token-level one is normalised here or not. */
function normalisationOf(output: ChosenOutput, declared: Normalisation | undefined): Normalisation {
  if (output.kind === 'sentence') return output.isUnitNorm ? 'l2' : (declared ?? 'none');
  return stated(
    declared,
    'normalisation',
    `${output.name} has a vector per token and no file of the folder says it`,
  );
}

function prefixesOf(
  options: ModelOverrides,
  declared: Declarations,
): { query_prefix: string; document_prefix: string } {
  const query = options.queryPrefix ?? declared.queryPrefix;
  const document = options.documentPrefix ?? declared.documentPrefix;
  if (query === undefined && document === undefined && declared.strangePrompts.length > 0) {
    throw new SwitchyardError(
      'INVALID_MODEL',
      `config_sentence_transformers.json has the prompts ${declared.strangePrompts.join(', ')}, none of which is known to be for queries or documents: state query_prefix and document_prefix`,
    );
  }
  return { query_prefix: query ?? '', document_prefix: document ?? '' };
}

/** Dense layers and the like come after pooling: a token-level graph cannot hold them. */
function expectNoExtraModule(declared: Declarations, output: ChosenOutput): void {
  if (declared.extraModule === undefined || output.kind === 'sentence') return;
  throw new SwitchyardError(
    'INVALID_MODEL',
    `modules.json has a ${declared.extraModule} layer after pooling, which the token-level output ${output.name} does not hold: export the model with a sentence_embedding output`,
  );
}

function stated<T>(value: T | undefined, setting: string, why: string): T {
  if (value !== undefined) return value;
  throw new SwitchyardError('INVALID_MODEL', `the model's ${setting} is not known: ${why}; state it`, {
    details: { setting },
  });
}
