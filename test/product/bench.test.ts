import path from 'node:path';
import t from 'tap';
import { packageRoot } from '../../src/package-root.js';
import { finished, spawnNode } from '../fixtures/product.js';

const MAIN = path.join(packageRoot(), 'dist', 'bench', 'main.js');

for (const name of [
  'smoke',
  'cache',
  'expansion',
  'routing',
  'mirror-faults',
  'serving',
  'text',
  'latency',
  'mirror',
  'soak',
  'lanes',
  'formats',
  'scale',
  'ssd',
  'peers',
]) {
  t.test(`bench ${name} runs at its smoke size and says where it ran`, async (t) => {
    const { code, stdout, stderr } = await finished(spawnNode(MAIN, [name, '--json', '--smoke']));
    t.equal(code, 0, stderr);
    const report = JSON.parse(stdout) as { results: { skipped?: string }[]; input: string; ratio?: number };
    t.match(report, {
      bench: name,
      size: 'smoke',
      seed: 1,
      surroundings: { cores: Number, versions: { usearch: /^2\./ } },
    });
    t.match(report.input, /^[0-9a-f]{16}$/);
    t.ok(report.results.length > 0);
    if (report.results[0]?.skipped !== undefined)
      t.match(stderr, new RegExp(`bench ${name} SKIPPED, nothing was measured: \\S`), 'loudly');
    else if (name !== 'expansion') t.ok((report.ratio ?? 0) > 0, `ratio ${report.ratio}`);
  });
}

t.test('an unknown bench is refused with the names there are', async (t) => {
  const { code, stderr } = await finished(spawnNode(MAIN, ['nothing']));
  t.not(code, 0);
  t.match(stderr, /unknown bench nothing; there are smoke/);
});
