import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { packageRoot } from '../../src/package-root.js';

/** Top to bottom. Siblings share a level and do not know each other; docs/architecture.md shows the same. */
const LEVELS: readonly (readonly string[])[] = [
  ['main.ts'],
  ['cli'],
  ['gateway'],
  ['lifecycle'],
  ['router'],
  ['cache', 'encoder', 'index'],
  ['registry'],
  ['config', 'telemetry', 'process', 'files', 'errors.ts', 'vocabulary.ts', 'package-root.ts'],
];
/** On the ground floor a file may use these, which use nothing of the project but each other. */
const FOUNDATION = ['errors.ts', 'vocabulary.ts', 'package-root.ts'];

interface Import {
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** The imported file, from `src`. */
  readonly target: string;
}

const src = path.join(packageRoot(), 'src');
const place = (file: string): string => path.relative(src, file).split(path.sep)[0] ?? '';
const level = (name: string): number => LEVELS.findIndex((names) => names.includes(name));

function importsOf(file: string): Import[] {
  const text = readFileSync(file, 'utf8');
  const found = [...text.matchAll(/(?:from|import\(|import|new URL\()\s*'(\.{1,2}\/[^']+)'/g)];
  return found.map(([, name]) => {
    const target = path.resolve(path.dirname(file), name as string).replace(/\.js$/, '.ts');
    return {
      file: path.relative(src, file),
      from: place(file),
      to: place(target),
      target: path.relative(src, target),
    };
  });
}

/** The files of one circle of imports, or null. */
function circle(imports: readonly Pick<Import, 'file' | 'target'>[]): string[] | null {
  const after = new Map<string, string[]>();
  for (const { file, target } of imports) after.set(file, [...(after.get(file) ?? []), target]);
  const done = new Set<string>();
  const visit = (file: string, way: readonly string[]): string[] | null => {
    if (way.includes(file)) return [...way.slice(way.indexOf(file)), file];
    if (done.has(file)) return null;
    for (const next of after.get(file) ?? []) {
      const found = visit(next, [...way, file]);
      if (found !== null) return found;
    }
    done.add(file);
    return null;
  };
  for (const file of after.keys()) {
    const found = visit(file, []);
    if (found !== null) return found;
  }
  return null;
}

/** Why an import breaks the layers, or null. */
function fault({ from, to }: Pick<Import, 'from' | 'to'>): string | null {
  if (from === to) return null;
  if (level(to) < 0) return 'is not a layer';
  if (level(from) > level(to)) return 'points upwards';
  if (level(from) === level(to) && !FOUNDATION.includes(to) && to !== 'files') return 'knows a sibling';
  return null;
}

const files = readdirSync(src, { recursive: true })
  .map((name) => path.join(src, String(name)))
  .filter((name) => name.endsWith('.ts'));

t.test('imports point downwards and siblings do not know each other', async (t) => {
  const imports = files.flatMap(importsOf);
  const faults = imports.flatMap((found) => {
    const why = fault(found);
    return why === null ? [] : [`${found.file} → ${found.to}: ${why}`];
  });
  t.same(faults, []);
  t.ok(imports.length > 20, 'the check read the imports');
});

t.test('no file imports itself through others', async (t) => {
  t.same(circle(files.flatMap(importsOf)), null);
  const chain = [
    { file: 'a', target: 'b' },
    { file: 'b', target: 'c' },
  ];
  t.same(circle(chain), null);
  t.same(circle([...chain, { file: 'c', target: 'b' }]), ['b', 'c', 'b'], 'the check sees a circle');
});

t.test('every file of src has a layer', async (t) => {
  t.same(
    files.filter((file) => level(place(file)) < 0).map((file) => path.relative(src, file)),
    [],
  );
});

t.test('the check sees an upward import and a sibling', async (t) => {
  t.equal(fault({ from: 'index', to: 'router' }), 'points upwards');
  t.equal(fault({ from: 'index', to: 'encoder' }), 'knows a sibling');
  t.equal(fault({ from: 'router', to: 'index' }), null);
});

t.test('nothing in src imports a development dependency or the shared data', async (t) => {
  const manifest = JSON.parse(readFileSync(path.join(packageRoot(), 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
    optionalDependencies: Record<string, string>;
  };
  const allowed = new Set(Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies }));
  const foreign = files.flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/^(?:import|export)\b[^;]*?from '([^'.][^']*)'/gm)]
      .map(([, name]) => name as string)
      .filter((name) => !name.startsWith('node:'))
      .map((name) =>
        name
          .split('/')
          .slice(0, name.startsWith('@') ? 2 : 1)
          .join('/'),
      )
      .filter((name) => !allowed.has(name))
      .map((name) => `${path.relative(src, file)} imports ${name}`),
  );
  t.same(foreign, []);
  for (const file of files)
    t.notMatch(readFileSync(file, 'utf8'), /\.\.\/shared\b/, path.relative(src, file));
});
