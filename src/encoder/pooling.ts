import type { Tensor } from 'onnxruntime-node';
import { SwitchyardError } from '../errors.js';
import { float16ToFloat32 } from './float16.js';
import type { Normalisation, Pooling } from './manifest.js';

export interface BatchShape {
  /** What the run was padded to. */
  readonly texts: number;
  readonly sequence: number;
  readonly dimensions: number;
  /** The first so many texts are real. */
  readonly rows: number;
}

/** A [texts, dimensions] output as vectors of its own memory: rows × dimensions. */
export function poolSentences(output: Tensor, shape: BatchShape, normalisation: Normalisation): Float32Array {
  expectDims(output, [shape.texts, shape.dimensions]);
  const values = floatData(output).slice(0, shape.rows * shape.dimensions);
  return finish(values, shape.dimensions, normalisation);
}

/**
 * A [texts, sequence, dimensions] output folded over the real tokens of each text (`lengths`).
 * Sums in double precision, so the order of the texts cannot show in the result. Errors: INTERNAL for a text without tokens.
 */
export function poolTokens(
  output: Tensor,
  shape: BatchShape,
  lengths: readonly number[],
  pooling: Pooling,
  normalisation: Normalisation,
): Float32Array {
  const { texts, sequence, dimensions, rows } = shape;
  expectDims(output, [texts, sequence, dimensions]);
  const tokens = floatData(output);
  const values = new Float32Array(rows * dimensions);
  for (let row = 0; row < rows; row++) {
    const start = row * sequence * dimensions;
    const length = lengths[row] as number;
    // The last of no tokens would be a neighbour's.
    if (length === 0) throw new SwitchyardError('INTERNAL', 'a text without tokens has no vectors to pool');
    const vector = values.subarray(row * dimensions, (row + 1) * dimensions);
    switch (pooling) {
      case 'mean':
        meanInto(vector, tokens.subarray(start, start + length * dimensions));
        break;
      case 'cls':
        vector.set(tokens.subarray(start, start + dimensions));
        break;
      case 'last_token':
        vector.set(tokens.subarray(start + (length - 1) * dimensions, start + length * dimensions));
        break;
      case 'in_graph':
        throw new SwitchyardError(
          'INVALID_MODEL',
          'a token-level output needs a pooling: mean, cls or last_token',
        );
      default:
        pooling satisfies never;
    }
  }
  return finish(values, dimensions, normalisation);
}

function meanInto(vector: Float32Array, tokens: Float32Array): void {
  const dimensions = vector.length;
  const sums = new Float64Array(dimensions);
  for (let i = 0; i < tokens.length; i += dimensions) {
    for (let d = 0; d < dimensions; d++) sums[d] = (sums[d] as number) + (tokens[i + d] as number);
  }
  const count = tokens.length / dimensions;
  for (let d = 0; d < dimensions; d++) vector[d] = (sums[d] as number) / count;
}

/** Normalises in place and refuses what is not finite: a vector with NaN would match everything. */
function finish(values: Float32Array, dimensions: number, normalisation: Normalisation): Float32Array {
  for (let start = 0; start < values.length; start += dimensions) {
    let squares = 0;
    for (let d = start; d < start + dimensions; d++) squares += (values[d] as number) ** 2;
    if (!Number.isFinite(squares)) {
      throw new SwitchyardError('INTERNAL', 'the model answered with numbers that are not finite');
    }
    if (normalisation === 'none' || squares === 0) continue;
    const norm = Math.sqrt(squares);
    for (let d = start; d < start + dimensions; d++) values[d] = (values[d] as number) / norm;
  }
  return values;
}

/** The numbers of a float32 or float16 tensor. Errors: INVALID_MODEL for any other type. */
export function floatData(output: Tensor): Float32Array {
  if (output.type === 'float32') return output.data as Float32Array;
  if (output.type === 'float16') return float16ToFloat32(asHalfBits(output.data));
  throw new SwitchyardError(
    'INVALID_MODEL',
    `the model's output has type ${output.type}; it must be float32 or float16`,
  );
}

/** Node 20 hands float16 over as its bits, newer ones as a Float16Array over the same bits. */
function asHalfBits(data: Tensor['data']): Uint16Array {
  const view = data as Uint16Array;
  return new Uint16Array(view.buffer, view.byteOffset, view.length);
}

function expectDims(output: Tensor, expected: readonly number[]): void {
  const { dims } = output;
  if (dims.length === expected.length && dims.every((dim, i) => dim === expected[i])) return;
  throw new SwitchyardError(
    'INVALID_MODEL',
    `the model's output has the shape [${dims.join(', ')}], its manifest promises [${expected.join(', ')}]`,
  );
}
