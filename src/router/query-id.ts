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
  return () => {
    const nowMs = wallMs();
    if (nowMs > lastMs) {
      lastMs = nowMs;
      counter = 0;
    } else if (++counter > 0xfff) {
      lastMs++;
      counter = 0;
    }
    if (used === BLOCK_BYTES) {
      randomFillSync(block);
      used = 0;
    }
    const variant = ((block.readUInt16BE(used) & 0x3fff) | 0x8000).toString(16);
    const rest = block.toString('hex', used + 2, used + 8);
    used += 8;
    const time = lastMs.toString(16).padStart(12, '0');
    const order = counter.toString(16).padStart(3, '0');
    return `${time.slice(0, 8)}-${time.slice(8)}-7${order}-${variant}-${rest}`;
  };
}
