import path from 'node:path';
import { SwitchyardError } from '../errors.js';
import { type LockOwner, lockOwnerName, tryLock } from '../files/file-lock.js';

const LOCK_FILE = '.build.lock';

export interface BuildLock {
  /** Errors: BUILD_LOCKED when another process took the lock over, which it does only from a dead owner. */
  assertHeld(): Promise<void>;
  release(): Promise<void>;
}

/** One build at a time per corpus version. Errors: BUILD_LOCKED naming the process that builds. */
export async function acquireBuildLock(versionFolder: string): Promise<BuildLock> {
  const lock = await tryLock(path.join(versionFolder, LOCK_FILE));
  if ('lockedBy' in lock) throw locked(versionFolder, lock.lockedBy);
  return {
    async assertHeld() {
      if (!(await lock.isHeld())) throw locked(versionFolder, null);
    },
    release: () => lock.release(),
  };
}

function locked(versionFolder: string, owner: LockOwner | null): SwitchyardError {
  const version = path.basename(versionFolder);
  const corpus = path.basename(path.dirname(versionFolder));
  return new SwitchyardError(
    'BUILD_LOCKED',
    `${corpus}/${version} is being built by ${lockOwnerName(owner)}: wait for it or stop it`,
    { details: { corpus, version, ...(owner === null ? {} : { pid: String(owner.pid) }) } },
  );
}
