import { type InferenceSession, Tensor } from 'onnxruntime-node';
import { SwitchyardError } from '../../errors.js';
import type { ModelManifest } from '../manifest.js';
import { ONNX_INPUTS } from '../manifest-schema.js';
import { floatData } from '../pooling.js';
import type { TokenisedText } from '../tokenizer.js';
import { SENTENCE_OUTPUT } from './bert-graph.js';

type OnnxInput = ModelManifest['onnx']['inputs'][number];

/** One output of a graph, as a run shows it: declared shapes are often missing or wrong. */
export interface GraphOutput {
  readonly name: string;
  readonly kind: 'sentence' | 'tokens' | 'other';
  readonly dims: readonly number[];
  readonly dimensions: number;
  /** Every vector of a sentence output has norm 1. */
  readonly isUnitNorm: boolean;
}

const UNIT_TOLERANCE = 1e-3;

/** The inputs a graph takes. Errors: INVALID_MODEL when it wants anything but int64 tokens, mask and types. */
export function graphInputs(session: InferenceSession, fileName: string): OnnxInput[] {
  for (const input of session.inputMetadata) {
    if (
      !input.isTensor ||
      input.type !== 'int64' ||
      !(ONNX_INPUTS as readonly string[]).includes(input.name)
    ) {
      throw invalid(
        fileName,
        `wants the input ${input.name} (${input.isTensor ? input.type : 'no tensor'}); it may take ${ONNX_INPUTS.join(', ')} as int64 only`,
      );
    }
  }
  const inputs = ONNX_INPUTS.filter((name) => session.inputNames.includes(name));
  if (!inputs.includes('input_ids')) throw invalid(fileName, 'has no input input_ids');
  return inputs;
}

/** Runs two texts of different length and looks at what comes out. */
export async function graphOutputs(
  session: InferenceSession,
  texts: readonly [TokenisedText, TokenisedText],
  fileName: string,
): Promise<GraphOutput[]> {
  const sequence = Math.max(...texts.map((text) => text.ids.length));
  const row = (values: (text: TokenisedText) => ArrayLike<number>): BigInt64Array => {
    const data = new BigInt64Array(texts.length * sequence);
    for (const [i, text] of texts.entries()) data.set(Array.from(values(text), BigInt), i * sequence);
    return data;
  };
  const columns = {
    input_ids: row((text) => text.ids),
    attention_mask: row((text) => new Int32Array(text.ids.length).fill(1)),
    token_type_ids: row((text) => text.typeIds),
  };
  const feeds: Record<string, Tensor> = {};
  for (const name of graphInputs(session, fileName)) {
    feeds[name] = new Tensor('int64', columns[name], [texts.length, sequence]);
  }
  let results: InferenceSession.ReturnType;
  try {
    results = await session.run(feeds);
  } catch (error) {
    throw new SwitchyardError(
      'INVALID_MODEL',
      `${fileName} does not run on a batch of ${texts.length} texts of up to ${sequence} tokens: batch and sequence must be free dimensions`,
      { cause: error, details: { file: fileName } },
    );
  }
  return session.outputNames.map((name) => describe(name, results[name] as Tensor, texts.length, sequence));
}

function describe(name: string, output: Tensor, texts: number, sequence: number): GraphOutput {
  const { dims } = output;
  const isFloat = output.type === 'float32' || output.type === 'float16';
  const isSentence = isFloat && dims.length === 2 && dims[0] === texts;
  const isTokens = isFloat && dims.length === 3 && dims[0] === texts && dims[1] === sequence;
  const dimensions = dims.at(-1) ?? 0;
  return {
    name,
    kind: isSentence ? 'sentence' : isTokens ? 'tokens' : 'other',
    dims,
    dimensions,
    isUnitNorm: isSentence && rowsHaveUnitNorm(floatData(output), dimensions),
  };
}

function rowsHaveUnitNorm(values: Float32Array, dimensions: number): boolean {
  for (let start = 0; start < values.length; start += dimensions) {
    const squares = values.subarray(start, start + dimensions).reduce((sum, x) => sum + x * x, 0);
    if (!(Math.abs(Math.sqrt(squares) - 1) <= UNIT_TOLERANCE)) return false;
  }
  return true;
}

/**
 * The output to use: the one asked for; else the one named `sentence_embedding`; else the only one; else, when pooling
 * is known, the only token-level one. A `pooler_output` beside `last_hidden_state` looks like a sentence vector and
 * is none, so anything else is refused instead of guessed.
 */
export function chooseOutput(
  outputs: readonly GraphOutput[],
  wanted: string | undefined,
  poolingIsKnown: boolean,
  fileName: string,
): GraphOutput & { readonly kind: 'sentence' | 'tokens' } {
  const list = outputs.map(({ name, dims }) => `${name} [${dims.join(', ')}]`).join(', ');
  const tokenLevel = outputs.filter(({ kind }) => kind === 'tokens');
  const chosen =
    wanted !== undefined
      ? outputs.find(({ name }) => name === wanted)
      : (outputs.find(({ name }) => name === SENTENCE_OUTPUT) ??
        (outputs.length === 1 ? outputs[0] : undefined) ??
        (poolingIsKnown && tokenLevel.length === 1 ? tokenLevel[0] : undefined));
  if (!chosen) {
    const problem =
      wanted === undefined ? 'several outputs and nothing says which to use' : `no output ${wanted}`;
    throw invalid(fileName, `has ${problem}: name one of ${list}`);
  }
  const { kind } = chosen;
  if (kind === 'other' || chosen.dimensions === 0) {
    throw invalid(
      fileName,
      `gives ${chosen.name} as [${chosen.dims.join(', ')}]; it must be float [batch, dimensions] or [batch, sequence, dimensions]. Its outputs: ${list}`,
    );
  }
  return { ...chosen, kind };
}

const invalid = (fileName: string, problem: string): SwitchyardError =>
  new SwitchyardError('INVALID_MODEL', `${fileName} ${problem}`, { details: { file: fileName } });
