import type { Precision } from '../../vocabulary.js';
import type { BertConfig } from './bert-config.js';
import { BertWeights } from './bert-weights.js';
import { OnnxGraphBuilder, type Value } from './onnx-graph.js';
import type { SafetensorsFile } from './safetensors.js';

export const BERT_INPUTS = ['input_ids', 'attention_mask', 'token_type_ids'] as const;
export const SENTENCE_OUTPUT = 'sentence_embedding';
export const TOKEN_OUTPUT = 'last_hidden_state';

/** Added to the attention of padding: after softmax it is exactly zero. */
const MASKED = -1e9;
const NORM_MIN = Math.fround(1e-9);

/**
 * A BERT encoder as ONNX: int64 [batch, sequence] inputs; `last_hidden_state` [batch, sequence, hidden] and
 * `sentence_embedding` [batch, hidden], the L2-normalised mean over the real tokens, float32.
 * The same checkpoint gives the same bytes.
 */
export function buildBertEncoder(
  name: string,
  checkpoint: SafetensorsFile,
  config: BertConfig,
  precision: Precision,
): Uint8Array {
  const graph = new OnnxGraphBuilder(name);
  const weights = new BertWeights(graph, checkpoint, precision);
  const [inputIds, attentionMask, tokenTypeIds] = BERT_INPUTS.map((input) =>
    graph.input(input, 'int64', ['batch', 'sequence']),
  ) as [Value, Value, Value];

  const mask = graph.cast('mask', attentionMask, 'float32');
  const attentionBias = maskToBias(graph, mask);
  let hidden = embeddings(graph, weights, config, inputIds, tokenTypeIds);
  for (let layer = 0; layer < config.layerCount; layer++) {
    hidden = encoderLayer(graph, weights, config, `encoder.layer.${layer}`, hidden, attentionBias);
  }
  graph.output(TOKEN_OUTPUT, hidden, 'float32', ['batch', 'sequence', config.hiddenSize]);
  const sentence = normalised(graph, meanOverTokens(graph, hidden, mask));
  graph.output(SENTENCE_OUTPUT, sentence, 'float32', ['batch', config.hiddenSize]);
  return graph.encode();
}

function embeddings(
  graph: OnnxGraphBuilder,
  weights: BertWeights,
  config: BertConfig,
  inputIds: Value,
  tokenTypeIds: Value,
): Value {
  const { hiddenSize, vocabularySize, positionCount, typeCount, layerNormEpsilon } = config;
  const shape = graph.node('Shape', 'input_shape', [inputIds]);
  const sequence = graph.node('Gather', 'sequence_length', [shape, graph.integers(1)]);
  const words = weights.lookupWords(
    'embeddings.word_embeddings.weight',
    inputIds,
    vocabularySize,
    hiddenSize,
  );
  const types = weights.lookup(
    'embeddings.token_type_embeddings.weight',
    tokenTypeIds,
    typeCount,
    hiddenSize,
  );
  const positions = weights.firstRows(
    'embeddings.position_embeddings.weight',
    sequence,
    positionCount,
    hiddenSize,
  );
  const typed = graph.node('Add', 'embeddings.typed', [words, types]);
  const sum = graph.node('Add', 'embeddings.sum', [typed, positions]);
  return weights.layerNorm('embeddings.LayerNorm', sum, hiddenSize, layerNormEpsilon);
}

/** [batch, sequence] of 1 and 0 → [batch, 1, 1, sequence] of 0 and MASKED. */
function maskToBias(graph: OnnxGraphBuilder, mask: Value): Value {
  const broadcast = graph.node('Unsqueeze', 'mask.broadcast', [mask, graph.integers(1, 2)]);
  const padding = graph.node('Sub', 'mask.padding', [graph.scalar(1), broadcast]);
  return graph.node('Mul', 'mask.bias', [padding, graph.scalar(MASKED)]);
}

