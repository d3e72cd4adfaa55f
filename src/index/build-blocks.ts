import type { BuildBatch } from './build-options.js';
import type { BuildBlock } from './build-protocol.js';
import { encodeProvenance, PROVENANCE_BYTES } from './provenance.js';

/** Rows handed to usearch at once: enough to keep all cores busy, few enough to stop soon after an abort. */
const BLOCK_ROWS = 1024;
const BLOCK_DOCUMENT_BYTES = 8 << 20;

/** Gathers rows of any batch size into blocks of one size. */
export class BuildBlocks {
  readonly #dimensions: number;
  readonly #storeDocuments: boolean;
  readonly #storeProvenance: boolean;
  readonly #send: (block: BuildBlock) => Promise<void>;
  #vectors: Float32Array<ArrayBuffer>;
  #provenance: Uint8Array<ArrayBuffer>;
  #rows = 0;
  #firstRow = 0;
  #lines: Buffer[] = [];
  #lineBytes = 0;
  #offsets = new Float64Array(1025);
  #documentCount = 0;

  constructor(
    dimensions: number,
    stored: { readonly storeDocuments: boolean; readonly storeProvenance?: boolean },
    send: (block: BuildBlock) => Promise<void>,
  ) {
    this.#dimensions = dimensions;
    this.#storeDocuments = stored.storeDocuments;
    this.#storeProvenance = stored.storeProvenance ?? false;
    this.#send = send;
    this.#vectors = new Float32Array(BLOCK_ROWS * dimensions);
    this.#provenance = this.#newProvenance();
  }

  #newProvenance(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#storeProvenance ? BLOCK_ROWS * PROVENANCE_BYTES : 0);
  }

  /** Copies row `index` of the batch; true when the block is full and must be flushed. */
  append(batch: BuildBatch, index: number, isNewDocument: boolean): boolean {
    const from = index * this.#dimensions;
    this.#vectors.set(batch.vectors.subarray(from, from + this.#dimensions), this.#rows * this.#dimensions);
    if (this.#storeProvenance)
      encodeProvenance(batch.rows[index]?.provenance, this.#provenance, this.#rows * PROVENANCE_BYTES);
    this.#rows++;
    if (isNewDocument && this.#storeDocuments) this.#appendDocument(batch, index);
    return this.#rows === BLOCK_ROWS || this.#lineBytes >= BLOCK_DOCUMENT_BYTES;
  }

  #appendDocument(batch: BuildBatch, index: number): void {
    const line = Buffer.from(`${JSON.stringify(batch.rows[index]?.document ?? null)}\n`);
    this.#lines.push(line);
    this.#lineBytes += line.length;
    if (this.#documentCount + 1 === this.#offsets.length) {
      const larger = new Float64Array(this.#offsets.length * 2);
      larger.set(this.#offsets);
      this.#offsets = larger;
    }
    const start = this.#offsets[this.#documentCount] as number;
    this.#offsets[++this.#documentCount] = start + line.length;
  }

  async flush(): Promise<void> {
    if (this.#rows === 0) return;
    const used = this.#rows * this.#dimensions;
    const block: BuildBlock = {
      kind: 'block',
      firstRow: this.#firstRow,
      isDeferred: false,
      vectors: used === this.#vectors.length ? this.#vectors : this.#vectors.slice(0, used),
      documents: joined(this.#lines, this.#lineBytes),
      provenance: this.#storeProvenance
        ? this.#provenance.slice(0, this.#rows * PROVENANCE_BYTES)
        : this.#provenance,
    };
    this.#firstRow += this.#rows;
    this.#rows = 0;
    this.#lines = [];
    this.#lineBytes = 0;
    this.#vectors = new Float32Array(BLOCK_ROWS * this.#dimensions);
    this.#provenance = this.#newProvenance();
    await this.#send(block);
  }

  /** documents.offsets: u64[documents + 1], where each line starts; null without stored documents. */
  documentOffsets(): Uint8Array | null {
    if (!this.#storeDocuments) return null;
    const offsets = new BigUint64Array(this.#documentCount + 1);
    for (let i = 0; i < offsets.length; i++) offsets[i] = BigInt(this.#offsets[i] as number);
    return new Uint8Array(offsets.buffer);
  }
}

/** In a buffer of its own, since it is transferred; Buffer.concat may hand out a slice of the pool. */
function joined(lines: readonly Buffer[], bytes: number): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(bytes);
  let at = 0;
  for (const line of lines) {
    whole.set(line, at);
    at += line.length;
  }
  return whole;
}
