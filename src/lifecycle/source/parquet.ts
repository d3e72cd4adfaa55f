import { openAsBlob } from 'node:fs';
import path from 'node:path';
import { SwitchyardError } from '../../errors.js';
import { type DocumentSource, type SourceDocument, toSourceDocument } from './document.js';

const BATCH_ROWS = 1024;
const COLUMNS = ['id', 'text', 'title', 'attributes', 'vector'];

/**
 * Parquet with the columns of the JSONL fields: `id`, `text` (strings), optional `title` (string), `attributes`
 * (string holding a JSON object) and `vector` (list or fixed-size list of float32 or float64). Read in record batches.
 * The readers (WebAssembly) are loaded only here, so nothing else pays for them.
 */
export async function openParquet(file: string): Promise<DocumentSource> {
  const name = path.basename(file);
  const { ParquetFile } = await import('parquet-wasm');
  const { tableFromIPC } = await import('apache-arrow');
  const columnsOf = async (): Promise<string[]> => {
    try {
      const opened = await ParquetFile.fromFile(await openAsBlob(file));
      return tableFromIPC(opened.schema().intoIPCStream()).schema.fields.map((field) => field.name);
    } catch (error) {
      throw new SwitchyardError('INVALID_INPUT_FILE', `${name}: is not a readable Parquet file`, {
        cause: error,
      });
    }
  };
  const columns = await columnsOf();
  const unknown = columns.find((column) => !COLUMNS.includes(column));
  if (unknown !== undefined) {
    throw new SwitchyardError(
      'INVALID_INPUT_FILE',
      `${name}: unknown column "${unknown}"; known are ${COLUMNS.join(', ')}`,
    );
  }

  async function* documents(): AsyncIterable<SourceDocument> {
    let row = 0;
    const opened = await ParquetFile.fromFile(await openAsBlob(file));
    try {
      const stream = await opened.stream({ batchSize: BATCH_ROWS });
      for await (const batch of stream) {
        const table = tableFromIPC((batch as { intoIPCStream(): Uint8Array }).intoIPCStream());
        for (const record of table) {
          row++;
          const where = `${name}:row ${row}`;
          yield toSourceDocument(toRecord(record.toJSON() as Record<string, unknown>, where), where);
        }
      }
    } catch (error) {
      if (error instanceof SwitchyardError) throw error;
      throw new SwitchyardError('INVALID_INPUT_FILE', `${name}: cannot be read past row ${row}`, {
        cause: error,
      });
    }
  }
  return { name, hasVectors: columns.includes('vector'), documents };
}

function toRecord(row: Record<string, unknown>, where: string): Record<string, unknown> {
  const { attributes, vector, ...rest } = row;
  const record: Record<string, unknown> = { ...rest };
  if (typeof attributes === 'string' && attributes !== '') {
    try {
      record.attributes = JSON.parse(attributes);
    } catch (error) {
      throw new SwitchyardError('INVALID_INPUT_FILE', `${where}: attributes is not JSON`, { cause: error });
    }
  }
  if (vector !== undefined && vector !== null) {
    record.vector = Float32Array.from(vector as Iterable<number>);
  }
  return record;
}
