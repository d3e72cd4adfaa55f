import { type FileHandle, open } from 'node:fs/promises';
import path from 'node:path';
import { SwitchyardError } from '../errors.js';
import type { BuildBatch, BuildRow } from './build-options.js';
import { DOCUMENT_OFFSETS_FILE, DOCUMENTS_FILE, PROVENANCE_FILE, VECTORS_FILE } from './file-names.js';
import { IdTable } from './ids-file.js';
import type { Bundle } from './manifest.js';
import { decodeProvenance, PROVENANCE_BYTES } from './provenance.js';
import type { StoredDocument } from './search-index.js';
import { SeededRandom } from './seeded-random.js';
import { loadVerified } from './verify-bundle.js';

const ROWS_PER_BATCH = 1024;

export interface StoredRowsOptions {
  /** Documents come in another order, which the seed decides; the chunks of each stay together, in theirs. */
  readonly shuffleSeed?: number;
  readonly signal?: AbortSignal;
  readonly onRows?: (rowsDone: number) => void;
}

/**
 * The rows of a published build as its builder got them: whole vectors, ids, chunks, stored documents. Every file is
 * hashed before the first row comes. Which chunks were cut is known where provenance was kept; how many, always.
 * Errors: CORRUPT_BUNDLE with the file's name, UNKNOWN_BUILD; the signal's reason when it was aborted.
 */
export async function* storedRows(
  given: Bundle,
  options: StoredRowsOptions = {},
): AsyncGenerator<BuildBatch> {
  const { bundle, ids } = await loadVerified(given, undefined, options.signal);
  const { manifest, folder } = bundle;
  const table = new IdTable(ids);
  const vectors = await open(path.join(folder, VECTORS_FILE), 'r');
  const documents =
    manifest.files[DOCUMENTS_FILE] === undefined
      ? null
      : await DocumentLines.open(folder).catch(closing(vectors));
  const provenance =
    manifest.files[PROVENANCE_FILE] === undefined
      ? null
      : await open(path.join(folder, PROVENANCE_FILE), 'r').catch(closing(vectors));
  try {
    const { row_count: rowCount, full_dimensions: dimensions } = manifest;
    const order =
      options.shuffleSeed === undefined ? null : shuffledRows(table.ordinals, options.shuffleSeed);
    const rowBytes = dimensions * 4;
    let last = -1;
    for (let first = 0; first < rowCount; first += ROWS_PER_BATCH) {
      options.signal?.throwIfAborted();
      const count = Math.min(ROWS_PER_BATCH, rowCount - first);
      const values = new Float32Array(count * dimensions);
      const bytes = new Uint8Array(values.buffer);
      if (order === null) await fill(vectors, bytes, first * rowBytes, VECTORS_FILE);
      const records = Buffer.alloc(provenance === null ? 0 : count * PROVENANCE_BYTES);
      if (provenance !== null && order === null)
        await fill(provenance, records, first * PROVENANCE_BYTES, PROVENANCE_FILE);
      const rows: BuildRow[] = [];
      for (let at = first; at < first + count; at++) {
        const row = order === null ? at : (order[at] as number);
        if (order !== null) {
          const place = (at - first) * rowBytes;
          await fill(vectors, bytes.subarray(place, place + rowBytes), row * rowBytes, VECTORS_FILE);
          const record = records.subarray(
            (at - first) * PROVENANCE_BYTES,
            (at - first + 1) * PROVENANCE_BYTES,
          );
          if (provenance !== null) await fill(provenance, record, row * PROVENANCE_BYTES, PROVENANCE_FILE);
        }
        const ordinal = table.ordinals[row] as number;
        const isFirst = ordinal !== last;
        last = ordinal;
        const line = isFirst && documents !== null ? await documents.read(ordinal) : 'null';
        const document = JSON.parse(line) as StoredDocument | null;
        const made = provenance === null ? null : decodeProvenance(records, (at - first) * PROVENANCE_BYTES);
        rows.push({
          documentId: table.idOf(ordinal),
          chunk: table.chunks[row] as number,
          truncated: made?.truncated ?? false,
          ...(made === null ? {} : { provenance: made }),
          ...(document === null ? {} : { document }),
        });
      }
      yield { vectors: values, rows };
      options.onRows?.(first + count);
    }
  } finally {
    await vectors.close();
    await documents?.close();
    await provenance?.close();
  }
}

/** Row numbers by shuffled document. `ordinals`: the document of each row, in rising order. */
function shuffledRows(ordinals: Uint32Array, seed: number): Uint32Array {
  const starts: number[] = [];
  for (let row = 0; row < ordinals.length; row++)
    if (row === 0 || ordinals[row] !== ordinals[row - 1]) starts.push(row);
  const random = new SeededRandom(seed);
  const documents = Uint32Array.from(starts.keys());
  for (let at = documents.length - 1; at > 0; at--) {
    const other = random.below(at + 1);
    [documents[at], documents[other]] = [documents[other] as number, documents[at] as number];
  }
  const order = new Uint32Array(ordinals.length);
  let filled = 0;
  for (const document of documents) {
    const end = starts[document + 1] ?? ordinals.length;
    for (let row = starts[document] as number; row < end; row++) order[filled++] = row;
  }
  return order;
}

/** documents.jsonl by ordinal. */
class DocumentLines {
  readonly #lines: FileHandle;
  readonly #offsets: FileHandle;

  private constructor(lines: FileHandle, offsets: FileHandle) {
    this.#lines = lines;
    this.#offsets = offsets;
  }

  static async open(folder: string): Promise<DocumentLines> {
    const lines = await open(path.join(folder, DOCUMENTS_FILE), 'r');
    const offsets = await open(path.join(folder, DOCUMENT_OFFSETS_FILE), 'r').catch(closing(lines));
    return new DocumentLines(lines, offsets);
  }

  async read(ordinal: number): Promise<string> {
    const range = Buffer.alloc(16);
    await fill(this.#offsets, range, ordinal * 8, DOCUMENT_OFFSETS_FILE);
    const start = Number(range.readBigUInt64LE(0));
    const line = Buffer.alloc(Number(range.readBigUInt64LE(8)) - start);
    await fill(this.#lines, line, start, DOCUMENTS_FILE);
    return line.toString('utf8');
  }

  async close(): Promise<void> {
    await this.#lines.close();
    await this.#offsets.close();
  }
}

async function fill(file: FileHandle, target: Uint8Array, position: number, name: string): Promise<void> {
  let done = 0;
  while (done < target.length) {
    const { bytesRead } = await file.read(target, done, target.length - done, position + done);
    if (bytesRead === 0)
      throw new SwitchyardError('CORRUPT_BUNDLE', `${name} ends early: fetch the bundle again`, {
        details: { file: name },
      });
    done += bytesRead;
  }
}

const closing =
  (handle: FileHandle) =>
  async (error: unknown): Promise<never> => {
    await handle.close();
    throw error;
  };
