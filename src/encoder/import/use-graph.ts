import { SwitchyardError } from '../../errors.js';
import { float32ToFloat16 } from '../float16.js';
import { SENTENCE_OUTPUT } from './bert-graph.js';
import { OnnxGraphBuilder, type Value } from './onnx-graph.js';
import type { TfjsWeights } from './tfjs-weights.js';

export const USE_INPUTS = ['input_ids', 'attention_mask'] as const;
export const USE_DIMENSIONS = 512;
export const USE_MAX_TOKENS = 128;

/** Rows of the table of token vectors; the vocabulary has two pieces less. */
export const USE_VOCABULARY = 8002;
const HEAD_COUNT = 4;
const FEED_FORWARD = 1536;
/** Width of what each of the two layers takes; both give USE_DIMENSIONS. */
const LAYER_WIDTHS = [256, 512] as const;
const EMBEDDING = LAYER_WIDTHS[0];

/** What all parts of the graph need. */
interface Parts {
  readonly graph: OnnxGraphBuilder;
  readonly weights: TfjsWeights;
  readonly layerNormEpsilon: number;
}

/**
 * Universal Sentence Encoder lite, a transformer of two layers, as ONNX with half-precision weights that are cast up
 * before use: int64 [batch, sequence] inputs, `sentence_embedding` float32 [batch, 512] of norm 1.
 * The same weights give the same bytes. Errors: INVALID_MODEL when they are another model's.
 */
export function buildUseEncoder(name: string, weights: TfjsWeights): Uint8Array {
  expectConstants(weights);
  const graph = new OnnxGraphBuilder(name);
  const parts: Parts = {
    graph,
    weights,
    layerNormEpsilon: weights.float('FFN/layer_prepostprocess/layer_norm/Cast/x'),
  };
  const [inputIds, attentionMask] = USE_INPUTS.map((input) =>
    graph.input(input, 'int64', ['batch', 'sequence']),
  ) as [Value, Value];
  const mask = graph.cast('mask', attentionMask, 'float32');
  const attentionBias = maskToBias(parts, mask);

  let hidden = embeddings(parts, inputIds);
  for (const [layer, width] of LAYER_WIDTHS.entries()) {
    hidden = encoderLayer(parts, `Layer_${layer}/TransformerLayer`, width, hidden, attentionBias);
  }
  const mean = meanOverTokens(parts, hidden, mask);
  const projected = linear(parts, 'tanh_layer_0', mean, 'tanh_layer_0/weights', 'tanh_layer_0/bias', [
    USE_DIMENSIONS,
    USE_DIMENSIONS,
  ]);
  const sentence = normalised(parts, graph.node('Tanh', 'sentence', [projected]));
  graph.output(SENTENCE_OUTPUT, sentence, 'float32', ['batch', USE_DIMENSIONS]);
  weights.expectAllUsed();
  return graph.encode();
}

/** Numbers of the graph that are built in here: another one would be another model. */
function expectConstants(weights: TfjsWeights): void {
  const constants: Readonly<Record<string, number>> = {
    'ClipToMaxLength/Less/y': USE_MAX_TOKENS,
    'split_heads/split_last_dimension/Reshape/shape/2': HEAD_COUNT,
  };
  for (const [suffix, expected] of Object.entries(constants)) {
    const actual = weights.integer(suffix);
    if (actual === expected) continue;
    throw new SwitchyardError(
      'INVALID_MODEL',
      `model.json has ${suffix} = ${actual}; it must be ${expected}`,
      {
        details: { file: 'model.json' },
      },
    );
  }
}

/** Twice the token's vector (the model adds it again when it adds the position) and the position's sines and cosines. */
function embeddings(parts: Parts, inputIds: Value): Value {
  const { graph } = parts;
  const table = matrix(parts, 'module/Embeddings_en', [USE_VOCABULARY, EMBEDDING]);
  const tokens = graph.node('Gather', 'embeddings.tokens', [table, inputIds]);
  const doubled = graph.node('Add', 'embeddings.doubled', [tokens, tokens]);
  return graph.node('Add', 'embeddings', [doubled, positions(parts, inputIds)]);
}

