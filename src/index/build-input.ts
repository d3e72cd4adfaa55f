import { type Reason, SwitchyardError } from '../errors.js';
import type { BuildBatch, BuildOptions, BuildPlan, BuildRow } from './build-options.js';
import { type Compaction, planCompaction } from './compaction.js';
import { DOCUMENT_ID_BYTES_MAX, IdsWriter } from './ids-file.js';
import { ROW_COUNT_MAX } from './manifest-schema.js';
import { findPrefixDefect, findVectorDefect, isUnitNorm, measureNorm } from './vector-check.js';

/** A Set holds no more; with ids in a JS Set this is tens of gigabytes away from a machine's memory first. */
const DOCUMENT_COUNT_MAX = 16_000_000;
const LONE_SURROGATE = /\p{Surrogate}/u;

/** Checks rows as they stream in and keeps what ids.bin needs. Refuses with the document's id, never its text. */
export class BuildInput {
  #ids = new IdsWriter();
  readonly #plan: BuildPlan;
  readonly #metric: BuildOptions['metric'];
  /** Id → number of the document. */
  readonly #seen = new Map<string, number>();
  readonly #removed = new Set<number>();
  readonly #truncated = new Set<number>();
  #current: string | null = null;
  #nextChunk = 0;

  constructor(options: BuildOptions, plan: BuildPlan) {
    this.#metric = options.metric;
    this.#plan = plan;
  }

  get ids(): IdsWriter {
    return this.#ids;
  }

  get truncatedCount(): number {
    return this.#truncated.size;
  }

  /** Errors: TypeError when documents have several rows each: closing up would tear them apart. */
  remove(documentIds: Iterable<string>): void {
    for (const id of documentIds) {
      const row = this.#seen.get(id);
      if (row === undefined) continue;
      if (this.#ids.rowCount !== this.#ids.documentCount)
        throw new TypeError('nothing is taken out of a build whose documents have several rows');
      this.#seen.delete(id);
      this.#removed.add(row);
      this.#truncated.delete(row);
      if (id === this.#current) this.#current = null;
    }
  }

  checkShape(batch: BuildBatch): void {
    const { fullDimensions: dimensions } = this.#plan;
    if (batch.vectors.length !== batch.rows.length * dimensions)
      throw new SwitchyardError(
        'DIMENSION_MISMATCH',
        `a batch of ${batch.rows.length} rows has ${batch.vectors.length} numbers, not ${batch.rows.length} × ${dimensions}`,
      );
    if (this.#ids.rowCount + batch.rows.length > ROW_COUNT_MAX)
      throw refused(`a build holds at most ${ROW_COUNT_MAX} rows: split the corpus`);
  }

  /** Row `index` of the batch; true when it is the first one of a new document. */
  accept(batch: BuildBatch, index: number): boolean {
    const row = batch.rows[index] as BuildRow;
    this.#checkVector(batch.vectors, index * this.#plan.fullDimensions, row);
    const isNew = this.#acceptId(row);
    if (row.truncated) this.#truncated.add(this.#ids.rowCount);
    this.#ids.addRow(row.chunk);
    return isNew;
  }

  #acceptId(row: BuildRow): boolean {
    const { documentId, chunk } = row;
    if (documentId === this.#current) {
      if (chunk < this.#nextChunk)
        throw refused(
          `${named(row)} comes twice: a document's chunks must be numbered from 0 without repeats`,
        );
      if (chunk !== this.#nextChunk)
        throw refused(`${named(row)} follows chunk ${this.#nextChunk - 1}: chunks must follow one another`);
      this.#nextChunk++;
      return false;
    }
    checkId(documentId);
    if (this.#seen.has(documentId))
      throw refused(`document ${JSON.stringify(documentId)} comes twice: ids must be unique in a corpus`);
    if (chunk !== 0) throw refused(`${named(row)} is its document's first: chunks are numbered from 0`);
    if (this.#seen.size >= DOCUMENT_COUNT_MAX)
      throw refused(`a build holds at most ${DOCUMENT_COUNT_MAX} documents: split the corpus`);
    this.#seen.set(documentId, this.#ids.documentCount);
    this.#ids.addDocument(documentId);
    this.#current = documentId;
    this.#nextChunk = 1;
    return true;
  }

  #checkVector(vectors: Float32Array, offset: number, row: BuildRow): void {
    const { format, dimensions, fullDimensions } = this.#plan;
    const norm = measureNorm(vectors, offset, fullDimensions);
    const defect =
      findVectorDefect({ values: vectors, offset, dimensions: fullDimensions, norm }, this.#metric, format) ??
      findPrefixDefect(vectors, offset, { dimensions, fullDimensions }, format);
    if (defect !== null) throw refused(`${named(row)}: ${defect.message}`, defect.reason);
    if (format.unitVectorsOnly && !isUnitNorm(norm))
      throw refused(
        `${named(row)} has norm ${norm.toFixed(4)}: ${format.quantization} drops norms, so with ${this.#metric} it takes unit vectors only; use bf16`,
        'UNSUPPORTED_FORMAT',
      );
  }

  /**
   * Once all rows came: how those that were taken out are closed up, null where there are none.
   * Errors: an empty corpus, and too many chunks that were cut.
   */
  finish(truncatedShareMax: number): Compaction | null {
    const compaction = planCompaction(this.#ids.rowCount, this.#removed);
    if (compaction !== null) {
      if (this.#ids.rowCount !== this.#ids.documentCount)
        throw new TypeError('a document of several rows came to a build from which others were taken out');
      this.#ids = this.#ids.compacted(compaction);
    }
    const { rowCount } = this.#ids;
    if (rowCount === 0) throw refused('the corpus is empty: a build needs at least one document');
    const share = this.#truncated.size / rowCount;
    if (share > truncatedShareMax)
      throw new SwitchyardError(
        'TRUNCATION_LIMIT',
        `${this.#truncated.size} of ${rowCount} chunks (${(share * 100).toFixed(1)} %) were cut at the model's max tokens, and at most ${(truncatedShareMax * 100).toFixed(1)} % may be: use smaller chunks or raise the limit`,
        { details: { truncated_count: String(this.#truncated.size), row_count: String(rowCount) } },
      );
    return compaction;
  }
}

function checkId(documentId: string): void {
  if (documentId === '') throw refused('a document has an empty id');
  const bytes = Buffer.byteLength(documentId);
  if (bytes > DOCUMENT_ID_BYTES_MAX)
    throw refused(
      `document id ${JSON.stringify(documentId.slice(0, 40))}… has ${bytes} bytes and must be <= ${DOCUMENT_ID_BYTES_MAX}`,
    );
  if (LONE_SURROGATE.test(documentId))
    throw refused(`document id ${JSON.stringify(documentId)} is not valid Unicode`);
}

const named = (row: BuildRow): string => `chunk ${row.chunk} of document ${JSON.stringify(row.documentId)}`;

const refused = (message: string, reason: Reason = 'INVALID_INPUT_FILE'): SwitchyardError =>
  new SwitchyardError(reason, message);
