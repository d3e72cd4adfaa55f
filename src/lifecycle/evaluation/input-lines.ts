import { isUtf8 } from 'node:buffer';
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { SwitchyardError } from '../../errors.js';

/** Golden sets are read whole; more than this is a corpus. */
const FILE_BYTES_MAX = 256 * 1024 * 1024;

export interface InputLine {
  readonly text: string;
  /** File and line, for messages. */
  readonly where: string;
}

export const refuseInput = (where: string, why: string): never => {
  throw new SwitchyardError('INVALID_INPUT_FILE', `${where}: ${why}`);
};

/** Errors: INVALID_INPUT_FILE when it is not there, too large, or no UTF-8. */
export async function readText(file: string): Promise<string> {
  const name = path.basename(file);
  let bytes: Buffer;
  try {
    const { size } = await stat(file);
    if (size > FILE_BYTES_MAX) return refuseInput(name, `has ${size} bytes; must be <= ${FILE_BYTES_MAX}`);
    bytes = await readFile(file);
  } catch (error) {
    if (error instanceof SwitchyardError) throw error;
    return refuseInput(file, `cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  if (!isUtf8(bytes)) return refuseInput(name, 'is not valid UTF-8');
  return bytes.toString('utf8').replace(/^\uFEFF/, '');
}

/** The lines that have something in them. */
export async function readLines(file: string): Promise<readonly InputLine[]> {
  const name = path.basename(file);
  return (await readText(file))
    .split('\n')
    .map((text, at) => ({ text: text.replace(/\r$/, ''), where: `${name}:${at + 1}` }))
    .filter(({ text }) => text.trim() !== '');
}

export function wholeGrade(text: string | undefined, where: string): number {
  if (text !== undefined && /^-?\d{1,4}$/.test(text)) return Number(text);
  return refuseInput(where, `grade ${JSON.stringify(text ?? '')} must be a whole number`);
}
