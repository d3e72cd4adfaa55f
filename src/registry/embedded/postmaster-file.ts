import { execFile } from 'node:child_process';
import { link, readFile, rename, unlink } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { isAlive } from '../../files/process-identity.js';

const run = promisify(execFile);

/** `postmaster.pid`, which PostgreSQL writes into its data folder and removes as the last thing it does. */
export interface PostmasterFile {
  readonly pid: number;
  readonly socketFolder: string;
  readonly port: number;
  /** Whether it says that it accepts connections. */
  readonly ready: boolean;
  readonly text: string;
}

/** Null when there is none, or it is only half written (it is written line by line while the server starts). */
export async function readPostmasterFile(dataFolder: string): Promise<PostmasterFile | null> {
  let text: string;
  try {
    text = await readFile(path.join(dataFolder, 'postmaster.pid'), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  const lines = text.split('\n');
  const pid = Number(lines[0]);
  if (!Number.isSafeInteger(pid) || pid <= 0) return null;
  return {
    pid,
    socketFolder: lines[4] ?? '',
    port: Number(lines[3]),
    ready: lines[7]?.trim() === 'ready',
    text,
  };
}

/**
 * Whether the process of that file is the server that wrote it. A pid alone proves nothing: after a kill -9 and a
 * restart of the container it may be anybody's. The command line names the socket folder, which is this data folder's
 * own, and is readable where the working directory of another user's process is not (root without SYS_PTRACE).
 */
export async function isPostmasterAlive(file: PostmasterFile): Promise<boolean> {
  if (!isAlive(file.pid) || file.socketFolder === '') return false;
  return (await commandLine(file.pid)).includes(file.socketFolder);
}

/** Empty for a zombie and for a process that ended meanwhile. */
async function commandLine(pid: number): Promise<string> {
  if (process.platform === 'linux') return readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return run('ps', ['-ww', '-p', String(pid), '-o', 'command=']).then(
    ({ stdout }) => stdout,
    () => '',
  );
}

/**
 * Takes away the file of a server that is gone. PostgreSQL does that itself unless the pid lives on as another
 * process. Renamed first and looked at again, so the file of a server that started this moment is put back.
 */
export async function removeStaleFile(file: PostmasterFile, dataFolder: string): Promise<void> {
  const current = path.join(dataFolder, 'postmaster.pid');
  const aside = path.join(dataFolder, `postmaster.pid.stale-${process.pid}`);
  try {
    await rename(current, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if ((await readFile(aside, 'utf8')) !== file.text) await link(aside, current);
  await unlink(aside);
}
