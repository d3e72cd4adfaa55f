import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import type { Static, TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { SwitchyardError } from '../../errors.js';
import { sha256Hex } from '../../files/hash.js';
import { asDiskError } from '../../files/publish.js';

/**
 * A small JSON file that is whole or not there (invariant 4): written beside its place, fsynced and renamed, with a
 * checksum of its payload. `format` names what it is and its version.
 * Errors: DISK_FULL.
 */
export async function writeSealedFile(file: string, format: string, payload: unknown): Promise<void> {
  const body = JSON.stringify(payload);
  const text = `{"format":${JSON.stringify(format)},"sha256":"${sha256Hex(body)}","payload":${body}}\n`;
  const folder = path.dirname(file);
  const temporary = path.join(folder, `.tmp-${process.pid}-${randomBytes(6).toString('hex')}`);
  try {
    await mkdir(folder, { recursive: true });
    await writeAndSync(temporary, text);
    await rename(temporary, file);
    await syncFolder(folder);
  } catch (error) {
    await rm(temporary, { force: true });
    throw asDiskError(error, file);
  }
}

/**
 * The payload; null where there is no such file. Errors: CORRUPT_SNAPSHOT, naming the file, for anything that is not
 * what was written: another checksum, format, version or structure.
 */
export async function readSealedFile<Schema extends TSchema>(
  file: string,
  format: string,
  schema: Schema,
): Promise<Static<Schema> | null> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw damaged(file, 'cannot be read', error);
  }
  let sealed: { readonly format?: unknown; readonly sha256?: unknown; readonly payload?: unknown } | null;
  try {
    sealed = JSON.parse(text) as typeof sealed;
  } catch {
    // Why, as Node says it, quotes the file.
    throw damaged(file, 'is no JSON', null);
  }
  if (sealed?.format !== format) throw damaged(file, `is not of format ${format}`, null);
  if (sealed.payload === undefined || sha256Hex(JSON.stringify(sealed.payload)) !== sealed.sha256)
    throw damaged(file, 'does not have its checksum', null);
  if (!Value.Check(schema, sealed.payload)) throw damaged(file, 'has another structure', null);
  return sealed.payload;
}

const damaged = (file: string, what: string, cause: unknown): SwitchyardError =>
  new SwitchyardError(
    'CORRUPT_SNAPSHOT',
    `${file} ${what}, so nothing in it is used: remove it; it is written again when the registry can be reached`,
    { details: { file: path.basename(file) }, cause },
  );

async function writeAndSync(file: string, text: string): Promise<void> {
  const handle = await open(file, 'wx', 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
