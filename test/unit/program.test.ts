import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { commandsMeant, createProgram } from '../../src/cli/program.js';
import { packageRoot } from '../../src/package-root.js';

const src = path.join(packageRoot(), 'src');
/** What takes long to load, and what a client of a running gateway never needs. */
const HEAVY = [
  'fastify',
  '@grpc/grpc-js',
  '@opentelemetry/sdk-node',
  'pg',
  'kysely',
  'onnxruntime-node',
  'usearch',
  'apache-arrow',
  'parquet-wasm',
  'ioredis',
];

/** Packages that are loaded with a file, by static imports of values. */
function packagesOf(file: string, seen = new Set<string>()): ReadonlySet<string> {
  const packages = new Set<string>();
  if (seen.has(file)) return packages;
  seen.add(file);
  const text = readFileSync(file, 'utf8');
  for (const [, words, name] of text.matchAll(/^(?:import|export)\s([^;]*?)from '([^']+)';/gms)) {
    if (words === undefined || name === undefined || words.startsWith('type ')) continue;
    const values = words.replaceAll(/\btype \w+( as \w+)?,?/g, '').replaceAll(/[{}\s,]/g, '');
    if (values === '') continue;
    if (!name.startsWith('.')) packages.add(name);
    else
      for (const found of packagesOf(path.resolve(path.dirname(file), name).replace(/\.js$/, '.ts'), seen))
        packages.add(found);
  }
  return packages;
}

t.test('only the commands that the words may mean are loaded', async (t) => {
  t.same(commandsMeant(['route', 'show', 'docs']), ['route']);
  t.same(commandsMeant(['--var-dir', '/tmp/x', 'model', 'list']), ['model']);
  t.same(commandsMeant(['search', 'docs', 'key']), ['search', 'key'], 'a text may name another: no harm');
  for (const words of [[], ['--help'], ['help'], ['help', 'route'], ['rout']])
    t.ok(commandsMeant(words).length > 10, words.join(' '));
  const names = (await createProgram([])).commands.map((command) => command.name());
  t.same([...commandsMeant([])].sort(), [...names].sort(), 'and every command is found under its own name');
});

t.test('a client of a gateway loads neither servers, databases nor engines', async (t) => {
  const commands = ['route', 'model', 'corpus', 'consumer', 'comparison', 'gateway', 'changes', 'search'];
  for (const command of ['../program', ...commands]) {
    const packages = packagesOf(path.join(src, 'cli', 'commands', `${command}.ts`));
    t.ok(packages.size > 0, `${command} uses ${[...packages].join(', ')}`);
    t.same(
      HEAVY.filter((heavy) => packages.has(heavy)),
      [],
      command,
    );
  }
  t.ok(
    packagesOf(path.join(src, 'cli', 'commands', 'serve.ts')).has('fastify'),
    'the walk finds what is there',
  );
});
