import { type ErrorFrame, REASONS, type Reason } from '../../errors.js';
import { type Digest, type Fingerprint, isFingerprint, LANES, type Lane } from '../../vocabulary.js';
import { TOP_K_MAX } from '../query-check.js';
import type { ExpectedModel } from '../search-pool.js';

/**
 * What crosses between the gateway and an index process. Control frames are JSON; vectors and answers are binary,
 * little-endian. Time crosses as what remains of it. The gateway believes nothing a child sends before it was checked:
 * a child is a process of its own because it may be broken, so its bytes may be anything.
 */
export const FRAME = {
  /** parent → child, first: ChildConfig. */
  open: 1,
  /** parent → child: a search; the child answers each id with one frame. */
  search: 2,
  /** child → parent: the bundle is verified, prefaulted and mapped. */
  opened: 10,
  /** child → parent: ErrorFrame; another start would end the same way. */
  failed: 11,
  /** child → parent: the hits of a search, see `answer-codec.ts`. */
  answer: 12,
  /** child → parent: ErrorFrame of a search. */
  refused: 13,
  /** child → parent, while it owes answers: its loop turns. */
  alive: 14,
} as const;

/** The longest frame; an answer that would be longer is refused by the child. */
export const PAYLOAD_BYTES_MAX = 64 * 1024 * 1024;

export interface ChildConfig {
  readonly folder: string;
  /** The folder must hold this very build, at the first start and at every other. */
  readonly digest: Digest;
  readonly expected: ExpectedModel;
  readonly workers: number;
  readonly queueLengthMax: number;
  readonly niceness: number;
  readonly aliveEveryMs: number;
  /** A search that runs for so long beyond its deadline ends the process. */
  readonly stuckMsMax: number;
}

export interface SearchMessage {
  /** Crosses with the vector, and is compared once more on the other side (invariant 1). */
  readonly fingerprint: Fingerprint;
  readonly values: Float32Array;
  readonly topK: number;
  readonly lane: Lane;
  /** Milliseconds that the answer is still worth something; Infinity for no end. */
  readonly remainingMs: number;
  readonly withDocument: boolean;
}

const FINGERPRINT_BYTES = 36;
const VALUES_AT = 16 + FINGERPRINT_BYTES;

/** f64 remaining ms | u32 top k | u8 lane | u8 with document | u16 zero | fingerprint | f32 values. All of it copied. */
export function encodeSearch(message: SearchMessage): Buffer {
  const { values, fingerprint, remainingMs, topK, lane, withDocument } = message;
  const bytes = Buffer.alloc(VALUES_AT + values.byteLength);
  bytes.writeDoubleLE(remainingMs, 0);
  bytes.writeUInt32LE(topK, 8);
  bytes.writeUInt8(LANES.indexOf(lane), 12);
  bytes.writeUInt8(withDocument ? 1 : 0, 13);
  bytes.write(fingerprint, 16, FINGERPRINT_BYTES, 'latin1');
  bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), VALUES_AT);
  return bytes;
}

/** null when the bytes are no search. The vector is a copy. */
export function decodeSearch(payload: Buffer): SearchMessage | null {
  if (payload.length < VALUES_AT || (payload.length - VALUES_AT) % 4 !== 0) return null;
  const remainingMs = payload.readDoubleLE(0);
  const topK = payload.readUInt32LE(8);
  const lane = LANES[payload.readUInt8(12)];
  const withDocument = payload.readUInt8(13);
  const fingerprint = payload.toString('latin1', 16, VALUES_AT);
  if (lane === undefined || withDocument > 1 || Number.isNaN(remainingMs)) return null;
  if (topK < 1 || topK > TOP_K_MAX || !isFingerprint(fingerprint)) return null;
  const values = new Float32Array(new Uint8Array(payload.subarray(VALUES_AT)).buffer);
  return { fingerprint, values, topK, lane, remainingMs, withDocument: withDocument === 1 };
}

export const encodeJson = (value: ChildConfig | ErrorFrame): Buffer =>
  Buffer.from(JSON.stringify(value), 'utf8');

/** null when it is no JSON. Sent by the parent, so its shape is what it says. */
export const decodeConfig = (payload: Buffer): ChildConfig | null => parseJson(payload) as ChildConfig | null;

/** null when the bytes are no error of the catalogue. */
export function decodeError(payload: Buffer): ErrorFrame | null {
  const value = parseJson(payload);
  if (!isRecord(value)) return null;
  const { reason, message, details } = value;
  if (!isRecord(details)) return null;
  if (typeof reason !== 'string' || !Object.hasOwn(REASONS, reason) || typeof message !== 'string')
    return null;
  if (!Object.values(details).every((detail) => typeof detail === 'string')) return null;
  return { reason: reason as Reason, message, details: details as Readonly<Record<string, string>> };
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export function parseJson(payload: Buffer): unknown {
  try {
    return JSON.parse(payload.toString('utf8'));
  } catch {
    return null;
  }
}
