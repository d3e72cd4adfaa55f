import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { type FileHandle, open, readFile, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { SwitchyardError } from '../../errors.js';
import { asDiskError } from '../../files/publish.js';
import type { EmbeddedBlock, EmbeddedRow } from './embedded-row.js';

/**
 * A checkpoint: the embedded rows of one interval of documents. Little-endian: "SWYCKPT1"; blocks of u32 bytes of JSON,
 * u32 rows, the rows as JSON, and rows × dimensions float32; u32 zero; the footer as JSON and its u32 length; SHA-256 of
 * all that. Written under another name, fsynced and renamed: under its own name it is whole, or damaged later.
 */
const MAGIC = Buffer.from('SWYCKPT1', 'latin1');
const HASH_BYTES = 32;
const READ_BYTES = 1 << 20;
const JSON_BYTES_MAX = 1 << 30;
const BEGUN_DIGITS = 12;
const BEGUN_SUFFIX = '.begun';

const begunName = (file: string): string => `${file}${BEGUN_SUFFIX}`;

/** Documents that a run which stopped had given to its encoder for a checkpoint that it never finished; 0 where it did. */
export async function takeBegun(file: string): Promise<number> {
  if (!file.endsWith(BEGUN_SUFFIX)) return 0;
  const isWhole = existsSync(file.slice(0, -BEGUN_SUFFIX.length));
  const documents = isWhole ? 0 : Number(await readFile(file, 'utf8'));
  await rm(file, { force: true });
  return documents;
}

export interface CheckpointFooter {
  /** Names the run that it belongs to: the hash of its plan. */
  readonly plan: string;
  readonly dimensions: number;
  readonly documents: number;
  readonly rows: number;
  /** Bytes of the feed whose changes it holds; null for an interval of the snapshot. */
  readonly feed: { readonly from: number; readonly to: number; readonly changesTo: number } | null;
}

/** Where a row's vector lies. */
export interface VectorPlace {
  readonly file: string;
  readonly offset: number;
}

export class CheckpointWriter {
  readonly #file: string;
  readonly #handle: FileHandle;
  readonly #begun: FileHandle;
  readonly #hash = createHash('sha256');
  #bytes = 0;
  #rows = 0;

  private constructor(file: string, handle: FileHandle, begun: FileHandle) {
    this.#file = file;
    this.#handle = handle;
    this.#begun = begun;
  }

  /** The name it has until it is whole. */
  static partialName(file: string): string {
    return `${file}.partial`;
  }

  static isPartial(name: string): boolean {
    return name.endsWith('.partial');
  }

  static async begin(file: string): Promise<CheckpointWriter> {
    const writer = new CheckpointWriter(
      file,
      await open(CheckpointWriter.partialName(file), 'w'),
      await open(begunName(file), 'w'),
    );
    await writer.#append(MAGIC);
    return writer;
  }

  /**
   * So many documents of the interval went to the encoder. A run that is killed now embeds them again, whether or not a
   * block of them was written; whoever goes on reads it from here.
   */
  async noteBegun(documents: number): Promise<void> {
    await this.#begun.write(String(documents).padStart(BEGUN_DIGITS), 0);
  }

  /** Where each row's vector will lie once it is whole. */
  async write({ rows, vectors }: EmbeddedBlock): Promise<readonly VectorPlace[]> {
    const json = Buffer.from(JSON.stringify(rows));
    const head = Buffer.alloc(8);
    head.writeUInt32LE(json.length, 0);
    head.writeUInt32LE(rows.length, 4);
    const start = this.#bytes + head.length + json.length;
    await this.#append(head, json, Buffer.from(vectors.buffer, vectors.byteOffset, vectors.byteLength));
    this.#rows += rows.length;
    const rowBytes = vectors.byteLength / Math.max(1, rows.length);
    return rows.map((_row, at) => ({ file: this.#file, offset: start + at * rowBytes }));
  }

  /** Fsyncs and gives it its name. */
  async finish(footer: Omit<CheckpointFooter, 'rows'>): Promise<CheckpointFooter> {
    const whole: CheckpointFooter = { ...footer, rows: this.#rows };
    const json = Buffer.from(JSON.stringify(whole));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(json.length);
    await this.#append(Buffer.alloc(4), json, length);
    await this.#write([this.#hash.digest()]);
    await this.#handle.sync();
    await this.#handle.close();
    await rename(CheckpointWriter.partialName(this.#file), this.#file);
    await syncFolder(path.dirname(this.#file));
    await this.#begun.close();
    await rm(begunName(this.#file), { force: true });
    return whole;
  }

  /** What it had begun stays noted. */
  async abandon(): Promise<void> {
    await this.#begun.close();
    await this.#handle.close();
    await rm(CheckpointWriter.partialName(this.#file), { force: true });
  }

  async #append(...parts: readonly Buffer[]): Promise<void> {
    for (const part of parts) this.#hash.update(part);
    await this.#write(parts);
  }

  async #write(parts: readonly Buffer[]): Promise<void> {
    try {
      for (const part of parts) {
        let done = 0;
        while (done < part.length) {
          const { bytesWritten } = await this.#handle.write(
            part,
            done,
            part.length - done,
            this.#bytes + done,
          );
          done += bytesWritten;
        }
        this.#bytes += part.length;
      }
    } catch (error) {
      throw asDiskError(error, this.#file);
    }
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Reads all of it and compares its checksum; the footer comes back. Errors: CORRUPT_CHECKPOINT with the file's name. */
export async function verifyCheckpoint(file: string, signal?: AbortSignal): Promise<CheckpointFooter> {
  const { size } = await stat(file);
  const handle = await open(file, 'r');
  try {
    if (size < MAGIC.length + 8 + HASH_BYTES) throw corrupt(file, 'it is too short');
    const hash = createHash('sha256');
    const block = Buffer.alloc(READ_BYTES);
    for (let at = 0; at < size - HASH_BYTES; ) {
      signal?.throwIfAborted();
      const length = Math.min(block.length, size - HASH_BYTES - at);
      await fill(handle, block.subarray(0, length), at, file);
      hash.update(block.subarray(0, length));
      at += length;
    }
    const said = Buffer.alloc(HASH_BYTES);
    await fill(handle, said, size - HASH_BYTES, file);
    if (!said.equals(hash.digest())) throw corrupt(file, 'its checksum is another one');
    return await readFooter(handle, size, file);
  } finally {
    await handle.close();
  }
}

async function readFooter(handle: FileHandle, size: number, file: string): Promise<CheckpointFooter> {
  const length = Buffer.alloc(4);
  await fill(handle, length, size - HASH_BYTES - 4, file);
  const json = Buffer.alloc(Math.min(length.readUInt32LE(), size - HASH_BYTES - 4));
  await fill(handle, json, size - HASH_BYTES - 4 - json.length, file);
  try {
    return JSON.parse(json.toString('utf8')) as CheckpointFooter;
  } catch (error) {
    throw corrupt(file, 'its footer is not JSON', error);
  }
}

export interface PlacedBlock extends EmbeddedBlock {
  /** Where the first vector lies in the file. */
  readonly vectorsAt: number;
}

/**
 * The blocks of a checkpoint in order. `vectors: false` leaves the numbers out. Errors: CORRUPT_CHECKPOINT.
 */
export async function* readBlocks(
  file: string,
  dimensions: number,
  options: { readonly vectors?: boolean; readonly signal?: AbortSignal } = {},
): AsyncGenerator<PlacedBlock> {
  const { vectors: isWithVectors = true, signal } = options;
  const { size } = await stat(file);
  const handle = await open(file, 'r');
  try {
    const head = Buffer.alloc(8);
    for (let at = MAGIC.length; at + 8 <= size; ) {
      signal?.throwIfAborted();
      await fill(handle, head, at, file);
      const [jsonBytes, rowCount] = [head.readUInt32LE(0), head.readUInt32LE(4)];
      if (jsonBytes === 0) return;
      const vectorsAt = at + 8 + jsonBytes;
      const end = vectorsAt + rowCount * dimensions * 4;
      if (jsonBytes > JSON_BYTES_MAX || end > size) throw corrupt(file, 'a block reaches beyond its end');
      const json = Buffer.alloc(jsonBytes);
      await fill(handle, json, at + 8, file);
      const vectors = new Float32Array(isWithVectors ? rowCount * dimensions : 0);
      if (isWithVectors) await fill(handle, new Uint8Array(vectors.buffer), vectorsAt, file);
      const rows = parseRows(json);
      if (rows === null || rows.length !== rowCount) throw corrupt(file, 'a block is not what it says');
      yield { rows, vectors, vectorsAt };
      at = end;
    }
  } finally {
    await handle.close();
  }
}

function parseRows(json: Buffer): readonly EmbeddedRow[] | null {
  try {
    const rows: unknown = JSON.parse(json.toString('utf8'));
    return Array.isArray(rows) ? (rows as EmbeddedRow[]) : null;
  } catch {
    return null;
  }
}

async function fill(handle: FileHandle, target: Uint8Array, position: number, file: string): Promise<void> {
  let done = 0;
  while (done < target.length) {
    const { bytesRead } = await handle.read(target, done, target.length - done, position + done);
    if (bytesRead === 0) throw corrupt(file, 'it ends early');
    done += bytesRead;
  }
}

export const corrupt = (file: string, what: string, cause?: unknown): SwitchyardError =>
  new SwitchyardError(
    'CORRUPT_CHECKPOINT',
    `checkpoint ${path.basename(file)}: ${what}; it is embedded again`,
    {
      details: { file: path.basename(file) },
      cause,
    },
  );