/** [sequence, width]: sines, then cosines, of the position times falling frequencies. */
function positions(parts: Parts, inputIds: Value): Value {
  const { graph, weights } = parts;
  const half = EMBEDDING / 2;
  const frequencies = graph.weightF32(
    'positions.frequencies',
    [1, half],
    weights.floats('AddTimingSignal/TimingSignal/ExpandDims_1', [1, half]),
  );
  const shape = graph.node('Shape', 'positions.input_shape', [inputIds]);
  const length = graph.node('Gather', 'positions.length', [shape, graph.integers(1)]);
  const end = graph.node('Squeeze', 'positions.end', [length, graph.integers(0)]);
  const integer = (name: string, value: number): Value =>
    graph.weight(name, 'int64', [], new Uint8Array(BigInt64Array.of(BigInt(value)).buffer));
  const range = graph.node('Range', 'positions.range', [
    integer('positions.start', 0),
    end,
    integer('positions.step', 1),
  ]);
  const column = graph.node('Unsqueeze', 'positions.column', [range, graph.integers(1)]);
  const angles = graph.node('Mul', 'positions.angles', [
    graph.cast('positions.numbers', column, 'float32'),
    frequencies,
  ]);
  const waves = [
    graph.node('Sin', 'positions.sines', [angles]),
    graph.node('Cos', 'positions.cosines', [angles]),
  ];
  return graph.node('Concat', 'positions', waves, { axis: { int: -1 } });
}

/** [batch, sequence] of 1 and 0 → [batch, 1, 1, sequence] of 0 and a number that softmax makes zero. */
function maskToBias({ graph, weights }: Parts, mask: Value): Value {
  const masked = weights.float('attention_bias_ignore_padding/mul/y');
  const broadcast = graph.node('Unsqueeze', 'mask.broadcast', [mask, graph.integers(1, 2)]);
  const padding = graph.node('Sub', 'mask.padding', [graph.scalar(1), broadcast]);
  return graph.node('Mul', 'mask.bias', [padding, graph.scalar(masked)]);
}

/** Pre-norm: each half normalises what it takes and adds what it gives to it. */
function encoderLayer(
  parts: Parts,
  layer: string,
  width: number,
  hidden: Value,
  attentionBias: Value,
): Value {
  const { graph } = parts;
  const attended = selfAttention(parts, layer, width, hidden, attentionBias);
  const attention = graph.node('Add', `${layer}/attention_sum`, [
    attended,
    residual(parts, layer, width, hidden),
  ]);

  const block = `${layer}/FFN`;
  const normed = layerNorm(parts, block, USE_DIMENSIONS, attention);
  const convolution = (name: string, x: Value, inputs: number, outputs: number): Value =>
    linear(
      parts,
      `${block}/${name}`,
      x,
      `${block}/${name}/Tensordot/Reshape_1`,
      `${block}/${name}/bias/ConcatPartitions/concat`,
      [inputs, outputs],
    );
  const widened = convolution('conv1', normed, USE_DIMENSIONS, FEED_FORWARD);
  const activated = graph.node('Relu', `${block}/relu`, [widened]);
  const narrowed = convolution('conv2', activated, FEED_FORWARD, USE_DIMENSIONS);
  return graph.node('Add', `${layer}/output`, [narrowed, attention]);
}

/** The first layer gives more than it takes, so what it adds to is projected first. */
function residual(parts: Parts, layer: string, width: number, hidden: Value): Value {
  if (width === USE_DIMENSIONS) return hidden;
  return linear(
    parts,
    `${layer}/residual`,
    hidden,
    `${layer}/dense/kernel/ConcatPartitions/concat`,
    `${layer}/dense/bias/ConcatPartitions/concat`,
    [width, USE_DIMENSIONS],
  );
}

function selfAttention(
  parts: Parts,
  layer: string,
  width: number,
  hidden: Value,
  attentionBias: Value,
): Value {
  const { graph, weights } = parts;
  const name = `${layer}/MultiheadAttention`;
  const normed = layerNorm(parts, layer, width, hidden);
  const joined = convolution(parts, `${name}/qkv_transform_single`, normed, width, 3 * width);
  // Queries, keys and values lie side by side.
  const part = (index: number, label: string, order: readonly number[]): Value => {
    const slice = graph.node('Slice', `${name}/${label}`, [
      joined,
      graph.integers(index * width),
      graph.integers((index + 1) * width),
      graph.integers(2),
    ]);
    const shape = graph.integers(0, 0, HEAD_COUNT, width / HEAD_COUNT);
    const split = graph.node('Reshape', `${name}/${label}/heads`, [slice, shape]);
    return graph.node('Transpose', `${name}/${label}/by_head`, [split], { perm: { ints: order } });
  };
  const query = part(0, 'query', [0, 2, 1, 3]);
  const key = part(1, 'key', [0, 2, 3, 1]);
  const value = part(2, 'value', [0, 2, 1, 3]);

  const scaled = graph.node('Mul', `${name}/scaled`, [query, graph.scalar(weights.float(`${name}/mul/y`))]);
  const scores = graph.node('MatMul', `${name}/scores`, [scaled, key]);
  const masked = graph.node('Add', `${name}/masked`, [scores, attentionBias]);
  const shares = graph.node('Softmax', `${name}/shares`, [masked], { axis: { int: -1 } });
  const mixed = graph.node('MatMul', `${name}/mixed`, [shares, value]);
  const byToken = graph.node('Transpose', `${name}/by_token`, [mixed], { perm: { ints: [0, 2, 1, 3] } });
  const context = graph.node('Reshape', `${name}/context`, [byToken, graph.integers(0, 0, width)]);
  return convolution(parts, `${name}/output_transform_single`, context, width, USE_DIMENSIONS);
}

