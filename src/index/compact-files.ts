import { createHash } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, readSync, renameSync, writeSync } from 'node:fs';
import { asDiskError } from '../files/publish.js';
import { type Compaction, runsOf } from './compaction.js';
import { HashingWriter } from './hashing-writer.js';
import type { BundleFile } from './manifest.js';

const BLOCK_BYTES = 4 << 20;

/** A file of records of one size, a row each: moves them in place and says what the file holds now. Blocks its thread. */
export function compactRecords(file: string, recordBytes: number, compaction: Compaction): BundleFile {
  const { rowCount, to, from } = compaction;
  const descriptor = openSync(file, 'r+');
  try {
    const record = new Uint8Array(recordBytes);
    for (const [at, place] of to.entries()) {
      fill(descriptor, record, (from[at] as number) * recordBytes);
      writeSync(descriptor, record, 0, recordBytes, place * recordBytes);
    }
    ftruncateSync(descriptor, rowCount * recordBytes);
    return hashOf(descriptor);
  } catch (error) {
    throw asDiskError(error, file);
  } finally {
    closeSync(descriptor);
  }
}

/**
 * A file of lines and where each begins (linked rows + 1 of them): writes it anew in the rows' new order.
 * Returns also the new beginnings. Blocks its thread.
 */
export function compactLines(
  file: string,
  offsets: BigUint64Array,
  compaction: Compaction,
): { readonly written: BundleFile; readonly offsets: BigUint64Array<ArrayBuffer> } {
  const descriptor = openSync(file, 'r');
  const compacted = `${file}.compacted`;
  try {
    const writer = new HashingWriter(compacted);
    const begins = new BigUint64Array(compaction.rowCount + 1);
    let row = 0;
    for (const { first, count } of runsOf(compaction)) {
      const begin = offsets[first] as bigint;
      for (let at = 0; at < count; at++) {
        const bytes = (offsets[first + at + 1] as bigint) - (offsets[first + at] as bigint);
        begins[row + 1] = (begins[row] as bigint) + bytes;
        row++;
      }
      copy(descriptor, Number(begin), Number(offsets[first + count] as bigint), writer);
    }
    const written = writer.finish();
    renameSync(compacted, file);
    return { written, offsets: begins };
  } finally {
    closeSync(descriptor);
  }
}

function copy(descriptor: number, begin: number, end: number, writer: HashingWriter): void {
  for (let at = begin; at < end; at += BLOCK_BYTES) {
    const block = new Uint8Array(Math.min(BLOCK_BYTES, end - at));
    fill(descriptor, block, at);
    writer.write(block);
  }
}

function hashOf(descriptor: number): BundleFile {
  const hash = createHash('sha256');
  const block = new Uint8Array(BLOCK_BYTES);
  let bytes = 0;
  for (;;) {
    const read = readSync(descriptor, block, 0, block.length, bytes);
    if (read === 0) return { bytes, sha256: hash.digest('hex') };
    hash.update(block.subarray(0, read));
    bytes += read;
  }
}

function fill(descriptor: number, target: Uint8Array, position: number): void {
  for (let done = 0; done < target.length; ) {
    const read = readSync(descriptor, target, done, target.length - done, position + done);
    if (read === 0) throw new RangeError(`a file of a build ends before byte ${position + target.length}`);
    done += read;
  }
}
