import type { Encoder } from '../encoder/encoder.js';
import type { BuildBatch } from '../index/build-options.js';
import type { StoredDocument } from '../index/search-index.js';
import { type Chunking, chunkText } from './chunking.js';
import { normaliseText, type RenderDocument } from './document-text.js';
import type { SourceDocument } from './source/document.js';

/** Texts of one encode call. Large enough to sort by length, small enough to show progress. */
const ROWS_PER_BATCH = 256;

export interface EmbedOptions {
  readonly encoder: Encoder;
  readonly render: RenderDocument;
  /** null: one row a document. */
  readonly chunking: Chunking | null;
  readonly countTokens: (text: string) => number;
  readonly onDocument: () => void;
}

interface PendingRow {
  readonly document: SourceDocument;
  readonly chunk: number;
  readonly embeddedText: string;
}

/** Turns documents into rows with vectors, one batch ahead of the reader so that encoding and indexing overlap. */
export async function* embedRows(
  documents: AsyncIterable<SourceDocument>,
  options: EmbedOptions,
): AsyncIterable<BuildBatch> {
  let ahead: Promise<BuildBatch> | null = null;
  try {
    for await (const rows of rowsOf(documents, options)) {
      const next = encodeRows(rows, options.encoder);
      // A failure of the batch ahead is seen when it is awaited; until then it must not count as unhandled.
      next.catch(() => undefined);
      if (ahead !== null) yield await ahead;
      ahead = next;
    }
    if (ahead !== null) yield await ahead;
  } finally {
    await ahead?.catch(() => undefined);
  }
}

async function* rowsOf(
  documents: AsyncIterable<SourceDocument>,
  options: EmbedOptions,
): AsyncIterable<PendingRow[]> {
  let rows: PendingRow[] = [];
  for await (const document of documents) {
    const text = normaliseText(document.text);
    const chunks =
      options.chunking === null ? [text] : chunkText(text, options.chunking, options.countTokens);
    for (const [chunk, text] of chunks.entries()) {
      rows.push({ document, chunk, embeddedText: options.render({ ...document, text }) });
    }
    options.onDocument();
    if (rows.length < ROWS_PER_BATCH) continue;
    yield rows;
    rows = [];
  }
  if (rows.length > 0) yield rows;
}

async function encodeRows(rows: readonly PendingRow[], encoder: Encoder): Promise<BuildBatch> {
  const vectors = new Float32Array(rows.length * encoder.model.dimensions);
  const tokenCounts = new Uint32Array(rows.length);
  // A long document has many chunks: never more than the encoder takes in one call.
  for (let start = 0; start < rows.length; start += ROWS_PER_BATCH) {
    const part = rows.slice(start, start + ROWS_PER_BATCH);
    const encoded = await encoder.encode({
      texts: part.map((row) => row.embeddedText),
      role: 'document',
      lane: 'bulk',
      deadlineAtMs: Number.POSITIVE_INFINITY,
    });
    vectors.set(encoded.values, start * encoder.model.dimensions);
    tokenCounts.set(encoded.tokenCounts, start);
  }
  return {
    vectors,
    rows: rows.map((row, at) => ({
      documentId: row.document.id,
      chunk: row.chunk,
      truncated: (tokenCounts[at] ?? 0) > encoder.model.max_tokens,
      ...(row.chunk === 0 ? { document: storedDocument(row.document) } : {}),
    })),
  };
}

/** What `with_document` gives back. */
export function storedDocument({ title, text, attributes }: SourceDocument): StoredDocument {
  return {
    ...(title === null ? {} : { title }),
    text: normaliseText(text),
    ...(attributes === null ? {} : { attributes }),
  };
}
