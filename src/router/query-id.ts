import { randomFillSync } from 'node:crypto';

/** 62 random bits per id are taken from a block, since one call to the system per id would cost more than the id. */
const BLOCK_BYTES = 8 * 512;

/**
 * Ids as UUID version 7 (RFC 9562): sortable by the time of their making, unique across replicas, and within a process
 * strictly rising: a 12-bit counter orders the ids of one millisecond, and a clock that goes back is held.
 */
export function createQueryIds(wallMs: () => number = Date.now): () => string {
  const block = Buffer.alloc(BLOCK_BYTES);
  let used = BLOCK_BYTES;
  let lastMs = 0;
  let counter = 0;
  /** `0190b3c2-7d5e-7`: one for all ids of a millisecond. */
  let time = '';
  return () => {
    const nowMs = wallMs();
    if (nowMs > lastMs) {
      lastMs = nowMs;
      counter = 0;
      time = timeOf(lastMs);
    } else if (++counter > 0xfff) {
      lastMs++;
      counter = 0;
      time = timeOf(lastMs);
    }
    if (used === BLOCK_BYTES) {
      randomFillSync(block);
      used = 0;
    }
    const order = HEX[counter & 0xff] as string;
    const variant = HEX[((block[used] as number) & 0x3f) | 0x80] as string;
    const id = `${time}${(counter >> 8).toString(16)}${order}-${variant}${hex(block, used + 1, 1)}-${hex(block, used + 2, 6)}`;
    used += 8;
    return id;
  };
}

/** Of every byte: cheaper than asking the buffer, which is a call out of JavaScript. */
const HEX: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

function hex(bytes: Uint8Array, from: number, count: number): string {
  let text = '';
  for (let at = from; at < from + count; at++) text += HEX[bytes[at] as number] as string;
  return text;
}

function timeOf(ms: number): string {
  const digits = ms.toString(16).padStart(12, '0');
  return `${digits.slice(0, 8)}-${digits.slice(8)}-7`;
}
