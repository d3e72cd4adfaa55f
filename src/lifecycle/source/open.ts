import { existsSync } from 'node:fs';
import path from 'node:path';
import { SwitchyardError } from '../../errors.js';
import type { DocumentSource } from './document.js';
import { openJsonl } from './jsonl.js';
import { openParquet } from './parquet.js';

/** A source by its file's ending: `.jsonl`, `.ndjson` or `.parquet`. */
export async function openSource(file: string): Promise<DocumentSource> {
  if (!existsSync(file)) throw new SwitchyardError('INVALID_INPUT_FILE', `${file} does not exist`);
  switch (path.extname(file).toLowerCase()) {
    case '.jsonl':
    case '.ndjson':
      return openJsonl(file);
    case '.parquet':
      return openParquet(file);
    default:
      throw new SwitchyardError(
        'INVALID_INPUT_FILE',
        `${path.basename(file)} must end in .jsonl, .ndjson or .parquet`,
      );
  }
}
