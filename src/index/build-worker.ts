import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import path from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { errorToFrame, SwitchyardError } from '../errors.js';
import { asDiskError } from '../files/publish.js';
import type { BuildBlock, BuildWorkerData, FromBuildWorker, ToBuildWorker } from './build-protocol.js';
import { compactLines, compactRecords } from './compact-files.js';
import type { Compaction } from './compaction.js';
import {
  DOCUMENT_OFFSETS_FILE,
  DOCUMENTS_FILE,
  IDS_FILE,
  INDEX_FILE,
  PROVENANCE_FILE,
  VECTORS_FILE,
} from './file-names.js';
import { formatOf, type UsearchMetric } from './formats.js';
import { Graph } from './graph.js';
import { findUnreachableRows } from './graph-reach.js';
import { HashingWriter } from './hashing-writer.js';
import type { BundleFile } from './manifest.js';
import { filesIn } from './placement.js';
import { PROVENANCE_BYTES } from './provenance.js';
import { measureRecall } from './recall.js';
import { graphParametersOf, RowSearcher } from './row-searcher.js';
import { toGraphVectors } from './vector-check.js';
import { VectorsFile } from './vectors-file.js';

/**
 * Entry of the building thread: vectors go to disk and into usearch as they come; then the graph is saved, mapped
 * from its file, and measured. usearch's calls block this thread and leave the event loop, signals and the progress
 * bar alive (invariant 7).
 */
const HASH_BLOCK_BYTES = 4 << 20;
const PROBE_BYTES = 1 << 20;
const ALONE_ROWS = 500;
const ROWS_AT_ONCE = 1024;

type Finish = Extract<ToBuildWorker, { kind: 'finish' }>;

class Cancelled extends Error {}

class BundleWriter {
  readonly #data: BuildWorkerData;
  readonly #cancel: Int32Array;
  #graph: Graph;
  readonly #usearchMetric: UsearchMetric;
  readonly #vectors: HashingWriter;
  readonly #documents: HashingWriter | null;
  readonly #provenance: HashingWriter | null;

  constructor(data: BuildWorkerData) {
    this.#data = data;
    this.#cancel = new Int32Array(data.cancel);
    const { manifest } = data;
    const format = formatOf(manifest);
    this.#usearchMetric = format.usearchMetric;
    this.#graph = this.#newGraph();
    this.#vectors = new HashingWriter(this.#path(VECTORS_FILE));
    this.#documents = data.storeDocuments ? new HashingWriter(this.#path(DOCUMENTS_FILE)) : null;
    this.#provenance = data.storeProvenance ? new HashingWriter(this.#path(PROVENANCE_FILE)) : null;
  }

  #path(name: string): string {
    return path.join(this.#data.folder, name);
  }

  #checkCancelled(): void {
    if (Atomics.load(this.#cancel, 0) !== 0) throw new Cancelled();
  }

  add(block: BuildBlock): void {
    this.#checkCancelled();
    const { vectors } = block;
    this.#vectors.write(new Uint8Array(vectors.buffer, vectors.byteOffset, vectors.byteLength));
    this.#documents?.write(block.documents);
    this.#provenance?.write(block.provenance);
    if (!block.isDeferred) this.#addToGraph(block.firstRow, this.#forGraph(vectors));
  }

  #newGraph(): Graph {
    const { manifest } = this.#data;
    const counts = { row_count: 0, document_count: 0 };
    return new Graph(graphParametersOf({ ...manifest, ...counts }, formatOf(manifest)));
  }

  #forGraph(vectors: Float32Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
    const { dimensions, full_dimensions } = this.#data.manifest;
    return toGraphVectors(vectors, full_dimensions, dimensions, this.#usearchMetric);
  }

