import { randomBytes } from 'node:crypto';
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { SwitchyardError } from '../../errors.js';
import { asDiskError } from '../../files/publish.js';

const SECRET_BYTES = 32;

/**
 * The secret in `file`, which only this user can read; made at the first call, once for all processes of the folder.
 * Errors: DISK_FULL; INVALID_CONFIG for a file that is no such secret.
 */
export async function readSecretFile(file: string): Promise<Uint8Array> {
  const folder = path.dirname(file);
  const temporary = path.join(folder, `.tmp-${process.pid}-${randomBytes(6).toString('hex')}`);
  try {
    await mkdir(folder, { recursive: true });
    await writeFile(temporary, randomBytes(SECRET_BYTES), { mode: 0o600, flag: 'wx' });
    // Whole or not at all, and whoever is first wins.
    await link(temporary, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw asDiskError(error, file);
  } finally {
    await rm(temporary, { force: true });
  }
  const secret = await readFile(file);
  if (secret.length !== SECRET_BYTES)
    throw new SwitchyardError(
      'INVALID_CONFIG',
      `${file} has ${secret.length} bytes and is no secret of ${SECRET_BYTES}: remove it, and a new one is made`,
    );
  return secret;
}
