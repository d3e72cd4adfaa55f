import { SwitchyardError } from '../../errors.js';
import type { Precision } from '../../vocabulary.js';
import type { OnnxGraphBuilder, Value } from './onnx-graph.js';
import { quantiseColumns, quantiseRows, transposeHalf, transposeSingle } from './quantise.js';
import type { SafetensorsFile } from './safetensors.js';

/** uint8 activations are centred here, so that zero stays exactly zero. */
const ACTIVATION_ZERO_POINT = 128;

/**
 * Puts the weights of a checkpoint into a graph at one precision. fp16 weights are cast to float32 before they are
 * used: the file halves, the arithmetic stays single precision on every provider.
 */
export class BertWeights {
  readonly #graph: OnnxGraphBuilder;
  readonly #checkpoint: SafetensorsFile;
  readonly #precision: Precision;
  #zeroPoint: Value | undefined;

  constructor(graph: OnnxGraphBuilder, checkpoint: SafetensorsFile, precision: Precision) {
    this.#graph = graph;
    this.#checkpoint = checkpoint;
    this.#precision = precision;
  }

  /** `x · Wᵀ + b` for the checkpoint's `<name>.weight` [outputs, inputs] and `<name>.bias`. */
  linear(name: string, x: Value, inputs: number, outputs: number): Value {
    const weightName = `${name}.weight`;
    this.#expectShape(weightName, [outputs, inputs]);
    const product =
      this.#precision === 'int8'
        ? this.#quantisedProduct(name, x, inputs, outputs)
        : this.#graph.node('MatMul', `${name}.product`, [x, this.#transposed(weightName, inputs, outputs)]);
    return this.#graph.node('Add', name, [product, this.#vector(`${name}.bias`, outputs)]);
  }

