import type { AcceleratorConfig } from '../config/encoder.js';
import { type ErrorFrame, SwitchyardError } from '../errors.js';
import type { QueueTimeLimits } from '../process/controlled-delay.js';
import { type Device, INPUT_ROLES, type InputRole, LANES, type Lane } from '../vocabulary.js';

/**
 * What crosses between the gateway and an encoder process. Control frames are JSON; texts and vectors are binary,
 * little-endian, in the machine's own float32. Time crosses as what remains of it: two processes share no clock.
 */
export const FRAME = {
  /** parent → child, first: ChildConfig. */
  configure: 1,
  /** parent → child: a piece of a request; the id is the piece's, and the child answers each with one frame. */
  encode: 2,
  /** parent → child: nobody waits for this piece any more. A hint; the piece is answered all the same. */
  cancel: 3,
  /** child → parent: ReadyMessage. */
  ready: 10,
  /** child → parent: ErrorFrame; another start would end the same way. */
  failed: 11,
  /** child → parent: the vectors of a piece. */
  vectors: 12,
  /** child → parent: ErrorFrame of a piece. */
  refused: 13,
  /** child → parent: BatchMessage, before the answers of the texts that were in it. */
  batch: 14,
} as const;

/** The argument of an encoder process in which the model's runs have a thread of their own. */
export const BESIDE = 'beside';

/** Texts of one piece at most: what one answer's memory and one read of the child are bounded by. */
export const PIECE_TEXTS_MAX = 64;
/** UTF-8 bytes of one piece; a longer text is a piece of its own. */
export const PIECE_BYTES_MAX = 262_144;
/** Holds a text of 8 MiB, and the vectors of a piece of up to 32 768 dimensions. */
export const PAYLOAD_BYTES_MAX = 16 * 1024 * 1024;
export const TEXT_BYTES_MAX_BOUND = 8 * 1024 * 1024;

export interface ChildConfig {
  readonly folder: string;
  readonly fingerprint: string;
  readonly providers: readonly Device[];
  readonly require: boolean;
  readonly threads: number;
  readonly batchTokensMax: number;
  readonly batchDelayMsMax: number;
  readonly accelerator: AcceleratorConfig;
  /** null: no bound, an encoder that serves bulk alone. JSON has no Infinity. */
  readonly backgroundRunMsMax: number | null;
  /** null: nobody is dropped for having waited. */
  readonly queueTime: QueueTimeLimits | null;
  /** As of nice(1). */
  readonly niceness: number;
  /** A run beside that takes longer, not counting what the process waited for a processor, ends the process. */
  readonly silentMsMax: number;
}

export interface ReadyMessage {
  readonly provider: Device;
  /** Why it is not the first of the configured providers; null when it is. */
  readonly fallbackReason: string | null;
  readonly worstProbeCosine: number;
}

export interface BatchMessage {
  /** Rises by one with every run of this process. */
  readonly batch: number;
  readonly lane: Lane;
  readonly texts: number;
  /** Tokens of the texts, and with their padding. */
  readonly tokens: number;
  readonly paddedTokens: number;
  readonly runUs: number;
}

const BATCH_BYTES = 24;

/** u32 each: batch | lane | texts | tokens | padded tokens | µs. */
export function encodeBatch({ batch, lane, texts, tokens, paddedTokens, runUs }: BatchMessage): Buffer {
  const bytes = Buffer.allocUnsafe(BATCH_BYTES);
  const fields = [batch, LANES.indexOf(lane), texts, tokens, paddedTokens, Math.min(runUs, U32_MAX)];
  for (const [i, field] of fields.entries()) bytes.writeUInt32LE(field, i * 4);
  return bytes;
}

/** null when the bytes are no such message. */
export function decodeBatch(payload: Buffer): BatchMessage | null {
  if (payload.length !== BATCH_BYTES) return null;
  const lane = LANES[payload.readUInt32LE(4)];
  if (lane === undefined) return null;
  return {
    batch: payload.readUInt32LE(0),
    lane,
    texts: payload.readUInt32LE(8),
    tokens: payload.readUInt32LE(12),
    paddedTokens: payload.readUInt32LE(16),
    runUs: payload.readUInt32LE(20),
  };
}

const U32_MAX = 2 ** 32 - 1;

export interface Piece {
  readonly role: InputRole;
  readonly lane: Lane;
  /** Milliseconds that the answer is still worth something; Infinity for no end. */
  readonly remainingMs: number;
  /** All of its request: one that is cut up has work done already when its last piece has waited long. */
  readonly isWhole: boolean;
  /** As of the request: a text without tokens is left out. */
  readonly leavesOut: boolean;
  readonly texts: readonly string[];
}

const WHOLE = 1;
const LEAVES_OUT = 2;

