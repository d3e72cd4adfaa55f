import { type Compaction, runsOf } from './compaction.js';

/**
 * ids.bin, little-endian: "SWYIDS01", u32 rows, u32 documents, u64 bytes of all ids, u64 zero; then
 * u64[documents + 1] where each id starts among the id bytes, u32[rows] document ordinal, u32[rows] chunk,
 * and the ids as UTF-8 without separators. Documents are numbered in the order of their first row.
 */
const MAGIC = Buffer.from('SWYIDS01', 'latin1');
const HEADER_BYTES = 32;
const TWO_TO_32 = 2 ** 32;

/** Longest document id in UTF-8 bytes. */
export const DOCUMENT_ID_BYTES_MAX = 512;

/** Rows and ids of a build while it grows: 8 bytes a row, and the ids themselves. */
export class IdsWriter {
  #ordinals = new Uint32Array(1024);
  #chunks = new Uint32Array(1024);
  #rowCount = 0;
  #idEnds = new Float64Array(1024);
  #documentCount = 0;
  #idBytes = Buffer.alloc(16_384);
  #idBytesUsed = 0;

  get rowCount(): number {
    return this.#rowCount;
  }

  get documentCount(): number {
    return this.#documentCount;
  }

  addDocument(id: string): void {
    const bytes = Buffer.byteLength(id);
    if (this.#idBytesUsed + bytes > this.#idBytes.length) {
      const larger = Buffer.alloc(this.#idBytes.length * 2 + bytes);
      this.#idBytes.copy(larger, 0, 0, this.#idBytesUsed);
      this.#idBytes = larger;
    }
    this.#idBytesUsed += this.#idBytes.write(id, this.#idBytesUsed, 'utf8');
    if (this.#documentCount === this.#idEnds.length) {
      const larger = new Float64Array(this.#idEnds.length * 2);
      larger.set(this.#idEnds);
      this.#idEnds = larger;
    }
    this.#idEnds[this.#documentCount++] = this.#idBytesUsed;
  }

  /** A row of the document that was added last. */
  addRow(chunk: number): void {
    if (this.#rowCount === this.#ordinals.length) {
      this.#ordinals = grown(this.#ordinals);
      this.#chunks = grown(this.#chunks);
    }
    this.#ordinals[this.#rowCount] = this.#documentCount - 1;
    this.#chunks[this.#rowCount++] = chunk;
  }

  /** Where every document has one row: the rows that stay, in their new order. */
  compacted(compaction: Compaction): IdsWriter {
    const writer = new IdsWriter();
    for (const { first, count } of runsOf(compaction))
      for (let row = first; row < first + count; row++) {
        const start = row === 0 ? 0 : (this.#idEnds[row - 1] as number);
        writer.addDocument(this.#idBytes.toString('utf8', start, this.#idEnds[row]));
        writer.addRow(this.#chunks[row] as number);
      }
    return writer;
  }

  /** The file's content in pieces, in order. */
  pieces(): Buffer[] {
    const header = Buffer.alloc(HEADER_BYTES);
    MAGIC.copy(header);
    header.writeUInt32LE(this.#rowCount, 8);
    header.writeUInt32LE(this.#documentCount, 12);
    header.writeBigUInt64LE(BigInt(this.#idBytesUsed), 16);
    const starts = new BigUint64Array(this.#documentCount + 1);
    for (let i = 0; i < this.#documentCount; i++) starts[i + 1] = BigInt(this.#idEnds[i] as number);
    return [
      header,
      Buffer.from(starts.buffer),
      Buffer.from(this.#ordinals.buffer, 0, this.#rowCount * 4),
      Buffer.from(this.#chunks.buffer, 0, this.#rowCount * 4),
      this.#idBytes.subarray(0, this.#idBytesUsed),
    ];
  }
}

const grown = (array: Uint32Array): Uint32Array<ArrayBuffer> => {
  const larger = new Uint32Array(array.length * 2);
  larger.set(array);
  return larger;
};

/** Reads ids.bin where it lies; the buffer is shared by the event loop and all search workers. */
export class IdTable {
  readonly rowCount: number;
  readonly documentCount: number;
  readonly ordinals: Uint32Array;
  readonly chunks: Uint32Array;
  readonly #starts: Uint32Array;
  readonly #ids: Buffer;

  constructor(file: SharedArrayBuffer) {
    const header = new DataView(file);
    this.rowCount = header.getUint32(8, true);
    this.documentCount = header.getUint32(12, true);
    const ordinalsAt = HEADER_BYTES + (this.documentCount + 1) * 8;
    this.#starts = new Uint32Array(file, HEADER_BYTES, (this.documentCount + 1) * 2);
    this.ordinals = new Uint32Array(file, ordinalsAt, this.rowCount);
    this.chunks = new Uint32Array(file, ordinalsAt + this.rowCount * 4, this.rowCount);
    this.#ids = Buffer.from(file, ordinalsAt + this.rowCount * 8);
  }

  idOf(ordinal: number): string {
    return this.#ids.toString('utf8', this.#start(ordinal), this.#start(ordinal + 1));
  }

  #start(ordinal: number): number {
    const low = this.#starts[ordinal * 2] as number;
    return low + (this.#starts[ordinal * 2 + 1] as number) * TWO_TO_32;
  }

  /** Every reference stays inside the table. Null, or a sentence that says what does not. */
  static findDefect(file: SharedArrayBuffer, rowCount: number, documentCount: number): string | null {
    if (file.byteLength < HEADER_BYTES) return 'it is too short for a header';
    const bytes = Buffer.from(file);
    if (!bytes.subarray(0, 8).equals(MAGIC)) return 'it does not start with SWYIDS01';
    if (bytes.readUInt32LE(8) !== rowCount)
      return `it has ${bytes.readUInt32LE(8)} rows, the manifest ${rowCount}`;
    if (bytes.readUInt32LE(12) !== documentCount)
      return `it has ${bytes.readUInt32LE(12)} documents, the manifest ${documentCount}`;
    const idBytes = Number(bytes.readBigUInt64LE(16));
    if (HEADER_BYTES + (documentCount + 1) * 8 + rowCount * 8 + idBytes !== file.byteLength)
      return 'its size does not follow from its counts';
    const table = new IdTable(file);
    for (let ordinal = 0; ordinal < documentCount; ordinal++)
      if (table.#start(ordinal) > table.#start(ordinal + 1)) return `id ${ordinal} ends before it starts`;
    if (table.#start(0) !== 0 || table.#start(documentCount) !== idBytes) return 'its ids do not fill it';
    for (let row = 0; row < rowCount; row++)
      if ((table.ordinals[row] as number) >= documentCount)
        return `row ${row} names a document that is not there`;
    return null;
  }
}
