import { Tensor } from 'onnxruntime-node';
import type { ModelManifest } from './manifest.js';
import type { TokenisedText } from './tokenizer.js';

/** What a run is padded to. */
export interface RunShape {
  readonly texts: number;
  /** Tokens of each text. */
  readonly tokens: number;
}

/**
 * The least that the texts fit in. A tokenizer without special tokens gives an empty text no tokens; a graph needs one,
 * which the mask leaves out.
 */
export const tightShape = (texts: readonly TokenisedText[]): RunShape => ({
  texts: texts.length,
  tokens: texts.reduce((longest, text) => Math.max(longest, text.ids.length), 1),
});

/** What a run is given: the data of an int64 [shape.texts, shape.tokens] tensor for each input of the graph. */
export interface BatchInputs {
  readonly data: Readonly<Record<string, BigInt64Array<ArrayBuffer>>>;
  readonly shape: RunShape;
  /** Tokens of each text; there are as many texts. */
  readonly lengths: readonly number[];
}

/**
 * int64 [shape.texts, shape.tokens] tensors, padded on the right; padding is masked, so its token id never matters. Rows
 * beyond the texts repeat the first one, since a row without any token may be a division by zero in a graph.
 */
export function batchInputs(
  texts: readonly TokenisedText[],
  shape: RunShape,
  { onnx }: ModelManifest,
): BatchInputs {
  const size = shape.texts * shape.tokens;
  const buffers = {
    input_ids: new BigInt64Array(size),
    attention_mask: new BigInt64Array(size),
    token_type_ids: new BigInt64Array(size),
  };
  if (onnx.pad_token_id !== 0) buffers.input_ids.fill(BigInt(onnx.pad_token_id));
  // A BigInt for every token is an allocation for every token: the low halves are written as 32-bit numbers instead.
  const ids = new Int32Array(buffers.input_ids.buffer);
  const mask = new Int32Array(buffers.attention_mask.buffer);
  const types = new Int32Array(buffers.token_type_ids.buffer);
  for (let row = 0; row < shape.texts; row++) {
    const text = texts[row] ?? (texts[0] as TokenisedText);
    let at = row * shape.tokens * 2 + LOW_HALF;
    for (let i = 0; i < text.ids.length; i++, at += 2) {
      ids[at] = text.ids[i] as number;
      types[at] = text.typeIds[i] as number;
      mask[at] = 1;
    }
  }
  const data: Record<string, BigInt64Array<ArrayBuffer>> = {};
  for (const input of onnx.inputs) data[input] = buffers[input];
  return { data, shape, lengths: texts.map((text) => text.ids.length) };
}

export function inputTensors({ data, shape }: BatchInputs): Record<string, Tensor> {
  const tensors: Record<string, Tensor> = {};
  for (const [input, values] of Object.entries(data))
    tensors[input] = new Tensor('int64', values, [shape.texts, shape.tokens]);
  return tensors;
}

export const batchTensors = (
  texts: readonly TokenisedText[],
  shape: RunShape,
  manifest: ModelManifest,
): Record<string, Tensor> => inputTensors(batchInputs(texts, shape, manifest));

/** Where a small number's bits lie in the two halves of an int64. */
const LOW_HALF = new Int32Array(BigInt64Array.of(1n).buffer)[0] === 1 ? 0 : 1;
