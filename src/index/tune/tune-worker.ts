import { closeSync, openSync, statSync, writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { errorToFrame, SwitchyardError } from '../../errors.js';
import { type ExactHits, exactNearestRows } from '../exact-search.js';
import { type Format, formatOf } from '../formats.js';
import { Graph } from '../graph.js';
import { filesIn } from '../placement.js';
import { RECALL_DEPTH, recallAgainst } from '../recall.js';
import { graphParametersOf, RowSearcher } from '../row-searcher.js';
import { SeededRandom } from '../seeded-random.js';
import { findPrefixDefect, isUnitNorm, measureNorm, toGraphVectors } from '../vector-check.js';
import { VectorsFile } from '../vectors-file.js';
import type { FromTuneWorker, TuneFormat, TuneRow, TuneWorkerData } from './tune-protocol.js';

/** Entry of the tuning thread: builds each format over the same rows and searches it for the same queries. */
const BLOCK_ROWS = 1024;
const ROUNDS = 3;

class Cancelled extends Error {}

class Tuning {
  readonly #data: TuneWorkerData;
  readonly #cancel: Int32Array;
  readonly #queries: Float32Array;
  readonly #vectors: VectorsFile;
  readonly #exact: ExactHits;

  constructor(data: TuneWorkerData) {
    this.#data = data;
    this.#cancel = new Int32Array(data.cancel);
    const { rows, heldOut } = chooseRows(data);
    this.#queries = this.#copyRows(rows, heldOut);
    const { dimensions, metric, threads } = data;
    this.#vectors = new VectorsFile(filesIn(data.folder).vectors, rows.length, dimensions);
    send({ kind: 'started', rowCount: rows.length, queryCount: this.#queries.length / dimensions });
    this.#exact = exactNearestRows(this.#vectors, metric, this.#queries, RECALL_DEPTH, threads, () =>
      this.#checkCancelled(),
    );
  }

  run(): void {
    for (const [at, format] of this.#data.formats.entries()) {
      const why = this.#measure(at, format);
      if (why !== null) send({ kind: 'left_out', format, why });
    }
    this.#vectors.close();
  }

  #checkCancelled(): void {
    if (Atomics.load(this.#cancel, 0) !== 0) throw new Cancelled();
  }

  /** Writes the rows of the measured indexes, and gives back the queries. */
  #copyRows(rows: Uint32Array, heldOut: Uint32Array): Float32Array {
    const { vectors: file, rowCount, dimensions, folder, queries } = this.#data;
    const vectors = new VectorsFile(file, rowCount, dimensions);
    const copy = openSync(filesIn(folder).vectors, 'w');
    try {
      for (const row of rows) {
        this.#checkCancelled();
        writeWhole(copy, new Uint8Array(vectors.row(row).buffer));
      }
      if (queries !== null) return queries;
      const held = new Float32Array(heldOut.length * dimensions);
      heldOut.forEach((row, at) => {
        held.set(vectors.row(row), at * dimensions);
      });
      return held;
    } finally {
      closeSync(copy);
      vectors.close();
    }
  }

  /** Null, or why this format cannot hold these vectors. */
  #measure(at: number, { quantization, dimensions }: TuneFormat): string | null {
    const { metric, dimensions: full_dimensions, connectivity, expansionAdd } = this.#data;
    const { rowCount } = this.#vectors;
    const manifest = {
      quantization,
      dimensions,
      full_dimensions,
      metric,
      connectivity,
      expansion_add: expansionAdd,
      expansion_search: 1,
      row_count: rowCount,
      document_count: rowCount,
    };
    let format: Format;
    try {
      format = formatOf(manifest);
    } catch (error) {
      if (error instanceof SwitchyardError) return error.message;
      throw error;
    }
    const startedAtMs = performance.now();
    const graph = new Graph(graphParametersOf(manifest, format));
    const why = this.#fill(graph, at, { quantization, dimensions }, format);
    if (why === null) graph.save(filesIn(this.#data.folder).index);
    graph.release();
    if (why !== null) return why;
    const buildMs = performance.now() - startedAtMs;
    for (const expansion_search of this.#data.expansions)
      send({ kind: 'measured', row: this.#search({ ...manifest, expansion_search }, format, buildMs) });
    return null;
  }

  #fill(graph: Graph, at: number, { quantization, dimensions }: TuneFormat, format: Format): string | null {
    const { dimensions: fullDimensions, threads } = this.#data;
    for (const { firstRow, values } of this.#vectors.blocks()) {
      for (let offset = 0; offset < values.length; offset += fullDimensions) {
        if (format.unitVectorsOnly && !isUnitNorm(measureNorm(values, offset, fullDimensions)))
          return `${quantization} takes unit vectors only under this metric`;
        const defect = findPrefixDefect(values, offset, { dimensions, fullDimensions }, format);
        if (defect !== null) return defect.message;
      }
      const kept = toGraphVectors(values, fullDimensions, dimensions, format.usearchMetric);
      for (let row = 0; row * dimensions < kept.length; row += BLOCK_ROWS) {
        this.#checkCancelled();
        const block = kept.subarray(row * dimensions, (row + BLOCK_ROWS) * dimensions);
        graph.add(firstRow + row, block, threads);
        send({
          kind: 'progress',
          format: at,
          rowsDone: firstRow + row + block.length / dimensions,
        });
      }
    }
    return null;
  }

  #search(manifest: ConstructorParameters<typeof RowSearcher>[1], format: Format, buildMs: number): TuneRow {
    const files = filesIn(this.#data.folder);
    const searcher = new RowSearcher(files, manifest);
    try {
      // Recall first: it warms the index up for the times.
      const recallAt10 = recallAgainst(searcher, this.#queries, this.#exact, () => this.#checkCancelled());
      const times = this.#times(searcher);
      const { quantization, dimensions, full_dimensions, expansion_search } = manifest;
      const indexBytesPerRow = statSync(files.index).size / manifest.row_count;
      const rescored = format.rescoring !== null;
      return {
        quantization,
        dimensions,
        rescored,
        expansionSearch: expansion_search,
        recallAt10,
        p50Us: quantile(times, 0.5),
        p99Us: quantile(times, 0.99),
        indexBytesPerRow,
        dramBytesPerRow: indexBytesPerRow + (rescored ? full_dimensions * 4 : 0),
        buildMs,
      };
    } finally {
      searcher.close();
    }
  }

  /** µs of each query, sorted. */
  #times(searcher: RowSearcher): Float64Array {
    const { dimensions } = this.#data;
    const count = this.#queries.length / dimensions;
    const times = new Float64Array(count * ROUNDS);
    for (let round = 0; round < ROUNDS; round++)
      for (let at = 0; at < count; at++) {
        this.#checkCancelled();
        const query = this.#queries.slice(at * dimensions, (at + 1) * dimensions);
        const startedAtMs = performance.now();
        searcher.search(query, RECALL_DEPTH);
        times[round * count + at] = (performance.now() - startedAtMs) * 1e3;
      }
    return times.sort();
  }
}

const quantile = (sorted: Float64Array, share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;

/** Which rows are indexed, in order, and which are held out as queries. */
function chooseRows(data: TuneWorkerData): { rows: Uint32Array; heldOut: Uint32Array } {
  const { rowCount, rowsMax, heldOutCount, queries } = data;
  const random = new SeededRandom(data.seed);
  const order = Uint32Array.from({ length: rowCount }, (_, row) => row);
  const held = queries === null ? Math.min(heldOutCount, Math.floor(rowCount / 2)) : 0;
  const taken = Math.min(rowCount, rowsMax + held);
  for (let at = 0; at < taken; at++) {
    const other = at + random.below(rowCount - at);
    const row = order[at] as number;
    order[at] = order[other] as number;
    order[other] = row;
  }
  return { heldOut: order.slice(0, held), rows: order.slice(held, taken).sort() };
}

function writeWhole(descriptor: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(descriptor, bytes, done);
}

function send(message: FromTuneWorker): void {
  parentPort?.postMessage(message);
}

function run(data: TuneWorkerData): void {
  try {
    new Tuning(data).run();
    send({ kind: 'finished' });
  } catch (error) {
    send(error instanceof Cancelled ? { kind: 'stopped' } : { kind: 'failed', error: errorToFrame(error) });
  }
}

if (parentPort !== null) run(workerData as TuneWorkerData);
