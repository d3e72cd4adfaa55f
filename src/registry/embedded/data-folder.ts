import { execFile } from 'node:child_process';
import { chown, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { SwitchyardError } from '../../errors.js';
import { createTemporaryFolder, reapTemporaryFolders } from '../../files/publish.js';
import { SERVER_ENVIRONMENT } from './binaries.js';
import type { PostgresPackage } from './package.js';
import { canReach, runAs, type ServerUser } from './server-user.js';

const run = promisify(execFile);

export const SUPERUSER = 'switchyard';

/** Only the socket exists, and only its folder's owner and root reach it: that is the password. */
const PG_HBA = '# Written by switchyard. Nothing but the private Unix socket.\nlocal all all trust\n';

/**
 * How the server's user names a folder it may be unable to walk to: below a closed folder such as /root it is started
 * with that folder as its working directory, which Linux lets it keep using through /proc/self/cwd.
 * Errors: REGISTRY_UNAVAILABLE where that is needed and there is no /proc.
 */
export async function folderArgument(user: ServerUser, folder: string): Promise<string> {
  if (await canReach(user, folder)) return folder;
  if (process.platform === 'linux') return '/proc/self/cwd';
  throw new SwitchyardError(
    'REGISTRY_UNAVAILABLE',
    `uid ${user.uid}, which runs the embedded PostgreSQL, cannot enter ${folder}: set var_dir to a folder it can reach, do not run as root, or set DATABASE_URL`,
  );
}

/**
 * Makes the data folder when there is none: initdb into a temporary folder beside it, then one rename, so a kill or a
 * second process at the same time leaves a whole data folder or none.
 */
export async function ensureDataFolder(
  dataFolder: string,
  binaries: string,
  source: PostgresPackage,
  user: ServerUser,
): Promise<void> {
  const version = await readVersion(dataFolder, user);
  if (version !== null) {
    if (version === source.major) return;
    throw new SwitchyardError(
      'REGISTRY_UNAVAILABLE',
      `${dataFolder} was written by PostgreSQL ${version}, the installed package carries ${source.major}: install ${source.name} ${version}.x, or move the data over with pg_dump and set DATABASE_URL`,
    );
  }
  const parent = path.dirname(dataFolder);
  await reapTemporaryFolders(parent);
  const temporary = await createTemporaryFolder(parent);
  if (user.isOther) await chown(temporary, user.uid, user.gid);
  try {
    await run(
      path.join(binaries, 'bin', 'initdb'),
      [
        ...['-D', await folderArgument(user, temporary)],
        ...['--username', SUPERUSER, '--auth', 'trust', '--encoding', 'UTF8', '--no-locale'],
        ...['--wal-segsize', '4', '--no-instructions'],
      ],
      { ...runAs(user), cwd: temporary, env: SERVER_ENVIRONMENT, timeout: 120_000 },
    );
    await writeFile(path.join(temporary, 'pg_hba.conf'), PG_HBA);
    // Not publishFolder: initdb has synced the files already, and an existing data folder is never replaced.
    await rename(temporary, dataFolder);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return; // another process was first
    throw new SwitchyardError(
      'REGISTRY_UNAVAILABLE',
      `the data folder of the embedded PostgreSQL could not be made in ${parent}: check that the disk has room, that the folder is writable, and that uid ${user.uid} has a name in /etc/passwd (initdb wants one); or set DATABASE_URL`,
      { cause: error },
    );
  }
}

async function readVersion(dataFolder: string, user: ServerUser): Promise<string | null> {
  try {
    return (await readFile(path.join(dataFolder, 'PG_VERSION'), 'utf8')).trim();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT') return null;
    if (code !== 'EACCES') throw error;
    throw new SwitchyardError(
      'REGISTRY_UNAVAILABLE',
      `uid ${user.uid} may not read ${dataFolder}: it belongs to the user who first started Switchyard here (65534 when that was root). Start as that user or as root, or set another var_dir`,
      { cause: error },
    );
  }
}