/** f64 remaining ms | u8 role | u8 lane | u8 texts | u8 what it is | u32 byte length of each | UTF-8 of all. */
export function encodePiece({ role, lane, remainingMs, isWhole, leavesOut, texts }: Piece): Buffer[] {
  const textsAt = 12 + texts.length * 4;
  let end = textsAt;
  for (const text of texts) end += Buffer.byteLength(text, 'utf8');
  const bytes = Buffer.allocUnsafe(end);
  bytes.writeDoubleLE(remainingMs, 0);
  bytes.writeUInt8(INPUT_ROLES.indexOf(role), 8);
  bytes.writeUInt8(LANES.indexOf(lane), 9);
  bytes.writeUInt8(texts.length, 10);
  bytes.writeUInt8((isWhole ? WHOLE : 0) | (leavesOut ? LEAVES_OUT : 0), 11);
  let offset = textsAt;
  for (const [i, text] of texts.entries()) {
    const length = bytes.write(text, offset, 'utf8');
    bytes.writeUInt32LE(length, 12 + i * 4);
    offset += length;
  }
  return [bytes];
}

/** null when the bytes are no piece. */
export function decodePiece(payload: Buffer): Piece | null {
  if (payload.length < 12) return null;
  const role = INPUT_ROLES[payload.readUInt8(8)];
  const lane = LANES[payload.readUInt8(9)];
  const count = payload.readUInt8(10);
  let offset = 12 + count * 4;
  if (role === undefined || lane === undefined || payload.length < offset) return null;
  const texts: string[] = [];
  for (let i = 0; i < count; i++) {
    const end = offset + payload.readUInt32LE(12 + i * 4);
    if (end > payload.length) return null;
    texts.push(payload.toString('utf8', offset, end));
    offset = end;
  }
  if (offset !== payload.length) return null;
  const flags = payload.readUInt8(11);
  return {
    role,
    lane,
    remainingMs: payload.readDoubleLE(0),
    isWhole: (flags & WHOLE) !== 0,
    leavesOut: (flags & LEAVES_OUT) !== 0,
    texts,
  };
}

export interface PieceVectors {
  /** The runs that the piece's texts were in, by number and duration. */
  readonly runs: readonly { readonly batch: number; readonly runUs: number }[];
  /** 0 of a text that was left out, which has zeros among the values. */
  readonly tokenCounts: Uint32Array;
  readonly truncatedCount: number;
  /** texts × dimensions, row-major. */
  readonly values: Float32Array;
}

/** u32 texts | u32 cut | u32 runs | (u32 batch, u32 µs) of each run | u32 token count of each text | f32 of all. */
export function encodeVectors({ runs, tokenCounts, truncatedCount, values }: PieceVectors): Buffer[] {
  const head = Buffer.allocUnsafe(12 + runs.length * 8 + tokenCounts.length * 4);
  head.writeUInt32LE(tokenCounts.length, 0);
  head.writeUInt32LE(truncatedCount, 4);
  head.writeUInt32LE(runs.length, 8);
  let at = 12;
  for (const { batch, runUs } of runs) {
    head.writeUInt32LE(batch, at);
    head.writeUInt32LE(Math.min(runUs, U32_MAX), at + 4);
    at += 8;
  }
  for (const count of tokenCounts) at = head.writeUInt32LE(count, at);
  return [head, Buffer.from(values.buffer, values.byteOffset, values.byteLength)];
}

/** null when the bytes are no answer for so many texts. The arrays are copies of the payload. */
export function decodeVectors(payload: Buffer, texts: number, dimensions: number): PieceVectors | null {
  if (payload.length < 12 || payload.readUInt32LE(0) !== texts) return null;
  const runCount = payload.readUInt32LE(8);
  const countsAt = 12 + runCount * 8;
  const valuesAt = countsAt + texts * 4;
  if (payload.length !== valuesAt + texts * dimensions * 4) return null;
  const runs: { batch: number; runUs: number }[] = [];
  for (let at = 12; at < countsAt; at += 8)
    runs.push({ batch: payload.readUInt32LE(at), runUs: payload.readUInt32LE(at + 4) });
  return {
    runs,
    truncatedCount: payload.readUInt32LE(4),
    tokenCounts: new Uint32Array(copyOf(payload, countsAt, valuesAt)),
    values: new Float32Array(copyOf(payload, valuesAt, payload.length)),
  };
}

export const encodeJson = (value: ChildConfig | ReadyMessage | ErrorFrame): readonly Buffer[] => [
  Buffer.from(JSON.stringify(value), 'utf8'),
];

/**
 * Both ends are of one version and one program; a frame's kind says what its JSON is.
 * Errors: INTERNAL when it is no JSON.
 */
export function decodeJson<T extends ChildConfig | ReadyMessage | ErrorFrame>(payload: Buffer): T {
  try {
    return JSON.parse(payload.toString('utf8')) as T;
  } catch (error) {
    throw new SwitchyardError('INTERNAL', 'a control frame of an encoder process is no JSON', {
      cause: error,
    });
  }
}

/** An own, aligned buffer: a slice of a socket's chunk is neither. */
const copyOf = (payload: Buffer, from: number, to: number): ArrayBuffer =>
  new Uint8Array(payload.subarray(from, to)).buffer;
