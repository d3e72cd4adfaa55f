import { SwitchyardError } from '../../../errors.js';
import { lockOwnerName, tryLock } from '../../../files/file-lock.js';

/**
 * Runs `work` as the only one in a folder: two downloads that append to one file would mix it up. A lock whose process
 * is gone is taken over. The lock lies beside the folder, which may be removed meanwhile. Errors: STATUS_CONFLICT naming the process that holds it.
 */
export async function withFolderLock<T>(folder: string, work: () => Promise<T>): Promise<T> {
  const file = `${folder}.lock`;
  const lock = await tryLock(file);
  if ('lockedBy' in lock)
    throw new SwitchyardError(
      'STATUS_CONFLICT',
      `these files are being downloaded already by ${lockOwnerName(lock.lockedBy)}; wait for it, or remove ${file} if nothing runs`,
    );
  try {
    return await work();
  } finally {
    await lock.release();
  }
}
