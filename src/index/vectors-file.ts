import { closeSync, openSync, readSync } from 'node:fs';
import { SwitchyardError } from '../errors.js';
import { VECTORS_FILE } from './file-names.js';

const BLOCK_BYTES = 8 << 20;

/** vectors.f32: little-endian float32, row-major, in row order. Reads are synchronous: for worker threads only. */
export class VectorsFile {
  readonly rowCount: number;
  readonly dimensions: number;
  readonly #descriptor: number;
  readonly #row: Float32Array<ArrayBuffer>;
  #open = true;

  constructor(file: string, rowCount: number, dimensions: number) {
    this.rowCount = rowCount;
    this.dimensions = dimensions;
    this.#row = new Float32Array(dimensions);
    this.#descriptor = openSync(file, 'r');
  }

  get descriptor(): number {
    return this.#descriptor;
  }

  /** One row; the array is overwritten by the next call. */
  row(row: number): Float32Array<ArrayBuffer> {
    this.#read(this.#row, row);
    return this.#row;
  }

  /** All rows in blocks of about 8 MiB; a block is overwritten by the next one. Only the last one is shorter. */
  *blocks(rowsMin = 1): Generator<{ readonly firstRow: number; readonly values: Float32Array<ArrayBuffer> }> {
    const rows = Math.max(rowsMin, Math.floor(BLOCK_BYTES / (this.dimensions * 4)), 1);
    const whole = new Float32Array(Math.min(rows, this.rowCount) * this.dimensions);
    for (let firstRow = 0; firstRow < this.rowCount; firstRow += rows) {
      const values =
        firstRow + rows <= this.rowCount
          ? whole
          : new Float32Array((this.rowCount - firstRow) * this.dimensions);
      this.#read(values, firstRow);
      yield { firstRow, values };
    }
  }

  #read(target: Float32Array, row: number): void {
    const position = row * this.dimensions * 4;
    let done = 0;
    while (done < target.byteLength) {
      const view = new Uint8Array(target.buffer, target.byteOffset + done, target.byteLength - done);
      const read = readSync(this.#descriptor, view, 0, view.length, position + done);
      if (read === 0)
        throw new SwitchyardError('CORRUPT_BUNDLE', `${VECTORS_FILE} ends before row ${row}: fetch it again`);
      done += read;
    }
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.#descriptor);
  }
}
