import type { Digest, Fingerprint, Metric, Quantization } from '../vocabulary.js';

export interface ManifestChunking {
  readonly tokens_max: number;
  readonly overlap_tokens: number;
}

/** What was read: name of the source, SHA-256 of its bytes, and its watermark when it has one. */
export interface ManifestSource {
  readonly name: string;
  readonly sha256: string;
  readonly watermark: string | null;
  /**
   * The feed that the watermark is of, also where the texts came by way of another version: its place in the sources
   * folder, or its file name. Absent: there is none, or a build of before.
   */
  readonly feed?: string;
}

export interface BundleFile {
  readonly bytes: number;
  readonly sha256: string;
}

/** `manifest.json` of a bundle. Its SHA-256, over the exact bytes on disk, is the build's digest. */
export interface BundleManifest {
  readonly format_version: 1;
  readonly corpus: string;
  readonly version: string;
  readonly model: { readonly name: string; readonly version: string; readonly fingerprint: Fingerprint };
  /** Dimensions of the index; smaller than `full_dimensions` only when truncated. */
  readonly dimensions: number;
  /** The model's; of the rows of vectors.f32. */
  readonly full_dimensions: number;
  readonly metric: Metric;
  readonly quantization: Quantization;
  readonly connectivity: number;
  readonly expansion_add: number;
  readonly expansion_search: number;
  /** Candidates fetched per wanted row and ordered by exact distance. Absent: what the format does by itself. */
  readonly rescore_factor?: number;
  /** Rows are chunks; a document has one or more. */
  readonly row_count: number;
  readonly document_count: number;
  /** How long texts were cut into rows. Absent: one row a document, or a build of before. */
  readonly chunking?: ManifestChunking;
  /** Chunks cut at the model's max tokens. */
  readonly truncated_count: number;
  readonly document_template: string;
  readonly text_normalisation: string;
  readonly builder: string;
  readonly usearch: string;
  readonly files: Readonly<Record<string, BundleFile>>;
  /** recall@10 of this index against exact search over `sample_count` of its own rows, seeded. */
  readonly recall_at_10: { readonly value: number; readonly sample_count: number; readonly seed: number };
  /**
   * Rows that no link of the graph leads to, after the builder linked them in again: near-duplicates, and short
   * vectors under `dot`. Absent: not counted.
   */
  readonly unreachable_count?: number;
  readonly source: ManifestSource;
}

export interface Bundle {
  readonly folder: string;
  readonly digest: Digest;
  readonly manifest: BundleManifest;
}
