import { isUtf8 } from 'node:buffer';
import { createReadStream } from 'node:fs';
import path from 'node:path';
import { SwitchyardError } from '../../errors.js';
import { type DocumentSource, type SourceDocument, toSourceDocument } from './document.js';

/** One line may hold a long document and its vector; more than this is a file of another kind. */
const LINE_BYTES_MAX = 64 * 1024 * 1024;

/** JSON lines: one document a line, empty lines ignored. Streamed: memory does not grow with the file. */
export async function openJsonl(file: string): Promise<DocumentSource> {
  const documents = () => readDocuments(file);
  let hasVectors = false;
  for await (const first of documents()) {
    hasVectors = first.vector !== null;
    break;
  }
  return { name: path.basename(file), hasVectors, documents };
}

async function* readDocuments(file: string): AsyncIterable<SourceDocument> {
  const name = path.basename(file);
  let line = 0;
  for await (const bytes of readLines(file)) {
    line++;
    const where = `${name}:${line}`;
    if (!isUtf8(bytes)) throw new SwitchyardError('INVALID_INPUT_FILE', `${where}: is not valid UTF-8`);
    const text = bytes.toString('utf8').trim();
    if (text === '') continue;
    let record: unknown;
    try {
      record = JSON.parse(text);
    } catch (error) {
      throw new SwitchyardError('INVALID_INPUT_FILE', `${where}: is not valid JSON`, { cause: error });
    }
    yield toSourceDocument(record, where);
  }
}

async function* readLines(file: string): AsyncIterable<Buffer> {
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(0x0a, start);
      const part = chunk.subarray(start, end < 0 ? chunk.length : end);
      pending.push(part);
      pendingBytes += part.length;
      if (pendingBytes > LINE_BYTES_MAX) {
        throw new SwitchyardError(
          'INVALID_INPUT_FILE',
          `${path.basename(file)}: a line is longer than ${LINE_BYTES_MAX} bytes; the file must hold one JSON object a line`,
        );
      }
      if (end < 0) break;
      yield pending.length === 1 ? part : Buffer.concat(pending);
      pending = [];
      pendingBytes = 0;
      start = end + 1;
    }
  }
  if (pendingBytes > 0) yield Buffer.concat(pending);
}
