import { existsSync } from 'node:fs';
import path from 'node:path';
import { SwitchyardError } from '../../errors.js';
import { packageRoot } from '../../package-root.js';
import { readInputJson } from './input-file.js';

/**
 * The folder of an installed npm package, looked up in `node_modules` as Node does: from the working folder upwards,
 * then from Switchyard's own. Its code is never run. Errors: INVALID_MODEL saying how to get it.
 */
export function findPackage(name: string): string {
  for (const start of [process.cwd(), packageRoot()]) {
    for (let folder = start; ; folder = path.dirname(folder)) {
      const candidate = path.join(folder, 'node_modules', name);
      if (existsSync(path.join(candidate, 'package.json'))) return candidate;
      if (folder === path.dirname(folder)) break;
    }
  }
  throw new SwitchyardError(
    'INVALID_MODEL',
    `the npm package ${name} is not installed: run "npm install ${name}", or name the folder it lies in`,
  );
}

/** `npm:<name>@<version>` of the package in a folder. */
export async function packageSource(folder: string): Promise<string> {
  const file = path.join(folder, 'package.json');
  const { name, version } = ((await readInputJson(file)) ?? {}) as { name?: unknown; version?: unknown };
  if (typeof name === 'string' && typeof version === 'string') return `npm:${name}@${version}`;
  throw new SwitchyardError('INVALID_MODEL', `${file} has no name and version`, {
    details: { file: 'package.json' },
  });
}
