import { existsSync } from 'node:fs';
import path from 'node:path';
import { SwitchyardError } from '../../errors.js';
import type { DocumentSource } from './document.js';
import { isFeedRecord } from './feed.js';
import { openJsonl } from './jsonl.js';
import { parseLine, readLines } from './lines.js';
import { openParquet } from './parquet.js';

/** A source of documents without versions, by its file's ending: `.jsonl`, `.ndjson` or `.parquet`. */
export async function openSource(file: string): Promise<DocumentSource> {
  assertExists(file);
  if (isJsonLines(file)) return openJsonl(file);
  if (path.extname(file).toLowerCase() === '.parquet') return openParquet(file);
  throw new SwitchyardError(
    'INVALID_INPUT_FILE',
    `${path.basename(file)} must end in .jsonl, .ndjson or .parquet`,
  );
}

/** JSON lines are a feed when the first one says a version. Errors: INVALID_INPUT_FILE. */
export async function isFeedFile(file: string): Promise<boolean> {
  assertExists(file);
  if (!isJsonLines(file)) return false;
  let line = 0;
  for await (const { bytes } of readLines(file)) {
    line++;
    const record = parseLine(bytes, () => `${path.basename(file)}:${line}`);
    if (record !== undefined) return isFeedRecord(record);
  }
  return false;
}

const isJsonLines = (file: string): boolean =>
  ['.jsonl', '.ndjson'].includes(path.extname(file).toLowerCase());

function assertExists(file: string): void {
  if (!existsSync(file)) throw new SwitchyardError('INVALID_INPUT_FILE', `${file} does not exist`);
}
