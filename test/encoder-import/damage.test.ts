import { copyFile, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import type { ModelManifest } from '../../src/encoder/manifest.js';
import { formatManifest } from '../../src/encoder/manifest-schema.js';
import { listModelFolders, loadModelFolder, readModelFolder } from '../../src/encoder/model-folder.js';
import { isFingerprint } from '../../src/vocabulary.js';
import { copyOf, temporaryFolder } from '../fixtures/folders.js';
import { miniLmFolder } from '../fixtures/model.js';

const FILES = ['manifest.json', 'model.onnx', 'tokenizer.json', 'probes.json', 'probes.f32'] as const;

/** What is thrown for a file: by name, in the message and for programs. */
const corrupt = (file: string) => ({
  reason: 'CORRUPT_MODEL',
  message: new RegExp(file.replace('.', '\\.')),
  details: { file },
});

t.test('a model folder as it was imported is read', async (t) => {
  const { folder, manifest } = await miniLmFolder();
  t.same((await readModelFolder(folder)).manifest, manifest);
  t.same((await loadModelFolder(path.dirname(folder), manifest.fingerprint)).manifest, manifest);
  t.equal(path.basename(folder), manifest.fingerprint);
});

t.test('every file that was truncated is refused by name', async (t) => {
  const folder = await copyOf(t, (await miniLmFolder()).folder);
  for (const name of FILES) {
    const file = path.join(folder, name);
    const original = await readFile(file);
    for (const bytes of [original.length - 1, Math.floor(original.length / 2), 0]) {
      await truncate(file, bytes);
      await t.rejects(readModelFolder(folder), corrupt(name), `${name} cut to ${bytes} bytes`);
    }
    await writeFile(file, original);
  }
  await readModelFolder(folder);
});

t.test('every file with one flipped bit is refused by name', async (t) => {
  const folder = await copyOf(t, (await miniLmFolder()).folder);
  for (const name of FILES) {
    const file = path.join(folder, name);
    const original = await readFile(file);
    for (const share of [0, 0.31, 0.97]) {
      const position = Math.floor(original.length * share);
      const flipped = Buffer.from(original);
      flipped[position] = (flipped[position] as number) ^ 1;
      await writeFile(file, flipped);
      await t.rejects(readModelFolder(folder), corrupt(name), `${name} at byte ${position}`);
    }
    await writeFile(file, original);
  }
  await readModelFolder(folder);
});

t.test('every file that was removed is refused by name', async (t) => {
  const folder = await copyOf(t, (await miniLmFolder()).folder);
  for (const name of FILES.slice(1)) {
    const file = path.join(folder, name);
    await rename(file, `${file}.aside`);
    await t.rejects(readModelFolder(folder), corrupt(name), name);
    await rename(`${file}.aside`, file);
  }
  await rm(path.join(folder, 'manifest.json'));
  await t.rejects(readModelFolder(folder), { reason: 'UNKNOWN_MODEL', message: /manifest\.json/ });
});

t.test("every file swapped with another model's is refused by name", async (t) => {
  const folder = await copyOf(t, (await miniLmFolder('fp16')).folder);
  const { folder: other } = await miniLmFolder('int8');
  // Both have the same tokenizer and probe texts.
  for (const name of ['model.onnx', 'probes.f32'] as const) {
    const original = await readFile(path.join(folder, name));
    await copyFile(path.join(other, name), path.join(folder, name));
    await t.rejects(readModelFolder(folder), corrupt(name), name);
    await writeFile(path.join(folder, name), original);
  }
  await copyFile(path.join(other, 'manifest.json'), path.join(folder, 'manifest.json'));
  await t.rejects(readModelFolder(folder), { reason: 'CORRUPT_MODEL', message: /model\.onnx/ });
});

t.test('a whole model under the name of another is refused', async (t) => {
  const [fp16, int8] = [await miniLmFolder('fp16'), await miniLmFolder('int8')];
  const models = path.dirname(await copyOf(t, int8.folder));
  await rename(path.join(models, int8.manifest.fingerprint), path.join(models, fp16.manifest.fingerprint));
  await t.rejects(loadModelFolder(models, fp16.manifest.fingerprint), corrupt('manifest.json'));
});

t.test('a manifest that was edited is refused, even where every hash still fits', async (t) => {
  const folder = await copyOf(t, (await miniLmFolder()).folder);
  const file = path.join(folder, 'manifest.json');
  const { manifest } = await readModelFolder(folder);
  const { 'probes.f32': _, ...withoutProbes } = manifest.files;
  const anyFile = manifest.files['probes.f32'];
  const edits: Record<string, unknown> = {
    'another max_tokens': { ...manifest, max_tokens: 128 },
    'another prefix': { ...manifest, query_prefix: 'query: ' },
    'another fingerprint': { ...manifest, fingerprint: `mf1_${'0'.repeat(32)}` },
    'an unknown field': { ...manifest, trusted: true },
    'an unknown field deeper': { ...manifest, onnx: { ...manifest.onnx, device: 'tpu' } },
    'a newer format': { ...manifest, format_version: 2 },
    'a missing field': { ...manifest, pooling: undefined },
    'a wrong type': { ...manifest, dimensions: '384' },
    'a huge dimension': { ...manifest, dimensions: 1e12 },
    'a file above the folder': { ...manifest, files: { ...manifest.files, '../escape': anyFile } },
    'an absolute file': { ...manifest, files: { ...manifest.files, '/etc/passwd': anyFile } },
    'itself as a file': { ...manifest, files: { ...manifest.files, 'manifest.json': anyFile } },
    'a name with a slash': { ...manifest, name: 'a/b' },
    'no probes': { ...manifest, files: withoutProbes },
    'tokens without a pooling': {
      ...manifest,
      pooling: 'in_graph',
      onnx: { ...manifest.onnx, output_kind: 'tokens' },
    },
  };
  for (const [name, edited] of Object.entries(edits)) {
    await writeFile(file, formatManifest(edited as ModelManifest));
    await t.rejects(readModelFolder(folder), corrupt('manifest.json'), name);
  }
  const foreign: Record<string, string | Buffer> = {
    'another name without its checksum': formatManifest(manifest).replace('all-minilm', 'all-minilk'),
    'other blanks': JSON.stringify(JSON.parse(formatManifest(manifest))),
    'a checksum missing': JSON.stringify(manifest, null, 2),
    'a list': '[]',
    null: 'null',
    'invalid UTF-8': Buffer.of(0x22, 0xff, 0xfe, 0x22),
  };
  for (const [name, content] of Object.entries(foreign)) {
    await writeFile(file, content);
    await t.rejects(readModelFolder(folder), corrupt('manifest.json'), name);
  }
});

t.test('a models folder lists its models and skips what is no model', async (t) => {
  const { folder } = await miniLmFolder();
  const models = path.dirname(await copyOf(t, folder));
  await writeFile(path.join(models, 'notes.txt'), 'mine');
  const listed = await listModelFolders(models);
  t.equal(listed.length, 1);
  t.ok(isFingerprint(listed[0]?.manifest.fingerprint ?? ''));
  t.same(await listModelFolders(path.join(await temporaryFolder(t), 'none')), []);
});
