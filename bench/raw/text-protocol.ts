import type { LatencyUs } from '../load/load-protocol.js';

/** What the runtime and usearch alone are asked to do: the model's own files, the very index, the same texts. */
export interface TextSetup {
  readonly modelFile: string;
  readonly tokenizerFile: string;
  readonly textTokensMax: number;
  readonly dimensions: number;
  readonly threads: number;
  readonly indexFile: string;
  readonly connectivity: number;
  readonly expansionAdd: number;
  readonly expansionSearch: number;
  readonly topK: number;
  readonly texts: readonly string[];
  /** Per text the rows that are its true nearest. */
  readonly truth: readonly Uint32Array[];
}

/** Texts in groups of `together`, each sorted by length and run in batches of at most `batchTokensMax` padded tokens. */
export interface TextRun {
  readonly seconds: number;
  readonly from: number;
  readonly together: number;
  readonly batchTokensMax: number;
}

export interface TextResult {
  readonly texts: number;
  readonly perSecond: number;
  readonly recall: number;
  /** Of each group, from its begin to its end: what a caller of this program waits. */
  readonly latencyUs: LatencyUs;
}

export type ToText =
  | { readonly kind: 'setup'; readonly setup: TextSetup }
  | { readonly kind: 'run'; readonly run: TextRun };
export type FromText =
  | { readonly kind: 'ready' }
  | { readonly kind: 'result'; readonly result: TextResult }
  | { readonly kind: 'failed'; readonly message: string };
