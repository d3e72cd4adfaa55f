import { execFile } from 'node:child_process';
import {
  chmod,
  constants,
  copyFile,
  link,
  mkdir,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
} from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { SwitchyardError } from '../../errors.js';
import {
  asDiskError,
  createTemporaryFolder,
  publishFolder,
  reapTemporaryFolders,
} from '../../files/publish.js';
import type { PostgresPackage } from './package.js';
import { binaryFolders } from './runtime-folder.js';
import { canReach, runAs, type ServerUser } from './server-user.js';

const run = promisify(execFile);

/** What child processes of PostgreSQL see of our environment: no PG* variables, no secrets, no locale. */
export const SERVER_ENVIRONMENT: Readonly<Record<string, string>> = {
  PATH: '/usr/local/bin:/usr/bin:/bin',
  LC_ALL: 'C',
  TZ: 'UTC',
};

/**
 * The folder with `bin/`, `lib/` and `share/` that `user` can execute: `<varDir>/postgres-bin/<version>`, or, when that
 * user cannot enter `varDir`, a copy below /tmp. A copy counts only when `postgres -V` ran from it as that user.
 */
export async function installBinaries(
  source: PostgresPackage,
  varDir: string,
  user: ServerUser,
): Promise<string> {
  const own = path.join(varDir, 'postgres-bin');
  await mkdir(own, { recursive: true });
  const inside = (await canReach(user, path.join(own, source.version))) ? [own] : [];
  let failure: unknown = null;
  for (const parent of inside.length > 0 ? inside : await binaryFolders(varDir, user)) {
    const folder = path.join(parent, source.version);
    await publishBinaries(source, parent, folder);
    try {
      await run(path.join(folder, 'bin', 'postgres'), ['-V'], {
        ...runAs(user),
        cwd: '/',
        env: SERVER_ENVIRONMENT,
        timeout: 30_000,
      });
      return folder;
    } catch (error) {
      failure = error;
    }
  }
  throw new SwitchyardError(
    'REGISTRY_UNAVAILABLE',
    `the embedded PostgreSQL cannot be executed by uid ${user.uid}: the folder may be mounted noexec, or a system library is missing. Set var_dir to another place, or set DATABASE_URL`,
    { cause: failure },
  );
}

async function publishBinaries(source: PostgresPackage, parent: string, folder: string): Promise<void> {
  if (await exists(path.join(folder, 'bin', 'postgres'))) return;
  await reapTemporaryFolders(parent);
  const temporary = await createTemporaryFolder(parent);
  try {
    await chmod(temporary, 0o755);
    await copyTree(source.nativeFolder, temporary);
    await makeSymlinks(temporary);
    await publishFolder(temporary, folder);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }); // on a full disk it would keep the disk full
    throw asDiskError(error, folder);
  }
}

/** Hard links where the file is readable by all and on the same disk, copies elsewhere: 60 MB are not copied twice. */
async function copyTree(from: string, to: string): Promise<void> {
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [path.join(from, entry.name), path.join(to, entry.name)];
    if (entry.isDirectory()) {
      await mkdir(target);
      await chmod(target, 0o755);
      await copyTree(source, target);
    } else if (entry.isFile()) {
      await placeFile(source, target);
    } // links are made from pg-symlinks.json, whether or not the install hydrated them
  }
}

async function placeFile(source: string, target: string): Promise<void> {
  const { mode } = await stat(source);
  const wanted = (mode & 0o100) === 0 ? 0o644 : 0o755;
  if ((mode & 0o777) === wanted) {
    try {
      return await link(source, target);
    } catch {
      // another disk, or links to others' files are forbidden here: copy
    }
  }
  await copyFile(source, target, constants.COPYFILE_FICLONE);
  await chmod(target, wanted);
}

/** The package leaves its links to an install script, which does not run; `pg-symlinks.json` lists them. */
async function makeSymlinks(folder: string): Promise<void> {
  const list = await readFile(path.join(folder, 'pg-symlinks.json'), 'utf8').catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return '[]'; // a platform without links
      throw error;
    },
  );
  const inFolder = (name: string) => path.join(folder, path.relative('native', name));
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    const place = inFolder(target);
    if (!place.startsWith(folder + path.sep)) throw new Error(`pg-symlinks.json points outside: ${target}`);
    await symlink(path.relative(path.dirname(place), inFolder(source)), place);
  }
}

async function exists(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return false;
      throw error;
    },
  );
}
