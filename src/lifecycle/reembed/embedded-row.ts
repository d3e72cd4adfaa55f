import type { StoredDocument } from '../../index/search-index.js';

/** A row with all that a build needs of it, and what a later one can know it by. */
export interface EmbeddedRow {
  readonly documentId: string;
  readonly chunk: number;
  readonly truncated: boolean;
  /** SHA-256 of the embedded text, hex. */
  readonly textHash: string;
  readonly sourceVersion: number | null;
  /** With chunk 0. */
  readonly document?: StoredDocument;
}

/** Rows and their vectors, row-major. */
export interface EmbeddedBlock {
  readonly rows: readonly EmbeddedRow[];
  readonly vectors: Float32Array<ArrayBuffer>;
}
