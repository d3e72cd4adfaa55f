// Prints a folder with the `node` of a major version: this one's where it is of that version, else one that npm fetches
// into var/node. `PATH="$(node scripts/node-version.mjs 24):$PATH" npm test` runs the tests on it.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const major = process.argv[2] ?? '';
if (!/^\d{2}$/.test(major)) {
  process.stderr.write('usage: node scripts/node-version.mjs <major version, e.g. 24>\n');
  process.exit(2);
}
process.stdout.write(`${folderOf(major)}\n`);

function folderOf(version) {
  if (process.versions.node.split('.')[0] === version) return path.dirname(process.execPath);
  const folder = path.resolve(import.meta.dirname, '..', 'var', 'node', version);
  const name = `node-${process.platform}-${process.arch}`;
  const bin = path.join(folder, 'node_modules', name, 'bin');
  if (existsSync(path.join(bin, 'node'))) return bin;
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, 'package.json'), '{ "private": true }\n');
  // The package holds the binary itself; nothing of it is run to install it.
  const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--no-save', `${name}@${version}`];
  const { status, stderr } = spawnSync('npm', args, { cwd: folder, encoding: 'utf8' });
  if (status !== 0 || !existsSync(path.join(bin, 'node'))) {
    process.stderr.write(`${name}@${version} cannot be installed: npm ${args.join(' ')}\n${stderr}\n`);
    process.exit(1);
  }
  return bin;
}
