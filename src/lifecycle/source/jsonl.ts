import path from 'node:path';
import { type DocumentSource, type SourceDocument, toSourceDocument } from './document.js';
import { parseLine, readLines } from './lines.js';

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
  for await (const { bytes } of readLines(file)) {
    line++;
    const where = `${name}:${line}`;
    const record = parseLine(bytes, () => where);
    if (record !== undefined) yield toSourceDocument(record, where);
  }
}
