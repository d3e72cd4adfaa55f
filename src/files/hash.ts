import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import type { Readable } from 'node:stream';

export interface FileSummary {
  readonly bytes: number;
  /** SHA-256 of the content, 64 hex. */
  readonly sha256: string;
}

/** Size and SHA-256 of a file, read as a stream: constant memory whatever its size. */
export async function summariseFile(file: string): Promise<FileSummary> {
  return summariseStream(createReadStream(file, { highWaterMark: 1 << 20 }));
}

async function summariseStream(stream: Readable): Promise<FileSummary> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { bytes, sha256: hash.digest('hex') };
}

export const sha256Hex = (data: Uint8Array | string): string =>
  createHash('sha256').update(data).digest('hex');