  /** The first rows one by one: a graph that starts with concurrent inserts may start in pieces. */
  #addToGraph(firstRow: number, vectors: Float32Array<ArrayBuffer>): void {
    const { dimensions } = this.#data.manifest;
    const aloneRows = Math.min(Math.max(0, ALONE_ROWS - firstRow), vectors.length / dimensions);
    for (let i = 0; i < aloneRows; i++)
      this.#graph.add(firstRow + i, vectors.slice(i * dimensions, (i + 1) * dimensions), this.#data.threads);
    const rest = vectors.subarray(aloneRows * dimensions);
    if (rest.length > 0) this.#graph.add(firstRow + aloneRows, rest, this.#data.threads);
  }

  finish(message: Finish): void {
    const { rowCount, documentCount, compaction, documentOffsets } = message;
    const files: Record<string, BundleFile> = {};
    files[VECTORS_FILE] = this.#vectors.finish();
    files[IDS_FILE] = this.#writeWhole(IDS_FILE, message.ids);
    if (this.#documents !== null) files[DOCUMENTS_FILE] = this.#documents.finish();
    if (this.#provenance !== null) files[PROVENANCE_FILE] = this.#provenance.finish();
    let offsets = documentOffsets;
    if (compaction !== null) {
      Object.assign(files, this.#compactRecords(compaction));
      if (documentOffsets !== null) {
        const before = new BigUint64Array(documentOffsets.slice().buffer);
        const lines = compactLines(this.#path(DOCUMENTS_FILE), before, compaction);
        files[DOCUMENTS_FILE] = lines.written;
        offsets = new Uint8Array(lines.offsets.buffer);
      }
    }
    this.#linkRest(message);
    if (offsets !== null) files[DOCUMENT_OFFSETS_FILE] = this.#writeWhole(DOCUMENT_OFFSETS_FILE, [offsets]);
    this.#checkCancelled();
    send({ kind: 'progress', phase: 'save', rowsDone: 0 });
    const { searcher, unreachableCount } = this.#saveAndMap(rowCount, documentCount);
    try {
      files[INDEX_FILE] = this.#hashIndex();
      let announced = -1;
      const recall = measureRecall(searcher, this.#data.recall, this.#data.threads, (rowsDone) => {
        this.#checkCancelled();
        if (rowsDone === announced) return;
        announced = rowsDone;
        send({ kind: 'progress', phase: 'recall', rowsDone });
      });
      send({ kind: 'finished', files, recall, unreachableCount });
    } finally {
      searcher.close();
    }
  }

  /**
   * Rows that took the places of others are linked in there, so that no slot of the graph is left over: usearch maps a file
   * with such slots into too little memory. Where fewer rows stay than were linked in, all are linked in anew.
   */
  #linkRest({ linkedCount, rowCount, compaction }: Finish): void {
    if (compaction === null && linkedCount === rowCount) return;
    const { dimensions, full_dimensions } = this.#data.manifest;
    const vectors = new VectorsFile(this.#path(VECTORS_FILE), rowCount, full_dimensions);
    try {
      const isAnew = rowCount < linkedCount;
      if (isAnew) {
        this.#graph.release();
        this.#graph = this.#newGraph();
      } else
        for (const row of compaction?.to ?? []) {
          this.#checkCancelled();
          if (row < linkedCount)
            this.#graph.relink(row, this.#forGraph(vectors.row(row)), this.#data.threads);
        }
      for (let first = isAnew ? 0 : linkedCount; first < rowCount; first += ROWS_AT_ONCE) {
        this.#checkCancelled();
        const count = Math.min(ROWS_AT_ONCE, rowCount - first);
        const block = new Float32Array(count * dimensions);
        for (let at = 0; at < count; at++)
          block.set(this.#forGraph(vectors.row(first + at).slice()), at * dimensions);
        this.#addToGraph(first, block);
      }
    } finally {
      vectors.close();
    }
  }

  #compactRecords(compaction: Compaction): Record<string, BundleFile> {
    const vectorBytes = this.#data.manifest.full_dimensions * Float32Array.BYTES_PER_ELEMENT;
    const compacted = (name: string, bytes: number) => ({
      [name]: compactRecords(this.#path(name), bytes, compaction),
    });
    return {
      ...compacted(VECTORS_FILE, vectorBytes),
      ...(this.#provenance === null ? {} : compacted(PROVENANCE_FILE, PROVENANCE_BYTES)),
    };
  }

  #writeWhole(name: string, pieces: readonly Uint8Array[]): BundleFile {
    const writer = new HashingWriter(this.#path(name));
    for (const piece of pieces) writer.write(piece);
    return writer.finish();
  }

  /**
   * usearch's concurrent inserts leave one row in some hundreds or thousands stored but without a link to it
   * (unum-cloud/USearch#735): no search would ever find it. Such rows are linked in again, and looked for again.
   * What no round mends (near-duplicates, and short vectors under dot, to which nothing links) is counted.
   */
  #saveConnected(file: string, rowCount: number): number {
    let lostBefore = Number.POSITIVE_INFINITY;
    for (;;) {
      this.#checkCancelled();
      this.#graph.save(file);
      const lost = findUnreachableRows(file);
      if (lost.length === 0 || lost.length > lostBefore / 2) return lost.length;
      lostBefore = lost.length;
      this.#relink(lost, rowCount);
    }
  }

  #relink(rows: readonly number[], rowCount: number): void {
    const vectors = new VectorsFile(this.#path(VECTORS_FILE), rowCount, this.#data.manifest.full_dimensions);
    try {
      for (const row of rows) {
        this.#checkCancelled();
        this.#graph.relink(row, this.#forGraph(vectors.row(row)), this.#data.threads);
      }
    } finally {
      vectors.close();
    }
  }

  /** usearch says neither in a code why it could not save, nor always that it could not: ask the disk. */
  #saveAndMap(
    rowCount: number,
    documentCount: number,
  ): { readonly searcher: RowSearcher; readonly unreachableCount: number } {
    const file = this.#path(INDEX_FILE);
    try {
      const unreachableCount = this.#saveConnected(file, rowCount);
      // Frees the graph's memory, and fails on a file that ends early.
      this.#graph.view(file);
      this.#graph.release();
      const searcher = new RowSearcher(filesIn(this.#data.folder), {
        ...this.#data.manifest,
        row_count: rowCount,
        document_count: documentCount,
      });
      return { searcher, unreachableCount };
    } catch (error) {
      if (error instanceof SwitchyardError || error instanceof Cancelled) throw error;
      this.#probeDisk();
      throw new SwitchyardError('INTERNAL', `${INDEX_FILE} could not be written and read back`, {
        cause: error,
      });
    }
  }

  #probeDisk(): void {
    const probe = this.#path('probe');
    try {
      const descriptor = openSync(probe, 'w');
      try {
        let done = 0;
        const zeros = new Uint8Array(PROBE_BYTES);
        while (done < zeros.length) done += writeSync(descriptor, zeros, done);
      } finally {
        closeSync(descriptor);
      }
    } catch (error) {
      throw asDiskError(error, INDEX_FILE);
    } finally {
      rmSync(probe, { force: true });
    }
  }

  #hashIndex(): BundleFile {
    const descriptor = openSync(this.#path(INDEX_FILE), 'r');
    try {
      const hash = createHash('sha256');
      const block = new Uint8Array(HASH_BLOCK_BYTES);
      let bytes = 0;
      for (;;) {
        this.#checkCancelled();
        const read = readSync(descriptor, block, 0, block.length, bytes);
        if (read === 0) return { bytes, sha256: hash.digest('hex') };
        hash.update(block.subarray(0, read));
        bytes += read;
      }
    } finally {
      closeSync(descriptor);
    }
  }
}

function send(message: FromBuildWorker): void {
  parentPort?.postMessage(message);
}

function run(port: NonNullable<typeof parentPort>, data: BuildWorkerData): void {
  let writer: BundleWriter | null = null;
  const end = (message: FromBuildWorker | null): void => {
    if (message !== null) send(message);
    port.close();
  };
  port.on('message', (message: ToBuildWorker) => {
    try {
      if (message.kind === 'stop') return end({ kind: 'stopped' });
      writer ??= new BundleWriter(data);
      if (message.kind === 'block') {
        writer.add(message);
        return send({
          kind: 'added',
          rowsDone: message.firstRow + message.vectors.length / data.manifest.full_dimensions,
        });
      }
      writer.finish(message);
      return end(null);
    } catch (error) {
      return end(
        error instanceof Cancelled ? { kind: 'stopped' } : { kind: 'failed', error: errorToFrame(error) },
      );
    }
  });
}

if (parentPort !== null) run(parentPort, workerData as BuildWorkerData);
