import type { SearchCorpus } from '../data/search-corpus.js';

/** Where a peer finds what was installed for it, and where it keeps the corpus once it has built it. */
export interface PeerPlace {
  /** Folder with the peers' own node_modules. */
  readonly packages: string;
  /** Folder with the peers' own Python packages. */
  readonly python: string;
  /** Of this peer and corpus alone; a build that was finished is found again. */
  readonly data: string;
}

/** Another engine over the same rows. */
export interface Peer {
  /** Name and version of engine and client. */
  readonly product: string;
  /** Kind and parameters of its index. */
  readonly index: string;
  /** What trades time for recall, from the least to the most. */
  readonly effort: { readonly name: string; readonly values: readonly number[] };
  /** The process whose tree does the searching; null for a library in this very process. */
  readonly serverPid: (() => number) | null;
  setEffort(value: number): Promise<void>;
  /** A search in the form that its client takes, made outside what is measured: gives the rows of the nearest. */
  prepare(vector: Float32Array, topK: number): () => Promise<readonly number[]>;
  close(): Promise<void>;
}

export type OpenPeer = (place: PeerPlace, corpus: SearchCorpus) => Promise<Peer>;

/** Every graph is built with these, the gateway's with its defaults, which are the same. */
export const CONNECTIVITY = 16;
export const EXPANSION_ADD = 128;
export const EFFORTS = [
  10, 16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1000,
] as const;

/** Rows `first` to `first + count - 1` of a block as plain arrays, as most clients want them. */
export function rowArrays(
  values: Float32Array,
  dimensions: number,
  first: number,
  count: number,
): { readonly row: number; readonly vector: number[] }[] {
  return Array.from({ length: count }, (_, at) => ({
    row: first + at,
    vector: Array.from(values.subarray((first + at) * dimensions, (first + at + 1) * dimensions)),
  }));
}
