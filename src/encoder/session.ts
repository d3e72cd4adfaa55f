import path from 'node:path';
import { InferenceSession, type Tensor } from 'onnxruntime-node';
import { SwitchyardError } from '../errors.js';
import { type Device, deviceIdOf, type InputRole, providerOf } from '../vocabulary.js';
import { type BatchInputs, batchInputs, inputTensors, type RunShape, tightShape } from './batch-tensors.js';
import type { ModelFolder, ModelManifest } from './manifest.js';
import { poolSentences, poolTokens } from './pooling.js';
import { prefixOf, TextTokenizer, type TokenisedText } from './tokenizer.js';

export interface SessionOptions {
  readonly provider: Device;
  /** Threads one run uses on the CPU, 1 or more. */
  readonly threads: number;
}

export interface EncodedTexts {
  /** texts × dimensions, row-major, in the order of the texts. */
  readonly values: Float32Array;
  /** Tokens of each text before cutting, special tokens included; of a text of many kilobytes: at least so many. */
  readonly tokenCounts: Uint32Array;
  readonly truncatedCount: number;
}

/** Padded tokens that `encode` gives to one run: what keeps attention's memory bounded, not a policy for throughput. */
const PADDED_TOKENS_PER_RUN_MAX = 4096;

/**
 * A model in memory: text → tokens → graph → pooled, normalised vector. `run` is a synchronous native call that
 * blocks its thread, so this lives in an encoder's child process or in an import, never in the gateway.
 * The folder must have been verified by `loadModelFolder`.
 */
export class ModelSession {
  readonly manifest: ModelManifest;
  readonly #session: InferenceSession;
  readonly #tokenizer: TextTokenizer;

  private constructor(manifest: ModelManifest, session: InferenceSession, tokenizer: TextTokenizer) {
    this.manifest = manifest;
    this.#session = session;
    this.#tokenizer = tokenizer;
  }

  /**
   * Errors: INVALID_MODEL (the graph or tokenizer does not load), CORRUPT_MODEL (the tokenizer is not what was
   * verified), PROVIDER_UNAVAILABLE (not on this provider).
   */
  static async open(folder: ModelFolder, options: SessionOptions): Promise<ModelSession> {
    const tokenizer = await TextTokenizer.ofModel(folder);
    const session = await openGraph(path.join(folder.folder, 'model.onnx'), options);
    return new ModelSession(folder.manifest, session, tokenizer);
  }

  /** Largest id of a token that a text can have. */
  get tokenIdMax(): number {
    return this.#tokenizer.idMax;
  }

  /** The texts with the prefix of their role, as tokens. */
  tokenize(texts: readonly string[], role: InputRole): TokenisedText[] {
    return texts.map((text) => this.tokenizeOne(text, role));
  }

  /** Costs 2 to 20 µs for a short text, by how many of its words were seen lately. */
  tokenizeOne(text: string, role: InputRole): TokenisedText {
    return this.#tokenizer.encode(prefixOf(this.manifest, role) + text);
  }

  /**
   * One run over all the texts given, padded to `shape`: texts × dimensions, row-major, in their order. The caller decides
   * what goes together, and that it fits. Errors: INTERNAL when the graph gives numbers that are not finite.
   */
  async run(texts: readonly TokenisedText[], shape: RunShape = tightShape(texts)): Promise<Float32Array> {
    if (texts.length === 0) return new Float32Array(0);
    return this.runInputs(batchInputs(texts, shape, this.manifest));
  }

  /** As `run`, of what `batchInputs` made of texts, here or in another thread. */
  async runInputs(inputs: BatchInputs): Promise<Float32Array> {
    const { onnx, pooling, normalisation, dimensions } = this.manifest;
    const { shape, lengths } = inputs;
    const outputs = await this.#session.run(inputTensors(inputs), [onnx.output]);
    const output = outputs[onnx.output] as Tensor;
    const batch = { texts: shape.texts, sequence: shape.tokens, dimensions, rows: lengths.length };
    return onnx.output_kind === 'sentence'
      ? poolSentences(output, batch, normalisation)
      : poolTokens(output, batch, lengths, pooling, normalisation);
  }

  /** Tokenises, runs sorted by length so that little is padded, and puts the vectors back in order. */
  async encode(texts: readonly string[], role: InputRole): Promise<EncodedTexts> {
    const tokenised = this.tokenize(texts, role);
    const { dimensions } = this.manifest;
    const values = new Float32Array(texts.length * dimensions);
    for (const rows of runsByLength(tokenised)) {
      const vectors = await this.run(rows.map((row) => tokenised[row] as TokenisedText));
      for (const [i, row] of rows.entries()) {
        values.set(vectors.subarray(i * dimensions, (i + 1) * dimensions), row * dimensions);
      }
    }
    return {
      values,
      tokenCounts: Uint32Array.from(tokenised, (text) => text.tokenCount),
      truncatedCount: tokenised.filter((text) => text.truncated).length,
    };
  }

  async release(): Promise<void> {
    await this.#session.release();
  }
}

/** Loads a graph; `file`'s external data is found beside it. Errors as `ModelSession.open`. */
export async function openGraph(file: string, options: SessionOptions): Promise<InferenceSession> {
  // Read when a process opens its first session. Unset, the runtime reports usage to its makers (see `childEnv`).
  process.env.ORT_DISABLE_TELEMETRY = '1';
  try {
    return await InferenceSession.create(file, {
      executionProviders: [
        options.provider.startsWith('cuda')
          ? { name: 'cuda', deviceId: deviceIdOf(options.provider) }
          : providerOf(options.provider),
      ],
      intraOpNumThreads: options.threads,
      interOpNumThreads: 1,
      // What fails is thrown; the runtime's own coloured copy of it on stderr is noise.
      logSeverityLevel: 4,
    });
  } catch (error) {
    // The bytes were verified before, so on an accelerator it is the accelerator that fails, not the file.
    if (options.provider === 'cpu') {
      throw new SwitchyardError(
        'INVALID_MODEL',
        `${path.basename(file)} is not a graph that the runtime loads`,
        {
          cause: error,
        },
      );
    }
    throw new SwitchyardError(
      'PROVIDER_UNAVAILABLE',
      `the execution provider ${options.provider} does not start for ${path.basename(file)}: check its driver and libraries, or allow cpu`,
      { cause: error, details: { provider: options.provider } },
    );
  }
}

/** Row numbers grouped into runs, shortest first, each within the padded-token bound. */
function* runsByLength(texts: readonly TokenisedText[]): Generator<number[]> {
  const lengthOf = (row: number): number => (texts[row] as TokenisedText).ids.length;
  const order = texts.map((_, row) => row).sort((a, b) => lengthOf(a) - lengthOf(b) || a - b);
  let rows: number[] = [];
  for (const row of order) {
    if (rows.length > 0 && (rows.length + 1) * lengthOf(row) > PADDED_TOKENS_PER_RUN_MAX) {
      yield rows;
      rows = [];
    }
    rows.push(row);
  }
  if (rows.length > 0) yield rows;
}