function encoderLayer(
  graph: OnnxGraphBuilder,
  weights: BertWeights,
  config: BertConfig,
  layer: string,
  hidden: Value,
  attentionBias: Value,
): Value {
  const { hiddenSize, intermediateSize, layerNormEpsilon } = config;
  const context = selfAttention(graph, weights, config, `${layer}.attention.self`, hidden, attentionBias);
  const attended = weights.linear(`${layer}.attention.output.dense`, context, hiddenSize, hiddenSize);
  const attendedSum = graph.node('Add', `${layer}.attention.output.sum`, [attended, hidden]);
  const attention = weights.layerNorm(
    `${layer}.attention.output.LayerNorm`,
    attendedSum,
    hiddenSize,
    layerNormEpsilon,
  );
  const widened = weights.linear(`${layer}.intermediate.dense`, attention, hiddenSize, intermediateSize);
  const activated = gelu(graph, `${layer}.intermediate.gelu`, widened);
  const narrowed = weights.linear(`${layer}.output.dense`, activated, intermediateSize, hiddenSize);
  const outputSum = graph.node('Add', `${layer}.output.sum`, [narrowed, attention]);
  return weights.layerNorm(`${layer}.output.LayerNorm`, outputSum, hiddenSize, layerNormEpsilon);
}

function selfAttention(
  graph: OnnxGraphBuilder,
  weights: BertWeights,
  config: BertConfig,
  name: string,
  hidden: Value,
  attentionBias: Value,
): Value {
  const { hiddenSize, headCount } = config;
  const headSize = hiddenSize / headCount;
  const perHead = (part: string, order: readonly number[]): Value => {
    const projected = weights.linear(`${name}.${part}`, hidden, hiddenSize, hiddenSize);
    const shape = graph.integers(0, 0, headCount, headSize);
    const split = graph.node('Reshape', `${name}.${part}.heads`, [projected, shape]);
    return graph.node('Transpose', `${name}.${part}.by_head`, [split], { perm: { ints: order } });
  };
  const query = perHead('query', [0, 2, 1, 3]);
  const key = perHead('key', [0, 2, 3, 1]);
  const value = perHead('value', [0, 2, 1, 3]);

  const products = graph.node('MatMul', `${name}.products`, [query, key]);
  const scale = graph.scalar(Math.fround(1 / Math.sqrt(headSize)));
  const scores = graph.node('Mul', `${name}.scores`, [products, scale]);
  const masked = graph.node('Add', `${name}.masked`, [scores, attentionBias]);
  const shares = graph.node('Softmax', `${name}.shares`, [masked], { axis: { int: -1 } });
  const mixed = graph.node('MatMul', `${name}.mixed`, [shares, value]);
  const joined = graph.node('Transpose', `${name}.by_token`, [mixed], { perm: { ints: [0, 2, 1, 3] } });
  return graph.node('Reshape', `${name}.context`, [joined, graph.integers(0, 0, hiddenSize)]);
}

/** x · ½(1 + erf(x / √2)): the exact form, which BERT was trained with. */
function gelu(graph: OnnxGraphBuilder, name: string, x: Value): Value {
  const scaled = graph.node('Mul', `${name}.scaled`, [x, graph.scalar(Math.fround(Math.SQRT1_2))]);
  const erf = graph.node('Erf', `${name}.erf`, [scaled]);
  const shifted = graph.node('Add', `${name}.shifted`, [erf, graph.scalar(1)]);
  const doubled = graph.node('Mul', `${name}.doubled`, [x, shifted]);
  return graph.node('Mul', name, [doubled, graph.scalar(0.5)]);
}

function meanOverTokens(graph: OnnxGraphBuilder, hidden: Value, mask: Value): Value {
  const tokenMask = graph.node('Unsqueeze', 'pooling.mask', [mask, graph.integers(2)]);
  const real = graph.node('Mul', 'pooling.real', [hidden, tokenMask]);
  const sums = graph.node('ReduceSum', 'pooling.sums', [real, graph.integers(1)], { keepdims: { int: 0 } });
  const counts = graph.node('ReduceSum', 'pooling.counts', [mask, graph.integers(1)], {
    keepdims: { int: 1 },
  });
  const divisor = graph.node('Max', 'pooling.divisor', [counts, graph.scalar(NORM_MIN)]);
  return graph.node('Div', 'pooling.mean', [sums, divisor]);
}

function normalised(graph: OnnxGraphBuilder, vectors: Value): Value {
  const norm = graph.node('ReduceL2', 'normalise.norm', [vectors], {
    axes: { ints: [1] },
    keepdims: { int: 1 },
  });
  const divisor = graph.node('Max', 'normalise.divisor', [norm, graph.scalar(NORM_MIN)]);
  return graph.node('Div', 'normalise', [vectors, divisor]);
}
