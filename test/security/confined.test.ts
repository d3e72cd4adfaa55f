import { cpSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { loadModelFolder } from '../../src/encoder/model-folder.js';
import { findBundleFolder } from '../../src/index/bundle-folder.js';
import type { Digest, Fingerprint } from '../../src/vocabulary.js';
import { tinyModelFolder } from '../fixtures/tiny-model.js';

const BUILD = { corpus: 'docs', version: 'v1', build: 'ab'.repeat(32) as Digest };

t.test('a bundle is read below the bundles folder alone, whatever its URI or links say', async (t) => {
  const top = t.testdir({ bundles: { docs: { v1: {} } }, elsewhere: { 'manifest.json': '{}' } });
  const root = path.join(top, 'bundles');
  const elsewhere = path.join(top, 'elsewhere');
  const find = (uri: string, folder = root) => findBundleFolder(folder, { ...BUILD, bundleUri: uri });
  const local = path.join(root, 'docs', 'v1', BUILD.build.slice(0, 12));
  const out = { reason: 'INVALID_ARGUMENT', message: /leads out of/ };
  for (const uri of [
    pathToFileURL(elsewhere).href,
    `${pathToFileURL(root).href}/../elsewhere`,
    `${pathToFileURL(root).href}/%2e%2e/elsewhere`,
    'file:///',
    'file:///etc',
    pathToFileURL(root).href,
  ])
    await t.rejects(find(uri), out, uri);
  for (const uri of [
    'file://host/bundles/x',
    'file:///a%2fb',
    'file:///a%00b',
    'file:///%E0%A4%A',
    'file://%',
  ])
    await t.rejects(find(uri), { reason: 'INVALID_ARGUMENT', message: /names no file of this machine/ }, uri);
  t.match(await find('https://example.org/x'), /bundles/, 'what is nowhere is missing, not elsewhere');
  symlinkSync(elsewhere, path.join(root, 'link'));
  await t.rejects(find(pathToFileURL(path.join(root, 'link')).href), out, 'a link out');
  symlinkSync(elsewhere, await find(''));
  await t.rejects(find(''), out, 'a link in the place of the bundle');
  rmSync(local, { force: true });
  const moved = path.join(root, 'docs', 'moved');
  mkdirSync(moved);
  const chosen = path.join(top, 'chosen');
  symlinkSync(root, chosen);
  rmSync(path.join(root, 'docs', 'v1'), { recursive: true });
  t.equal(await find(pathToFileURL(moved).href, chosen), moved, 'the root itself may be a link');
});

t.test('a model is read below the models folder alone', async (t) => {
  const top = t.testdir({ models: {} });
  const { folder, manifest } = await tinyModelFolder(t);
  const root = path.join(top, 'models');
  const place = path.join(root, manifest.fingerprint);
  symlinkSync(folder, place);
  await t.rejects(loadModelFolder(root, manifest.fingerprint), {
    reason: 'INVALID_ARGUMENT',
    message: /leads out of/,
  });
  rmSync(place);
  cpSync(folder, place, { recursive: true });
  t.equal((await loadModelFolder(root, manifest.fingerprint)).manifest.name, manifest.name);
  const outside = path.join(top, 'model.onnx');
  renameSync(path.join(place, 'model.onnx'), outside);
  symlinkSync(outside, path.join(place, 'model.onnx'));
  await t.rejects(loadModelFolder(root, manifest.fingerprint), {
    reason: 'CORRUPT_MODEL',
    message: /model\.onnx.* is not a plain file/,
  });
  writeFileSync(path.join(top, 'secret'), 'x');
  await t.rejects(loadModelFolder(root, '../secret' as Fingerprint), { message: /leads out of/ });
});
