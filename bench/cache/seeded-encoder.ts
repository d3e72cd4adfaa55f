import type { Encoder } from '../../src/encoder/encoder.js';
import { SeededRandom } from '../../src/index/seeded-random.js';
import type { Fingerprint } from '../../src/vocabulary.js';

export const DIMENSIONS = 384;
export const CORPUS = 'bench';
export const MODEL = { name: 'seeded', version: '1', fingerprint: `mf1_${'6'.repeat(32)}` as Fingerprint };
export const MODEL_REF = `${MODEL.name}@${MODEL.version}`;

/** A vector drawn from the text's own characters: enough to fill a cache with. */
function vectorOf(text: string): Float32Array {
  let seed = 1;
  for (let at = 0; at < text.length; at++) seed = (Math.imul(seed, 31) + text.charCodeAt(at)) >>> 0;
  const random = new SeededRandom(seed);
  return Float32Array.from({ length: DIMENSIONS }, () => random.normal());
}

/** Stands where a model's process would: a target does not open without an encoder. */
export function seededEncoder(): Encoder {
  return {
    model: {
      format_version: 1,
      ...MODEL,
      provider: 'bench',
      source: 'seeded',
      dimensions: DIMENSIONS,
      max_tokens: 256,
      metric: 'cosine',
      pooling: 'mean',
      normalisation: 'l2',
      query_prefix: '',
      document_prefix: '',
      precision: 'fp32',
      onnx: { inputs: ['input_ids'], output: 'vector', output_kind: 'sentence', pad_token_id: 0 },
      files: {},
    },
    state: { kind: 'ready', provider: 'cpu', fallbackReason: null, pid: process.pid },
    ready: () => Promise.resolve(),
    encode: async ({ texts }) => {
      const values = new Float32Array(texts.length * DIMENSIONS);
      texts.forEach((text, at) => {
        values.set(vectorOf(text), at * DIMENSIONS);
      });
      return {
        fingerprint: MODEL.fingerprint,
        dimensions: DIMENSIONS,
        values,
        tokenCounts: new Uint32Array(texts.length).fill(1),
        truncatedCount: 0,
        queueUs: 0,
        encodeUs: 0,
      };
    },
    close: () => Promise.resolve(),
  };
}
