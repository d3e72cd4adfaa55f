import { DOCUMENT_ID_BYTES_MAX } from '../ids-file.js';
import type { Hit, StoredDocument } from '../search-index.js';
import { parseJson } from './protocol.js';

export interface SearchedHits {
  readonly hits: readonly Hit[];
  readonly searchUs: number;
}

const HEAD_BYTES = 12;
/** Per hit: f64 score, f64 distance, u32 chunk, u32 bytes of the id. */
const HIT_BYTES = 24;
/** JSON of the same value may be longer than the line that was stored: `1e20` becomes 21 digits. */
const JSON_GROWTH_MAX = 6;
const NO_DOCUMENT = 0xffffffff;
const U32_MAX = 0xffffffff;

/**
 * u32 hits n | u32 search µs | u32 1 with documents | f64[n] scores | f64[n] distances | u32[n] chunks
 * | u32[n] id bytes | (u32[n] document bytes) | ids | (documents as JSON). Little-endian; u32 max for no document.
 * Scores and distances cross as the doubles they are, so that an answer is the same on either side.
 */
export function encodeAnswer({ hits, searchUs }: SearchedHits, withDocument: boolean): Buffer[] {
  const count = hits.length;
  const head = Buffer.allocUnsafe(headBytes(count, withDocument));
  head.writeUInt32LE(count, 0);
  head.writeUInt32LE(Math.min(U32_MAX, Math.max(0, Math.round(searchUs))), 4);
  head.writeUInt32LE(withDocument ? 1 : 0, 8);
  const ids: Buffer[] = [];
  const documents: Buffer[] = [];
  hits.forEach(({ id, chunk, score, distance, document }, i) => {
    head.writeDoubleLE(score, HEAD_BYTES + i * 8);
    head.writeDoubleLE(distance, HEAD_BYTES + (count + i) * 8);
    head.writeUInt32LE(chunk, HEAD_BYTES + count * 16 + i * 4);
    const idBytes = Buffer.from(id, 'utf8');
    ids.push(idBytes);
    head.writeUInt32LE(idBytes.length, HEAD_BYTES + count * 20 + i * 4);
    if (!withDocument) return;
    const bytes = document === null ? null : Buffer.from(JSON.stringify(document), 'utf8');
    if (bytes !== null) documents.push(bytes);
    head.writeUInt32LE(bytes?.length ?? NO_DOCUMENT, HEAD_BYTES + count * HIT_BYTES + i * 4);
  });
  return [head, ...ids, ...documents];
}

/** null when the bytes are no answer to a search for `topK` documents; they may be anything. */
export function decodeAnswer(payload: Buffer, topK: number, withDocument: boolean): SearchedHits | null {
  if (payload.length < HEAD_BYTES) return null;
  const count = payload.readUInt32LE(0);
  const head = headBytes(count, withDocument);
  if (count > topK || payload.readUInt32LE(8) !== (withDocument ? 1 : 0) || payload.length < head)
    return null;
  const hits: Hit[] = [];
  let idAt = head;
  let documentAt = head;
  for (let i = 0; i < count; i++) documentAt += payload.readUInt32LE(HEAD_BYTES + count * 20 + i * 4);
  if (documentAt > payload.length) return null;
  for (let i = 0; i < count; i++) {
    const score = payload.readDoubleLE(HEAD_BYTES + i * 8);
    const distance = payload.readDoubleLE(HEAD_BYTES + (count + i) * 8);
    if (!Number.isFinite(score) || !Number.isFinite(distance)) return null;
    const idBytes = payload.readUInt32LE(HEAD_BYTES + count * 20 + i * 4);
    if (idBytes > DOCUMENT_ID_BYTES_MAX) return null;
    const idEnd = idAt + idBytes;
    let document: StoredDocument | null = null;
    const bytes = withDocument ? payload.readUInt32LE(HEAD_BYTES + count * HIT_BYTES + i * 4) : NO_DOCUMENT;
    if (bytes !== NO_DOCUMENT) {
      const end = documentAt + bytes;
      if (end > payload.length) return null;
      const value = parseJson(payload.subarray(documentAt, end));
      if (typeof value !== 'object' || value === null) return null;
      document = value;
      documentAt = end;
    }
    const chunk = payload.readUInt32LE(HEAD_BYTES + count * 16 + i * 4);
    hits.push({ id: payload.toString('utf8', idAt, idEnd), chunk, score, distance, document });
    idAt = idEnd;
  }
  return documentAt === payload.length ? { hits, searchUs: payload.readUInt32LE(4) } : null;
}

/** The longest answer there can be, when all stored documents together have so many bytes as JSON lines. */
export const answerBytesMax = (topKMax: number, documentsBytes: number): number =>
  headBytes(topKMax, true) + topKMax * DOCUMENT_ID_BYTES_MAX + JSON_GROWTH_MAX * documentsBytes;

const headBytes = (count: number, withDocument: boolean): number =>
  HEAD_BYTES + count * (HIT_BYTES + (withDocument ? 4 : 0));
