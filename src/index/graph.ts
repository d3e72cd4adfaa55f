import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { exactSearch, Index, MetricKind, ScalarKind } from 'usearch';
import type { Quantization } from '../vocabulary.js';
import type { UsearchMetric } from './formats.js';

/**
 * The only place that touches usearch. Everything here blocks the calling thread: worker threads only (invariant 7).
 */
const METRIC_KINDS: Readonly<Record<UsearchMetric, MetricKind>> = {
  cos: MetricKind.Cos,
  ip: MetricKind.IP,
  l2sq: MetricKind.L2sq,
  hamming: MetricKind.Hamming,
};
const SCALAR_KINDS: Readonly<Record<Quantization, ScalarKind>> = {
  f32: ScalarKind.F32,
  f16: ScalarKind.F16,
  bf16: ScalarKind.BF16,
  i8: ScalarKind.I8,
  b1: ScalarKind.B1,
};

export interface GraphParameters {
  readonly dimensions: number;
  readonly usearchMetric: UsearchMetric;
  readonly quantization: Quantization;
  readonly connectivity: number;
  readonly expansionAdd: number;
  /** Not stored in the file, so it must be given every time. */
  readonly expansionSearch: number;
}

/** Rows nearest to a query, nearest first, equal distances in order of row number. */
export interface RowHits {
  readonly rows: Uint32Array;
  readonly distances: Float32Array;
}

const createIndex = (parameters: GraphParameters): Index =>
  new Index({
    dimensions: parameters.dimensions,
    metric: METRIC_KINDS[parameters.usearchMetric],
    quantization: SCALAR_KINDS[parameters.quantization],
    connectivity: parameters.connectivity,
    expansion_add: parameters.expansionAdd,
    expansion_search: parameters.expansionSearch,
    multi: false,
  });

export class Graph {
  readonly #parameters: GraphParameters;
  readonly #index: Index;

  constructor(parameters: GraphParameters) {
    this.#parameters = parameters;
    this.#index = createIndex(parameters);
  }

  /** `threads` must be the same on every call: the first reservation fixes usearch's thread slots. */
  add(firstRow: number, vectors: Float32Array, threads: number): void {
    const keys = new BigUint64Array(vectors.length / this.#parameters.dimensions);
    for (let i = 0; i < keys.length; i++) keys[i] = BigInt(firstRow + i);
    this.#index.add(keys, vectors, threads);
  }

  /**
   * Takes a row out and links it in again, alone, into the same slot. One at a time, or rows would swap slots.
   * A call with one row runs on one thread, whatever `threads` says, and leaves the thread slots as they are.
   */
  relink(row: number, vector: Float32Array, threads: number): void {
    this.#index.remove(BigInt(row));
    this.add(row, vector, threads);
  }

  save(file: string): void {
    this.#index.save(file);
  }

  /** Maps the file in place of what the object held before, and gives that memory back. */
  view(file: string): void {
    this.#index.view(file);
  }

  /** May return fewer than `count` rows although there are more: HNSW does not reach every node from everywhere. */
  search(query: Float32Array, count: number): RowHits {
    const { keys, distances } = this.#index.search(query, count, 1);
    const rows = new Uint32Array(keys.length);
    for (let i = 0; i < rows.length; i++) rows[i] = Number(keys[i]);
    return { rows, distances };
  }

  /** usearch has no close, and garbage collection is slow to free: viewing an empty index unmaps at once. */
  release(): void {
    const file = path.join(tmpdir(), `.switchyard-empty-${process.pid}-${randomBytes(6).toString('hex')}`);
    try {
      createIndex(this.#parameters).save(file);
      this.#index.view(file);
    } finally {
      rmSync(file, { force: true });
    }
  }
}

/** Nearest rows of a block by brute force. `block` and `queries` must start at byte 0 of their buffers. */
export function exactBlock(
  block: Float32Array,
  queries: Float32Array,
  dimensions: number,
  count: number,
  metric: UsearchMetric,
  threads: number,
): { readonly keys: BigUint64Array; readonly distances: Float32Array } {
  // exactSearch ignores byteOffset: it would read the start of the buffer instead.
  if (block.byteOffset !== 0 || queries.byteOffset !== 0)
    throw new RangeError('exactBlock takes whole buffers, not views into them');
  const { keys, distances } = exactSearch(block, queries, dimensions, count, METRIC_KINDS[metric], threads);
  return { keys, distances };
}
