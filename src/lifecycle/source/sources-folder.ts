import { realpath } from 'node:fs/promises';
import path from 'node:path';
import { SwitchyardError } from '../../errors.js';
import { realFolderInside } from '../../files/inside.js';

/** Where gateways look for the sources that plans name; it may be a link to where they lie. */
export const sourcesFolder = (varDir: string): string => path.join(varDir, 'sources');

/**
 * The file that a plan names. Whoever may start a migration names it, so it lies in the one folder that whoever set the
 * gateway up chose. Errors: INVALID_INPUT_FILE when there is none, INVALID_ARGUMENT when it leads elsewhere.
 */
export async function sourceFile(varDir: string, name: string): Promise<string> {
  const folder = sourcesFolder(varDir);
  const real = await realFolderInside(folder, path.resolve(folder, name));
  if (real !== null) return real;
  throw new SwitchyardError(
    'INVALID_INPUT_FILE',
    `there is no source ${name} in ${folder}, where gateways look for it: put it there, or make the folder a link to where it lies`,
  );
}

/** By which name gateways find a file: its place in the folder of sources, or else what it is called. */
export async function sourceName(varDir: string, file: string): Promise<string> {
  try {
    const inside = path.relative(await realpath(sourcesFolder(varDir)), await realpath(file));
    if (inside.split(path.sep)[0] !== '..' && !path.isAbsolute(inside)) return inside;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  return path.basename(file);
}
