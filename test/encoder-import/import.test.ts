import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { importMiniLmPackage } from '../../src/encoder/import/minilm.js';
import { temporaryFolder } from '../fixtures/folders.js';
import { miniLmFolder } from '../fixtures/model.js';

t.test('two imports give the same bytes and the same fingerprint', async (t) => {
  const folder = await temporaryFolder(t);
  const stages = new Set<string>();
  const imported = await importMiniLmPackage({
    modelsFolder: path.join(folder, 'models'),
    precision: 'fp16',
    onProgress: (stage) => stages.add(stage),
  });
  const shared = await miniLmFolder('fp16');
  t.same([...stages], ['convert', 'check', 'publish']);
  t.equal(
    imported.manifest.fingerprint,
    shared.manifest.fingerprint,
    'if the conversion was changed on purpose, raise IMPORT_REVISION of test/fixtures/model.ts',
  );
  const names = (await readdir(imported.folder)).sort();
  t.same(names, ['manifest.json', 'model.onnx', 'probes.f32', 'probes.json', 'tokenizer.json']);
  for (const name of names) {
    const [first, second] = [
      await readFile(path.join(imported.folder, name)),
      await readFile(path.join(shared.folder, name)),
    ];
    t.ok(first.equals(second), name);
  }
  t.same(
    await readdir(path.join(folder, 'models')),
    [imported.manifest.fingerprint],
    'nothing temporary is left',
  );
});

t.test('an import that runs twice at once publishes one folder', async (t) => {
  const modelsFolder = await temporaryFolder(t);
  const both = await Promise.all([
    importMiniLmPackage({ modelsFolder, precision: 'int8' }),
    importMiniLmPackage({ modelsFolder, precision: 'int8' }),
  ]);
  t.equal(both[0].folder, both[1].folder);
  t.equal((await readdir(modelsFolder)).length, 1);

  await t.rejects(importMiniLmPackage({ modelsFolder, precision: 'int8', name: 'another' }), {
    reason: 'ALREADY_EXISTS',
    message: /all-minilm-l6-v2@1-int8/,
  });
  await t.rejects(importMiniLmPackage({ modelsFolder, precision: 'fp16', version: '1-int8' }), {
    reason: 'ALREADY_EXISTS',
    message: /choose another version/,
  });
  await t.rejects(importMiniLmPackage({ modelsFolder, precision: 'fp16', name: '../escape' }), {
    reason: 'INVALID_ARGUMENT',
    message: /no model name@version/,
  });
  t.equal((await readdir(modelsFolder)).length, 1);
});

t.test('a folder that is not the package is refused by file', async (t) => {
  const folder = await temporaryFolder(t);
  await t.rejects(importMiniLmPackage({ modelsFolder: folder, packageFolder: folder, precision: 'fp16' }), {
    reason: 'INVALID_MODEL',
    message: /config\.json/,
    details: { file: 'config.json' },
  });
});
