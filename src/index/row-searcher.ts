import { SwitchyardError } from '../errors.js';
import type { Metric } from '../vocabulary.js';
import { exactDistance, normOf } from './distances.js';
import { INDEX_FILE } from './file-names.js';
import { type Format, formatOf } from './formats.js';
import { Graph, type RowHits } from './graph.js';
import type { BundleManifest } from './manifest.js';
import type { SearchFiles } from './placement.js';
import { toGraphVectors } from './vector-check.js';
import { VectorsFile } from './vectors-file.js';

export type SearchableManifest = Pick<
  BundleManifest,
  | 'dimensions'
  | 'full_dimensions'
  | 'metric'
  | 'quantization'
  | 'connectivity'
  | 'expansion_add'
  | 'expansion_search'
  | 'rescore_factor'
  | 'row_count'
  | 'document_count'
>;

export const graphParametersOf = (manifest: SearchableManifest, format: Format) => ({
  dimensions: manifest.dimensions,
  usearchMetric: format.usearchMetric,
  quantization: manifest.quantization,
  connectivity: manifest.connectivity,
  expansionAdd: manifest.expansion_add,
  expansionSearch: manifest.expansion_search,
});

/** Searches the rows of one build: the graph, and exact distances where the format asks for them. Blocks its thread. */
export class RowSearcher {
  readonly metric: Metric;
  readonly rowCount: number;
  readonly vectors: VectorsFile;
  readonly #format: Format;
  readonly #graph: Graph;
  /** Of the graph; a query has those of the model. */
  readonly #dimensions: number;

  /** Maps index.usearch and opens vectors.f32, both of which must have been verified. */
  constructor(files: SearchFiles, manifest: SearchableManifest) {
    this.metric = manifest.metric;
    this.rowCount = manifest.row_count;
    this.#format = formatOf(manifest);
    this.#dimensions = manifest.dimensions;
    this.vectors = new VectorsFile(files.vectors, manifest.row_count, manifest.full_dimensions);
    try {
      this.#graph = new Graph(graphParametersOf(manifest, this.#format));
      this.#graph.view(files.index);
    } catch (error) {
      this.vectors.close();
      throw new SwitchyardError(
        'CORRUPT_BUNDLE',
        `${INDEX_FILE} cannot be mapped: verify the bundle or fetch it again`,
        { cause: error },
      );
    }
  }

  /** Nearest rows, at most `count`, sorted. Errors: INTERNAL when a distance is not finite. */
  search(query: Float32Array, count: number): RowHits {
    const { rescoring } = this.#format;
    if (rescoring === null) return sortHits(this.#graph.search(query, Math.min(count, this.rowCount)));
    const candidates = Math.max(count * rescoring.factor, rescoring.candidatesMin);
    const { rows } = this.#graph.search(this.#graphQuery(query), Math.min(candidates, this.rowCount));
    const distances = new Float32Array(rows.length);
    const norm = normOf(query);
    for (let i = 0; i < rows.length; i++) distances[i] = this.#exactDistance(query, norm, rows[i] as number);
    const sorted = sortHits({ rows, distances });
    return { rows: sorted.rows.subarray(0, count), distances: sorted.distances.subarray(0, count) };
  }

  #graphQuery(query: Float32Array): Float32Array {
    if (query.length === this.#dimensions) return query;
    const whole = new Float32Array(query);
    return toGraphVectors(whole, query.length, this.#dimensions, this.#format.usearchMetric);
  }

  /** Exact distances of all rows, from one pass over vectors.f32. */
  scan(query: Float32Array): Float32Array {
    const distances = new Float32Array(this.rowCount);
    const norm = normOf(query);
    const { dimensions } = this.vectors;
    for (const { firstRow, values } of this.vectors.blocks()) {
      const rows = values.length / dimensions;
      for (let i = 0; i < rows; i++) {
        const distance = exactDistance(this.metric, query, norm, values, i * dimensions);
        if (!Number.isFinite(distance)) throw nonFiniteDistance();
        distances[firstRow + i] = distance;
      }
    }
    return distances;
  }

  #exactDistance(query: Float32Array, norm: number, row: number): number {
    return exactDistance(this.metric, query, norm, this.vectors.row(row), 0);
  }

  close(): void {
    this.vectors.close();
    this.#graph.release();
  }
}

/** By distance, then row. usearch returns them by distance already, so this is one pass except among equals. */
function sortHits(hits: RowHits): RowHits {
  const { rows, distances } = hits;
  for (let i = 0; i < rows.length; i++) if (!Number.isFinite(distances[i])) throw nonFiniteDistance();
  if (isSorted(hits)) return hits;
  const order = Array.from(rows, (_, i) => i).sort(
    (a, b) =>
      (distances[a] as number) - (distances[b] as number) || (rows[a] as number) - (rows[b] as number),
  );
  return {
    rows: Uint32Array.from(order, (i) => rows[i] as number),
    distances: Float32Array.from(order, (i) => distances[i] as number),
  };
}

function isSorted({ rows, distances }: RowHits): boolean {
  for (let i = 1; i < rows.length; i++) {
    const step = (distances[i] as number) - (distances[i - 1] as number);
    if (step < 0 || (step === 0 && (rows[i] as number) < (rows[i - 1] as number))) return false;
  }
  return true;
}

const nonFiniteDistance = (): SwitchyardError =>
  new SwitchyardError('INTERNAL', 'the index returned a distance that is not a finite number');