/** What TensorFlow made a convolution of width 1: a linear map. */
function convolution(parts: Parts, name: string, x: Value, inputs: number, outputs: number): Value {
  const { graph, weights } = parts;
  const kernel = weights.floats(`${name}/kernel/part_0`, [1, 1, inputs, outputs]);
  const product = graph.node('MatMul', `${name}/product`, [x, half(graph, name, kernel, [inputs, outputs])]);
  return graph.node('Add', name, [product, vector(parts, `${name}/bias/ConcatPartitions/concat`, outputs)]);
}

function linear(
  parts: Parts,
  name: string,
  x: Value,
  kernelName: string,
  biasName: string,
  shape: readonly [inputs: number, outputs: number],
): Value {
  const product = parts.graph.node('MatMul', `${name}/product`, [x, matrix(parts, kernelName, shape)]);
  return parts.graph.node('Add', name, [product, vector(parts, biasName, shape[1])]);
}

function layerNorm(parts: Parts, block: string, width: number, x: Value): Value {
  const name = `${block}/layer_prepostprocess/layer_norm`;
  const scale = vector(parts, `${name}/layer_norm_scale/ConcatPartitions/concat`, width);
  const bias = vector(parts, `${name}/layer_norm_bias/ConcatPartitions/concat`, width);
  return parts.graph.node('LayerNormalization', name, [x, scale, bias], {
    axis: { int: -1 },
    epsilon: { float: parts.layerNormEpsilon },
  });
}

function meanOverTokens({ graph }: Parts, hidden: Value, mask: Value): Value {
  const column = graph.node('Unsqueeze', 'pooling.mask', [mask, graph.integers(2)]);
  const real = graph.node('Mul', 'pooling.real', [hidden, column]);
  const sums = graph.node('ReduceSum', 'pooling.sums', [real, graph.integers(1)], { keepdims: { int: 0 } });
  const counts = graph.node('ReduceSum', 'pooling.counts', [mask, graph.integers(1)], {
    keepdims: { int: 1 },
  });
  // A text without a token has the vector of an all-zero mean.
  const divisor = graph.node('Max', 'pooling.divisor', [counts, graph.scalar(1)]);
  return graph.node('Div', 'pooling.mean', [sums, divisor]);
}

function normalised({ graph, weights }: Parts, vectors: Value): Value {
  const norm = graph.node('ReduceL2', 'normalise.norm', [vectors], {
    axes: { ints: [1] },
    keepdims: { int: 1 },
  });
  // The file has the bound of the squared norm.
  const normMin = Math.fround(Math.sqrt(weights.float('l2_normalize/Maximum/y')));
  const divisor = graph.node('Max', 'normalise.divisor', [norm, graph.scalar(normMin)]);
  return graph.node('Div', 'normalise', [vectors, divisor]);
}

const matrix = ({ graph, weights }: Parts, name: string, shape: readonly number[]): Value =>
  half(graph, name, weights.floats(name, shape), shape);

const vector = ({ graph, weights }: Parts, name: string, size: number): Value =>
  graph.weightF32(name, [size], weights.floats(name, [size]));

/** Half the file; single-precision arithmetic all the same. */
function half(graph: OnnxGraphBuilder, name: string, values: Float32Array, shape: readonly number[]): Value {
  const bits = float32ToFloat16(values);
  const stored = graph.weight(`${name}.fp16`, 'float16', shape, new Uint8Array(bits.buffer));
  return graph.cast(`${name}.weight`, stored, 'float32');
}