  layerNorm(name: string, x: Value, size: number, epsilon: number): Value {
    const scale = this.#vector(`${name}.weight`, size);
    const bias = this.#vector(`${name}.bias`, size);
    return this.#graph.node('LayerNormalization', name, [x, scale, bias], {
      axis: { int: -1 },
      epsilon: { float: epsilon },
    });
  }

  /** Rows of a small embedding table `name` [rows, size] by their numbers; never quantised. */
  lookup(name: string, ids: Value, rows: number, size: number): Value {
    this.#expectShape(name, [rows, size]);
    return this.#toSingle(name, this.#graph.node('Gather', `${name}.rows`, [this.#plain(name), ids]));
  }

  /** As `lookup`, for the vocabulary's table, half of the file: at int8 with a scale per row. */
  lookupWords(name: string, ids: Value, rows: number, size: number): Value {
    if (this.#precision !== 'int8') return this.lookup(name, ids, rows, size);
    this.#expectShape(name, [rows, size]);
    const { values, scales } = quantiseRows(this.#checkpoint.float32(name), rows, size);
    const table = this.#graph.weight(`${name}.int8`, 'int8', [rows, size], values);
    const tableScales = this.#graph.weightF32(`${name}.scales`, [rows, 1], scales);
    const gathered = this.#graph.node('Gather', `${name}.rows`, [table, ids]);
    const gatheredScales = this.#graph.node('Gather', `${name}.row_scales`, [tableScales, ids]);
    const single = this.#graph.cast(`${name}.rows_f32`, gathered, 'float32');
    return this.#graph.node('Mul', `${name}.embedded`, [single, gatheredScales]);
  }

  /** The first `count` (a value of shape [1]) rows of a small table; never quantised. */
  firstRows(name: string, count: Value, rows: number, size: number): Value {
    this.#expectShape(name, [rows, size]);
    const zero = this.#graph.integers(0);
    const slice = this.#graph.node('Slice', `${name}.rows`, [this.#plain(name), zero, count, zero]);
    return this.#toSingle(name, slice);
  }

  /**
   * int8 weights with a scale per output channel, uint8 activations with a scale per token.
   * Per token, because one scale for the whole tensor (`DynamicQuantizeLinear`) makes a text's vector depend on the
   * texts it shares a batch with. And the weight scale is multiplied first, the token scale second: multiplied with
   * each other first, the runtime fuses the pattern as if the token scale were one number, and the vectors are
   * garbage without an error. Checked on AVX512-VNNI only; elsewhere prefer fp16.
   */
  #quantisedProduct(name: string, x: Value, inputs: number, outputs: number): Value {
    const graph = this.#graph;
    const { values, scales } = quantiseColumns(this.#checkpoint.float32(`${name}.weight`), inputs, outputs);
    const weight = graph.weight(`${name}.weight.int8`, 'int8', [inputs, outputs], values);
    const weightScales = graph.weightF32(`${name}.weight.scales`, [outputs], scales);
    const zeroPoint = this.#activationZeroPoint();

    const absolute = graph.node('Abs', `${name}.abs`, [x]);
    const largest = graph.node('ReduceMax', `${name}.max`, [absolute], {
      axes: { ints: [-1] },
      keepdims: { int: 1 },
    });
    const step = graph.node('Mul', `${name}.step`, [largest, graph.scalar(Math.fround(1 / 127))]);
    const tokenScale = graph.node('Max', `${name}.token_scale`, [step, graph.scalar(Math.fround(1e-12))]);
    const scaled = graph.node('Div', `${name}.scaled`, [x, tokenScale]);
    const rounded = graph.node('Round', `${name}.rounded`, [scaled]);
    const shifted = graph.node('Add', `${name}.shifted`, [rounded, graph.scalar(ACTIVATION_ZERO_POINT)]);
    const quantised = graph.cast(`${name}.uint8`, shifted, 'uint8');

    const sums = graph.node('MatMulInteger', `${name}.sums`, [quantised, weight, zeroPoint]);
    const single = graph.cast(`${name}.sums_f32`, sums, 'float32');
    const byChannel = graph.node('Mul', `${name}.by_channel`, [single, weightScales]);
    return graph.node('Mul', `${name}.product`, [byChannel, tokenScale]);
  }

  #activationZeroPoint(): Value {
    this.#zeroPoint ??= this.#graph.weight(
      'activation_zero_point',
      'uint8',
      [],
      Uint8Array.of(ACTIVATION_ZERO_POINT),
    );
    return this.#zeroPoint;
  }

  #transposed(name: string, inputs: number, outputs: number): Value {
    if (this.#precision === 'fp16') {
      const bytes = transposeHalf(this.#halfBytes(name), outputs, inputs);
      return this.#toSingle(
        name,
        this.#graph.weight(`${name}.transposed`, 'float16', [inputs, outputs], bytes),
      );
    }
    const values = transposeSingle(this.#checkpoint.float32(name), outputs, inputs);
    return this.#graph.weightF32(`${name}.transposed`, [inputs, outputs], values);
  }

  /** A table as it is: float32 at fp32, else the checkpoint's own half precision. */
  #plain(name: string): Value {
    const shape = this.#checkpoint.shape(name);
    return this.#precision === 'fp32'
      ? this.#graph.weightF32(name, shape, this.#checkpoint.float32(name))
      : this.#graph.weight(name, 'float16', shape, this.#halfBytes(name));
  }

  #toSingle(name: string, value: Value): Value {
    return this.#precision === 'fp32' ? value : this.#graph.cast(`${name}.f32`, value, 'float32');
  }

  #vector(name: string, size: number): Value {
    this.#expectShape(name, [size]);
    return this.#graph.weightF32(name, [size], this.#checkpoint.float32(name));
  }

  #halfBytes(name: string): Uint8Array {
    const dtype = this.#checkpoint.dtype(name);
    if (dtype === 'F16') return this.#checkpoint.bytes(name);
    throw this.#invalid(`${name} is ${dtype}; the precisions fp16 and int8 are made from F16 weights`);
  }

  #expectShape(name: string, expected: readonly number[]): void {
    const shape = this.#checkpoint.shape(name);
    if (shape.length === expected.length && shape.every((size, i) => size === expected[i])) return;
    throw this.#invalid(
      `${name} has the shape [${shape.join(', ')}]; config.json makes it [${expected.join(', ')}]`,
    );
  }

  #invalid(problem: string): SwitchyardError {
    const { fileName } = this.#checkpoint;
    return new SwitchyardError('INVALID_MODEL', `${fileName}: ${problem}`, { details: { file: fileName } });
  }
}
