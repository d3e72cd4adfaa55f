import { chmod, chown, lstat, mkdir, realpath, rmdir } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { SwitchyardError } from '../../errors.js';
import { sha256Hex } from '../../files/hash.js';
import { canReach, ownIds, type ServerUser } from './server-user.js';

/** Bytes of a Unix socket's path, without the final zero, on Linux; macOS has 103. */
const SOCKET_PATH_BYTES_MAX = process.platform === 'darwin' ? 103 : 107;
/** The name PostgreSQL gives its socket; the number is only a name here, nothing listens on TCP. */
export const SOCKET_PORT = 5432;
const SOCKET_NAME = `.s.PGSQL.${SOCKET_PORT}`;

/**
 * Small folders outside `var_dir`, found again by the hash of its real path. They exist because a socket's path has a
 * length limit and a checkout's path has none, and because the server's user may not be able to enter the checkout.
 * `/tmp` comes before TMPDIR so that a gateway and a shell with another TMPDIR agree. Nothing in them is data.
 */
async function candidates(): Promise<readonly string[]> {
  const folders: string[] = [];
  for (const folder of ['/tmp', os.tmpdir(), '/var/tmp']) {
    const real = await realpath(folder).catch(() => null);
    if (real !== null && !folders.includes(real)) folders.push(real);
  }
  return folders;
}

/**
 * Makes (or finds) a folder `switchyard-<kind>-<uid>-<hash>` owned by `uid` with exactly `mode`. A folder of that
 * name that is a link, somebody else's or more open is refused, not used: /tmp belongs to everybody.
 */
async function ownFolder(folder: string, owner: { uid: number; gid: number }, mode: number): Promise<void> {
  const isRoot = ownIds().uid === 0;
  try {
    await mkdir(folder, { mode });
    await chmod(folder, mode); // whatever the umask
    if (isRoot) await chown(folder, owner.uid, owner.gid);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  const found = await lstat(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null; // the last one out removed it this moment
    throw error;
  });
  if (found === null) return ownFolder(folder, owner, mode);
  // Between another process's mkdir and chown the folder is root's for a moment; giving it away twice does no harm.
  if (isRoot && owner.uid !== 0 && found.isDirectory() && found.uid === 0)
    await chown(folder, owner.uid, owner.gid);
  else if (!found.isDirectory() || found.uid !== owner.uid || (found.mode & 0o777 & ~mode) !== 0) {
    throw new SwitchyardError(
      'REGISTRY_UNAVAILABLE',
      `${folder} must be a folder of uid ${owner.uid} that is closed to others (mode ${mode.toString(8)}): it is not, so it is not used. Remove it if it is yours, or set DATABASE_URL`,
    );
  }
}

/** Where the socket lives: mode 0700, owned by the server's user (root still gets in), path within the limit. */
export async function chooseSocketFolder(varDir: string, user: ServerUser): Promise<string> {
  const name = `switchyard-pg-${user.uid}-${sha256Hex(varDir).slice(0, 16)}`;
  for (const parent of await candidates()) {
    const folder = path.join(parent, name);
    if (Buffer.byteLength(path.join(folder, SOCKET_NAME)) > SOCKET_PATH_BYTES_MAX) continue;
    if (!(await canReach(user, folder))) continue;
    try {
      await makeSocketFolder(folder, user);
    } catch (error) {
      if (error instanceof SwitchyardError) throw error;
      continue; // read-only or full: the next candidate
    }
    return folder;
  }
  throw new SwitchyardError(
    'REGISTRY_UNAVAILABLE',
    `no folder for the socket of the embedded PostgreSQL: /tmp, TMPDIR and /var/tmp are missing, not writable, or too long (a socket's path has at most ${SOCKET_PATH_BYTES_MAX} bytes). Set TMPDIR to a short writable folder, or set DATABASE_URL`,
  );
}

export const makeSocketFolder = (folder: string, user: ServerUser): Promise<void> =>
  ownFolder(folder, user, 0o700);

/** After the server ended. Not empty or gone: another process is starting one there already. */
export async function removeSocketFolder(folder: string): Promise<void> {
  try {
    await rmdir(folder);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST' && code !== 'ENOENT') throw error;
  }
}

/** Folders of root's own, readable by all, for a copy of the binaries when `var_dir` is closed to the server's user. */
export async function binaryFolders(varDir: string, user: ServerUser): Promise<readonly string[]> {
  const name = `switchyard-bin-0-${sha256Hex(varDir).slice(0, 16)}`;
  const folders: string[] = [];
  for (const parent of await candidates()) {
    const folder = path.join(parent, name);
    if (!(await canReach(user, folder))) continue;
    try {
      await ownFolder(folder, { uid: 0, gid: 0 }, 0o755);
    } catch (error) {
      if (error instanceof SwitchyardError) throw error;
      continue; // read-only or full: the next candidate
    }
    folders.push(folder);
  }
  return folders;
}
