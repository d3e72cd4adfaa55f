import { readFileSync } from 'node:fs';
import path from 'node:path';

/** Version of a package in a folder with node_modules of its own. */
export const versionIn = (folder: string, name: string): string =>
  (
    JSON.parse(readFileSync(path.join(folder, 'node_modules', name, 'package.json'), 'utf8')) as {
      version: string;
    }
  ).version;
