import { SwitchyardError } from '../errors.js';

const BYTES_PER_VALUE = 4;

/**
 * Little-endian float32 bytes as numbers: a view where the bytes are aligned, else a copy. Every platform that the
 * engines run on is little-endian. Errors: MALFORMED_REQUEST when the length is no multiple of 4.
 */
export function float32View(field: string, bytes: Buffer): Float32Array {
  if (bytes.length % BYTES_PER_VALUE !== 0) {
    throw new SwitchyardError(
      'MALFORMED_REQUEST',
      `${field} has ${bytes.length} bytes, which is no whole number of float32 values`,
      { details: { field } },
    );
  }
  const count = bytes.length / BYTES_PER_VALUE;
  if (bytes.byteOffset % BYTES_PER_VALUE === 0)
    return new Float32Array(bytes.buffer as ArrayBuffer, bytes.byteOffset, count);
  const values = new Float32Array(count);
  Buffer.from(values.buffer).set(bytes);
  return values;
}
