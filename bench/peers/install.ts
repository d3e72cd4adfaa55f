import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { packageRoot } from '../../src/package-root.js';
import { benchFolder } from '../data/gloss-vectors.js';
import type { PeerName } from './peer-protocol.js';

const run = promisify(execFile);

export interface InstalledPeers {
  readonly folder: string;
  /** Folder of node_modules. */
  readonly packages: string;
  readonly python: string;
  /** What cannot be measured here, and why. */
  readonly absent: ReadonlyMap<PeerName, string>;
}

type Part = 'node' | 'hnswlib' | 'python';

/**
 * Others' packages under `var/bench/peers`, so that nothing of them weighs on the project's own install: npm's from the
 * lock file beside this bench, Python's from its requirements. `mayInstall` false: takes what is there.
 */
export async function installedPeers(mayInstall: boolean): Promise<InstalledPeers> {
  const folder = path.join(benchFolder(), 'peers');
  const packages = path.join(folder, 'node');
  const python = path.join(folder, 'python');
  const given = path.join(packageRoot(), 'bench', 'peers');
  const absent = new Map<PeerName, string>();
  const install = async (
    part: Part,
    files: readonly string[],
    work: () => Promise<void>,
  ): Promise<boolean> => {
    const marker = path.join(folder, `${part}-${await hashOf(given, files)}`);
    const lacking: readonly PeerName[] =
      part === 'node'
        ? ['hnswlib', 'lancedb', 'chroma']
        : part === 'hnswlib'
          ? ['hnswlib']
          : ['pgvector', 'chroma'];
    try {
      if (existsSync(marker)) return true;
      if (!mayInstall) throw new Error('not installed: run `npm run bench -- peers` once');
      process.stderr.write(`bench peers: installing ${part} packages into ${folder}\n`);
      await work();
      await writeFile(marker, '');
      return true;
    } catch (error) {
      for (const name of lacking) absent.set(name, lastLine(error));
      return false;
    }
  };
  if (mayInstall) await mkdir(packages, { recursive: true });
  const npmFiles = ['package.json', 'package-lock.json'];
  const hasNode = await install('node', npmFiles, async () => {
    for (const file of npmFiles) await copyFile(path.join(given, file), path.join(packages, file));
    await run('npm', ['ci', '--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund'], {
      cwd: packages,
    });
  });
  // It ships no binary: node-gyp compiles it against the headers that came with this Node.
  if (hasNode)
    await install('hnswlib', npmFiles, async () => {
      const headers = path.dirname(path.dirname(process.execPath));
      const from = existsSync(path.join(headers, 'include', 'node', 'node.h'))
        ? [`--nodedir=${headers}`]
        : [];
      await run('npm', ['rebuild', 'hnswlib-node', '--ignore-scripts=false', ...from], { cwd: packages });
    });
  await install('python', ['requirements.txt'], async () => {
    const requirements = path.join(given, 'requirements.txt');
    await run('python3', ['-m', 'pip', 'install', '-q', '--no-deps', '--target', python, '-r', requirements]);
  });
  return { folder, packages, python, absent };
}

async function hashOf(folder: string, files: readonly string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const file of files) hash.update(await readFile(path.join(folder, file)));
  return hash.digest('hex').slice(0, 12);
}

const lastLine = (error: unknown): string => {
  const { stderr, message } = error as { readonly stderr?: string; readonly message?: string };
  return (stderr?.trim() || message || String(error)).split('\n').at(-1) ?? '';
};
