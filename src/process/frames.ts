import { SwitchyardError } from '../errors.js';

/**
 * Length-prefixed binary frames between a process and its supervised child.
 *
 *     u16 magic | u8 format version | u8 kind | u32 id | u32 payload bytes | payload        (little-endian)
 *
 * What a kind means, and whether an id is one, is the business of the two ends.
 */
export interface Frame {
  /** 0..255. */
  readonly kind: number;
  /** 0..2^32-1. */
  readonly id: number;
  /** May share memory with the chunk it was read from: copy what outlives the callback. */
  readonly payload: Buffer;
}

export const FRAME_HEADER_BYTES = 12;
const MAGIC = 0x5957;
const FORMAT_VERSION = 1;

export function encodeFrameHeader(kind: number, id: number, payloadBytes: number): Buffer {
  const header = Buffer.allocUnsafe(FRAME_HEADER_BYTES);
  header.writeUInt16LE(MAGIC, 0);
  header.writeUInt8(FORMAT_VERSION, 2);
  header.writeUInt8(kind, 3);
  header.writeUInt32LE(id, 4);
  header.writeUInt32LE(payloadBytes, 8);
  return header;
}

interface Header {
  readonly kind: number;
  readonly id: number;
  readonly payloadBytes: number;
}

/**
 * Incremental reader: any split of a byte stream gives the same frames, and the same error after them.
 * It holds at most one unfinished frame, and allocates for a payload only once all of it has arrived,
 * so a wrong length costs nothing.
 */
export class FrameParser {
  readonly #payloadBytesMax: number;
  #chunks: Buffer[] = [];
  #bytes = 0;
  #header: Header | null = null;
  #failure: SwitchyardError | null = null;

  constructor(payloadBytesMax: number) {
    this.#payloadBytesMax = payloadBytesMax;
  }

  /** Bytes of an unfinished frame held back until the rest comes. */
  get pendingBytes(): number {
    return this.#bytes;
  }

  /** Errors: INTERNAL when the bytes are no frames; the stream is beyond repair then, and every later push throws again. */
  push(chunk: Buffer, onFrame: (frame: Frame) => void): void {
    if (this.#failure !== null) throw this.#failure;
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    for (;;) {
      if (this.#header === null) {
        if (this.#bytes < FRAME_HEADER_BYTES) return;
        this.#header = this.#readHeader(this.#take(FRAME_HEADER_BYTES));
      }
      const { kind, id, payloadBytes } = this.#header;
      if (this.#bytes < payloadBytes) return;
      this.#header = null;
      onFrame({ kind, id, payload: this.#take(payloadBytes) });
    }
  }

  #readHeader(bytes: Buffer): Header {
    const magic = bytes.readUInt16LE(0);
    const version = bytes.readUInt8(2);
    if (magic !== MAGIC || version !== FORMAT_VERSION)
      this.#fail('the other process sent bytes that are not a frame of this version');
    const payloadBytes = bytes.readUInt32LE(8);
    if (payloadBytes > this.#payloadBytesMax)
      this.#fail(`a frame of ${payloadBytes} bytes must be <= ${this.#payloadBytesMax}`);
    return { kind: bytes.readUInt8(3), id: bytes.readUInt32LE(4), payloadBytes };
  }

  #fail(message: string): never {
    this.#failure = new SwitchyardError('INTERNAL', message);
    this.#chunks = [];
    this.#bytes = 0;
    throw this.#failure;
  }

  #take(wanted: number): Buffer {
    this.#bytes -= wanted;
    const first = this.#chunks[0];
    if (first !== undefined && first.length > wanted) {
      this.#chunks[0] = first.subarray(wanted);
      return first.subarray(0, wanted);
    }
    if (wanted === 0) return Buffer.alloc(0);
    let used = 0;
    let gathered = 0;
    const parts: Buffer[] = [];
    for (const chunk of this.#chunks) {
      const missing = wanted - gathered;
      if (chunk.length > missing) {
        if (missing > 0) {
          parts.push(chunk.subarray(0, missing));
          this.#chunks[used] = chunk.subarray(missing);
        }
        break;
      }
      parts.push(chunk);
      gathered += chunk.length;
      used += 1;
    }
    this.#chunks.splice(0, used);
    return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts, wanted);
  }
}
