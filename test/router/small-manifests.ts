import { createHash } from 'node:crypto';
import type { ModelManifest } from '../../src/encoder/manifest.js';
import type { Bundle } from '../../src/index/manifest.js';
import type { Digest, Fingerprint } from '../../src/vocabulary.js';

/** Every model has another space of this one dimension. */
export const DIMENSIONS = 16;

export const digest = (text: string): string => createHash('sha256').update(text).digest('hex');
export const fingerprintOf = (model: string): Fingerprint =>
  `mf1_${digest(model).slice(0, 32)}` as Fingerprint;
export const buildOf = (name: string): Digest => digest(`build ${name}`) as Digest;

/** A build of the test corpus: which model embedded it, and which documents it has. */
export interface BuildPlan {
  readonly name: string;
  readonly version: string;
  readonly model: string;
  readonly documents: readonly string[];
}

export const CORPUS = 'animals';

/** What the encoder of a model says of itself. */
export function modelManifest(name: string): ModelManifest {
  return {
    format_version: 1,
    name,
    version: '1',
    fingerprint: fingerprintOf(name),
    provider: 'test',
    source: 'test',
    dimensions: DIMENSIONS,
    max_tokens: 1024,
    metric: 'cosine',
    pooling: 'mean',
    normalisation: 'l2',
    query_prefix: '',
    document_prefix: '',
    precision: 'fp32',
    onnx: { inputs: ['input_ids'], output: 'vector', output_kind: 'sentence', pad_token_id: 0 },
    files: {},
  };
}

/** What the bundle of a build says of itself. */
export function bundleOf({ name, version, model, documents }: BuildPlan): Bundle {
  return {
    folder: `memory:${name}`,
    digest: buildOf(name),
    manifest: {
      format_version: 1,
      corpus: CORPUS,
      version,
      model: { name: model, version: '1', fingerprint: fingerprintOf(model) },
      dimensions: DIMENSIONS,
      full_dimensions: DIMENSIONS,
      metric: 'cosine',
      quantization: 'f32',
      connectivity: 16,
      expansion_add: 128,
      expansion_search: 64,
      row_count: documents.length,
      document_count: documents.length,
      truncated_count: 0,
      document_template: '{text}',
      text_normalisation: 'none',
      builder: 'test',
      usearch: 'none',
      files: {},
      recall_at_10: { value: 1, sample_count: 1, seed: 1 },
      source: { name: 'test', sha256: digest(name), watermark: null },
    },
  };
}
