import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { packageRoot } from '../../src/package-root.js';
import { fuzzTargets } from '../fuzz/targets.js';

const text = readFileSync(path.join(packageRoot(), 'docs', 'security.md'), 'utf8');

t.test('every threat names tests that there are', (t) => {
  const rows = (text.split('## What is protected, from whom')[1] ?? '')
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .slice(1);
  t.ok(rows.length >= 18, `${rows.length} threats`);
  for (const row of rows) {
    const [threat = '', , shownBy = ''] = row.slice(2).split(' | ');
    const tests = [...shownBy.matchAll(/`([^`]+)`/g)].map(([, name]) => name as string);
    t.ok(tests.length > 0, threat);
    for (const name of tests) {
      const file = path.join('test', name.includes('/') ? '' : 'security', `${name}.ts`);
      t.ok(existsSync(path.join(packageRoot(), file)), `${threat}: ${file}`);
    }
  }
  t.end();
});

t.test('the number of fuzz cases is that of the test', (t) => {
  const said = Number(/\| ([\d ]+) mutated /.exec(text)?.[1]?.replaceAll(' ', ''));
  const cases = fuzzTargets(t.testdir({})).map((target) => target.cases);
  t.equal(
    cases.reduce((sum, count) => sum + count, 0),
    said,
  );
  t.end();
});
