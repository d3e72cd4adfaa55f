import { readSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { Quantization } from '../vocabulary.js';
import type { UsearchMetric } from './formats.js';

/**
 * What index.usearch says about itself. Layout of usearch 2.x (index_dense.hpp, index.hpp), little-endian, packed:
 * u32 rows, u32 bytes per vector, the vectors, then a head of 64 bytes (char[7] "usearch", 3 × u16 version,
 * u8 metric, u8 scalar, u8 key, u8 slot, u64 present, u64 deleted, u64 dimensions, bool multi), then the graph's
 * header (5 × u64: size, connectivity, base connectivity, top level, entry slot).
 */
export interface UsearchHeader {
  readonly rowCount: number;
  readonly vectorBytes: number;
  readonly versionMajor: number;
  readonly metric: UsearchMetric | 'unknown';
  readonly quantization: Quantization | 'unknown';
  readonly presentCount: number;
  readonly deletedCount: number;
  readonly dimensions: number;
  readonly multi: boolean;
  readonly graphSize: number;
  readonly connectivity: number;
  readonly baseConnectivity: number;
  readonly entrySlot: number;
  /** Where the nodes' levels start in the file, i16 each, with the nodes after them. */
  readonly levelsOffset: number;
}

const MATRIX_HEADER_BYTES = 8;
const HEAD_BYTES = 64;
const GRAPH_HEADER_BYTES = 40;
const METRIC_CODES: Readonly<Record<number, UsearchMetric>> = {
  99: 'cos',
  105: 'ip',
  101: 'l2sq',
  98: 'hamming',
};
const SCALAR_CODES: Readonly<Record<number, Quantization>> = {
  11: 'f32',
  12: 'f16',
  4: 'bf16',
  23: 'i8',
  1: 'b1',
};
const KEY_U64 = 14;
const SLOT_U32 = 15;

/** The header, or a sentence that says why there is none. */
export async function readUsearchHeader(file: string): Promise<UsearchHeader | string> {
  const handle = await open(file, 'r');
  try {
    return await readHeader(handle);
  } finally {
    await handle.close();
  }
}

async function readHeader(handle: FileHandle): Promise<UsearchHeader | string> {
  const matrix = Buffer.alloc(MATRIX_HEADER_BYTES);
  if ((await handle.read(matrix, 0, matrix.length, 0)).bytesRead < matrix.length)
    return 'it is too short for a header';
  if (!isPlace(headOffset(matrix))) return TOO_LARGE;
  const head = Buffer.alloc(HEAD_BYTES + GRAPH_HEADER_BYTES);
  if ((await handle.read(head, 0, head.length, headOffset(matrix))).bytesRead < head.length)
    return 'it ends before the header that should follow its vectors';
  return parseHeader(matrix, head);
}

/** The same on a worker thread that has the file open. */
export function readUsearchHeaderSync(descriptor: number): UsearchHeader | string {
  const matrix = Buffer.alloc(MATRIX_HEADER_BYTES);
  if (readSync(descriptor, matrix, 0, matrix.length, 0) < matrix.length)
    return 'it is too short for a header';
  if (!isPlace(headOffset(matrix))) return TOO_LARGE;
  const head = Buffer.alloc(HEAD_BYTES + GRAPH_HEADER_BYTES);
  if (readSync(descriptor, head, 0, head.length, headOffset(matrix)) < head.length)
    return 'it ends before the header that should follow its vectors';
  return parseHeader(matrix, head);
}

const headOffset = (matrix: Buffer): number =>
  MATRIX_HEADER_BYTES + matrix.readUInt32LE(0) * matrix.readUInt32LE(4);

/** Two damaged numbers can name a place that no read takes. */
const isPlace = (offset: number): boolean =>
  offset <= Number.MAX_SAFE_INTEGER - HEAD_BYTES - GRAPH_HEADER_BYTES;
const TOO_LARGE = 'it says that its vectors are larger than any file';

function parseHeader(matrix: Buffer, head: Buffer): UsearchHeader | string {
  if (head.toString('latin1', 0, 7) !== 'usearch') return 'it has no usearch magic after its vectors';
  if (head[15] !== KEY_U64 || head[16] !== SLOT_U32) return 'it has keys or slots of another width';
  return {
    rowCount: matrix.readUInt32LE(0),
    vectorBytes: matrix.readUInt32LE(4),
    versionMajor: head.readUInt16LE(7),
    metric: METRIC_CODES[head.readUInt8(13)] ?? 'unknown',
    quantization: SCALAR_CODES[head.readUInt8(14)] ?? 'unknown',
    presentCount: Number(head.readBigUInt64LE(17)),
    deletedCount: Number(head.readBigUInt64LE(25)),
    dimensions: Number(head.readBigUInt64LE(33)),
    multi: head.readUInt8(41) !== 0,
    graphSize: Number(head.readBigUInt64LE(HEAD_BYTES)),
    connectivity: Number(head.readBigUInt64LE(HEAD_BYTES + 8)),
    baseConnectivity: Number(head.readBigUInt64LE(HEAD_BYTES + 16)),
    entrySlot: Number(head.readBigUInt64LE(HEAD_BYTES + 32)),
    levelsOffset: headOffset(matrix) + HEAD_BYTES + GRAPH_HEADER_BYTES,
  };
}
