import { isUtf8 } from 'node:buffer';
import { createReadStream } from 'node:fs';
import path from 'node:path';
import { SwitchyardError } from '../../errors.js';

/** One line may hold a long document and its vector; more than this is a file of another kind. */
const LINE_BYTES_MAX = 64 * 1024 * 1024;

export interface Line {
  /** Where it begins in the file. */
  readonly offset: number;
  /** Without its end. */
  readonly bytes: Buffer;
  /** False for the last one of a file that has no line end (yet). */
  readonly isEnded: boolean;
}

/** The lines of bytes `start` (the start of a line) to `end` of a file, streamed. Errors: INVALID_INPUT_FILE. */
export async function* readLines(
  file: string,
  { start = 0, end = Number.POSITIVE_INFINITY }: { readonly start?: number; readonly end?: number } = {},
): AsyncGenerator<Line> {
  if (end <= start) return;
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  let offset = start;
  const chunks = createReadStream(file, {
    highWaterMark: 1 << 20,
    start,
    ...(Number.isFinite(end) ? { end: end - 1 } : {}),
  }) as AsyncIterable<Buffer>;
  for await (const chunk of chunks) {
    let from = 0;
    for (;;) {
      const to = chunk.indexOf(0x0a, from);
      const part = chunk.subarray(from, to < 0 ? chunk.length : to);
      pending.push(part);
      pendingBytes += part.length;
      if (pendingBytes > LINE_BYTES_MAX) {
        throw new SwitchyardError(
          'INVALID_INPUT_FILE',
          `${path.basename(file)}: a line is longer than ${LINE_BYTES_MAX} bytes; the file must hold one JSON object a line`,
        );
      }
      if (to < 0) break;
      yield { offset, bytes: pending.length === 1 ? part : Buffer.concat(pending), isEnded: true };
      offset += pendingBytes + 1;
      pending = [];
      pendingBytes = 0;
      from = to + 1;
    }
  }
  if (pendingBytes > 0) yield { offset, bytes: Buffer.concat(pending), isEnded: false };
}

/** The JSON value of a line; undefined for an empty one. `where` goes in front of what is wrong. Errors: INVALID_INPUT_FILE. */
export function parseLine(bytes: Buffer, where: () => string): unknown {
  if (!isUtf8(bytes)) throw new SwitchyardError('INVALID_INPUT_FILE', `${where()}: is not valid UTF-8`);
  const text = bytes.toString('utf8').trim();
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SwitchyardError('INVALID_INPUT_FILE', `${where()}: is not valid JSON`, { cause: error });
  }
}
