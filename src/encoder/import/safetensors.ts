import { SwitchyardError } from '../../errors.js';
import { float16ToFloat32 } from '../float16.js';

const DTYPE_BYTES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
} as const;
export type SafetensorsDtype = keyof typeof DTYPE_BYTES;

interface TensorEntry {
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** First byte and end in the whole file. */
  readonly begin: number;
  readonly end: number;
}

const LENGTH_BYTES = 8;
/** The limit of the format's own library. */
const HEADER_BYTES_MAX = 100_000_000;

/**
 * A safetensors file (https://github.com/huggingface/safetensors#format): 8 bytes of header length, a JSON header,
 * tensors without gaps. Everything in the header is checked before a byte of a tensor is read.
 */
export class SafetensorsFile {
  readonly fileName: string;
  readonly #bytes: Uint8Array;
  readonly #tensors: ReadonlyMap<string, TensorEntry>;

  private constructor(fileName: string, bytes: Uint8Array, tensors: ReadonlyMap<string, TensorEntry>) {
    this.fileName = fileName;
    this.#bytes = bytes;
    this.#tensors = tensors;
  }

  /** Errors: INVALID_MODEL naming the file. */
  static parse(bytes: Uint8Array, fileName: string): SafetensorsFile {
    const fail = (problem: string): SwitchyardError =>
      new SwitchyardError('INVALID_MODEL', `${fileName} is not a valid safetensors file: ${problem}`, {
        details: { file: fileName },
      });
    return new SafetensorsFile(fileName, bytes, readHeader(bytes, fail));
  }

  get names(): readonly string[] {
    return [...this.#tensors.keys()];
  }

  /** Shape of a tensor that must be there. Errors: INVALID_MODEL. */
  shape(name: string): readonly number[] {
    return this.#entry(name).shape;
  }

  dtype(name: string): SafetensorsDtype {
    return this.#entry(name).dtype;
  }

  /** The tensor's bytes as they lie in the file: little-endian, row-major. */
  bytes(name: string): Uint8Array {
    const { begin, end } = this.#entry(name);
    return this.#bytes.subarray(begin, end);
  }

  /** The tensor's numbers, copied. Errors: INVALID_MODEL when it is not a floating point tensor. */
  float32(name: string): Float32Array {
    const { dtype } = this.#entry(name);
    // Copied, since a tensor may start at an address that its element type does not allow.
    const { buffer } = Uint8Array.from(this.bytes(name));
    if (dtype === 'F16') return float16ToFloat32(new Uint16Array(buffer));
    if (dtype === 'F32') return new Float32Array(buffer);
    throw new SwitchyardError(
      'INVALID_MODEL',
      `${this.fileName}: ${name} is ${dtype}; it must be F16 or F32`,
      {
        details: { file: this.fileName },
      },
    );
  }

  #entry(name: string): TensorEntry {
    const entry = this.#tensors.get(name);
    if (entry) return entry;
    throw new SwitchyardError('INVALID_MODEL', `${this.fileName} has no tensor ${name}`, {
      details: { file: this.fileName },
    });
  }
}

type Fail = (problem: string) => SwitchyardError;

function readHeader(bytes: Uint8Array, fail: Fail): Map<string, TensorEntry> {
  if (bytes.length < LENGTH_BYTES) throw fail(`${bytes.length} bytes are too few`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerBytes = view.getBigUint64(0, true);
  const headerBytesMax = Math.min(HEADER_BYTES_MAX, bytes.length - LENGTH_BYTES);
  if (headerBytes > BigInt(headerBytesMax)) {
    throw fail(`its header of ${headerBytes} bytes must be <= ${headerBytesMax}`);
  }
  const dataStart = LENGTH_BYTES + Number(headerBytes);
  const header = parseHeader(bytes.subarray(LENGTH_BYTES, dataStart), fail);

  const tensors = new Map<string, TensorEntry>();
  for (const [name, value] of Object.entries(header)) {
    if (name !== '__metadata__') tensors.set(name, readEntry(name, value, dataStart, bytes.length, fail));
  }
  expectNoGaps(tensors, dataStart, bytes.length, fail);
  return tensors;
}

function parseHeader(bytes: Uint8Array, fail: Fail): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw fail('its header is not JSON');
  }
  if (!isRecord(header)) throw fail('its header is not a JSON object');
  return header;
}

function readEntry(
  name: string,
  value: unknown,
  dataStart: number,
  fileBytes: number,
  fail: Fail,
): TensorEntry {
  if (!isRecord(value)) throw fail(`the entry of ${name} is not an object`);
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isDtype(dtype)) throw fail(`${name} has the unknown dtype ${JSON.stringify(dtype)}`);
  if (!isSizes(shape)) throw fail(`${name} has no valid shape`);
  if (!isSizes(offsets) || offsets.length !== 2) throw fail(`${name} has no valid data_offsets`);
  const [from, to] = offsets as [number, number];
  if (from > to || dataStart + to > fileBytes) {
    throw fail(`${name} lies at ${from}..${to}, the file has ${fileBytes - dataStart} bytes of tensors`);
  }
  const expected = shape.reduce((product, size) => product * size, DTYPE_BYTES[dtype]);
  if (to - from !== expected) throw fail(`${name} has ${to - from} bytes, its shape needs ${expected}`);
  return { dtype, shape, begin: dataStart + from, end: dataStart + to };
}

/** Overlaps and gaps are forbidden by the format: they hide data or read another tensor's. */
function expectNoGaps(
  tensors: ReadonlyMap<string, TensorEntry>,
  dataStart: number,
  fileBytes: number,
  fail: Fail,
): void {
  let position = dataStart;
  for (const [name, entry] of [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end)) {
    if (entry.begin !== position) throw fail(`${name} does not start where the tensor before it ends`);
    position = entry.end;
  }
  if (position !== fileBytes) throw fail(`${fileBytes - position} bytes after the last tensor`);
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isDtype = (value: unknown): value is SafetensorsDtype =>
  typeof value === 'string' && Object.hasOwn(DTYPE_BYTES, value);

const isSizes = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
