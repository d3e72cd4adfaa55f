import { open, readFile, rm } from 'node:fs/promises';
import { SwitchyardError } from '../../../errors.js';
import { isAlive } from '../../../files/publish.js';

/**
 * Runs `work` as the only one in a folder: two downloads that append to one file would mix it up. A lock whose process
 * is gone is taken over. The lock lies beside the folder, which may be removed meanwhile. Errors: STATUS_CONFLICT naming the process that holds it.
 */
export async function withFolderLock<T>(folder: string, work: () => Promise<T>): Promise<T> {
  const file = `${folder}.lock`;
  await acquire(file);
  try {
    return await work();
  } finally {
    await rm(file, { force: true });
  }
}

async function acquire(file: string): Promise<void> {
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      const handle = await open(file, 'wx');
      await handle.writeFile(String(process.pid)).finally(() => handle.close());
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const pid = Number(await readFile(file, 'utf8').catch(() => ''));
    if (Number.isSafeInteger(pid) && pid > 0 && isAlive(pid)) break;
    await rm(file, { force: true });
  }
  throw new SwitchyardError(
    'STATUS_CONFLICT',
    `these files are being downloaded already (${file} names the process); wait for it, or remove that file if nothing runs`,
  );
}
