import xxhash from 'xxhash-wasm';
import type { Fingerprint } from '../vocabulary.js';
import { SHARED_KEY_LENGTH, type SharedKey } from './keys.js';

/**
 * What stands in Redis around a payload, so that nothing but the value of this very key is ever taken for it:
 *
 *   0  u64  xxHash64 of everything after it
 *   8  u32  magic and format version
 *  12  u32  kind of entry
 *  16  u32  length of the payload
 *  20  f64  when it expires, ms since 1970 by the clock of who wrote it
 *  28  36 B fingerprint
 *  64  43 B the key
 * 107       payload
 *
 * Little-endian. The checksum finds damage; the rest finds a sound value in the wrong place.
 */
const MAGIC = 0x03_43_59_53; // "SYC", version 3
const AT = {
  magic: 8,
  kind: 12,
  length: 16,
  expires: 20,
  fingerprint: 28,
  key: 64,
  payload: 64 + SHARED_KEY_LENGTH,
} as const;
export const FRAME_BYTES = AT.payload;

export const CACHE_KINDS = ['embedding', 'result'] as const;
export type CacheKind = (typeof CACHE_KINDS)[number];
const KIND_NUMBER = { embedding: 1, result: 2 } as const satisfies Record<CacheKind, number>;

/** Why a value is not taken. `key`, `kind` and `fingerprint`: it is sound, but it is another entry's. */
export const FRAME_DEFECTS = ['short', 'checksum', 'magic', 'kind', 'length', 'fingerprint', 'key'] as const;
export type FrameDefect = (typeof FRAME_DEFECTS)[number];

export interface FrameLabel {
  readonly kind: CacheKind;
  readonly fingerprint: Fingerprint;
  readonly key: SharedKey;
}

const { h64Raw } = await xxhash();

export function encodeFrame(
  { kind, fingerprint, key }: FrameLabel,
  payload: Uint8Array,
  expiresAtMs: number,
): Buffer {
  const frame = Buffer.allocUnsafe(FRAME_BYTES + payload.length);
  frame.writeUInt32LE(MAGIC, AT.magic);
  frame.writeUInt32LE(KIND_NUMBER[kind], AT.kind);
  frame.writeUInt32LE(payload.length, AT.length);
  frame.writeDoubleLE(expiresAtMs, AT.expires);
  frame.write(fingerprint, AT.fingerprint, AT.key - AT.fingerprint, 'latin1');
  frame.write(key, AT.key, AT.payload - AT.key, 'latin1');
  frame.set(payload, AT.payload);
  frame.writeBigUInt64LE(h64Raw(frame.subarray(AT.magic)), 0);
  return frame;
}

/** The payload as a view into `frame`, or why it is not the value of this label. */
export function readFrame(frame: Buffer, { kind, fingerprint, key }: FrameLabel): Buffer | FrameDefect {
  if (frame.length < FRAME_BYTES) return 'short';
  if (frame.readBigUInt64LE(0) !== h64Raw(frame.subarray(AT.magic))) return 'checksum';
  if (frame.readUInt32LE(AT.magic) !== MAGIC) return 'magic';
  if (frame.readUInt32LE(AT.kind) !== KIND_NUMBER[kind]) return 'kind';
  if (frame.readUInt32LE(AT.length) !== frame.length - FRAME_BYTES) return 'length';
  // Both in one: each look into the buffer is a call out of JavaScript.
  const label = frame.toString('latin1', AT.fingerprint, AT.payload);
  if (!label.startsWith(fingerprint)) return 'fingerprint';
  if (!label.endsWith(key)) return 'key';
  return frame.subarray(AT.payload);
}

/** Of a frame that `readFrame` took. Milliseconds since 1970, or anything else that its writer wrote. */
export const frameExpiresAtMs = (frame: Buffer): number => frame.readDoubleLE(AT.expires);

/** A sound value of another key: the other side mixes up its answers, which is worse than a damaged value. */
export const isMixUp = (defect: FrameDefect): boolean =>
  defect === 'key' || defect === 'fingerprint' || defect === 'kind';
