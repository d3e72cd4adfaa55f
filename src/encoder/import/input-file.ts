import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { SwitchyardError } from '../../errors.js';

/** A file that an import needs. Errors: INVALID_MODEL naming it when it cannot be read. */
export async function readInputFile(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new SwitchyardError('INVALID_MODEL', `cannot read ${file}`, {
      cause: error,
      details: { file: path.basename(file) },
    });
  }
}

/** As `readInputFile`, as JSON. */
export async function readInputJson(file: string): Promise<unknown> {
  return parseInputJson(await readInputFile(file), file);
}

/** As `readInputJson`, but a file that is not there is `undefined`. */
export async function readOptionalJson(file: string): Promise<unknown> {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  return parseInputJson(bytes, file);
}

function parseInputJson(bytes: Uint8Array, file: string): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new SwitchyardError('INVALID_MODEL', `${file} is not JSON`, {
      cause: error,
      details: { file: path.basename(file) },
    });
  }
}
