import { realpath } from 'node:fs/promises';
import path from 'node:path';
import { SwitchyardError } from '../errors.js';

/**
 * The real place of `folder`, which must lie below `root` whatever links lead there; null when there is nothing.
 * `root` itself may be a link: whoever configured it chose it. Errors: INVALID_ARGUMENT when it leads out of the root.
 */
export async function realFolderInside(root: string, folder: string): Promise<string | null> {
  const real = await realpathOrNull(folder);
  if (real === null) return null;
  const inside = path.relative((await realpathOrNull(root)) ?? path.resolve(root), real);
  if (inside !== '' && !inside.startsWith(`..${path.sep}`) && inside !== '..' && !path.isAbsolute(inside))
    return real;
  throw new SwitchyardError(
    'INVALID_ARGUMENT',
    `${folder} leads out of ${root}: only what lies there itself is taken; put the files there, not a link to them`,
  );
}

async function realpathOrNull(folder: string): Promise<string | null> {
  try {
    return await realpath(folder);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw error;
  }
}
