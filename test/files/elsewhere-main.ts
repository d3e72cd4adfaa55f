import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { tryLock } from '../../src/files/file-lock.js';
import { createTemporaryFolder } from '../../src/files/publish.js';
import { RunMarker } from '../../src/gateway/wiring/run-marker.js';
import { readBundle } from '../../src/index/read-bundle.js';
import { MemoryFolder } from '../../src/index/tiers/memory-folder.js';
import { openRegistry } from '../../src/registry/registry.js';
import { silentLog } from '../fixtures/postgres.js';

/** Owns one of everything in a folder until it is killed. Beats come as the product's do, only sooner. */
const [what = '', folder = '', bundle = ''] = process.argv.slice(2);
const setIntervalOfNode = setInterval;
globalThis.setInterval = ((callback: () => void, ms: number) =>
  setIntervalOfNode(callback, Math.min(ms, 50))) as typeof setInterval;

if (what === 'files') {
  const temporary = await createTemporaryFolder(folder);
  await writeFile(path.join(temporary, 'half'), 'written');
  const lock = await tryLock(path.join(folder, 'a.lock'));
  if ('lockedBy' in lock) throw new Error('the lock was taken');
  await RunMarker.begin(folder, silentLog);
}
if (what === 'memory') {
  const held = await (await MemoryFolder.open(folder)).hold(await readBundle(bundle), {});
  if ('notHeld' in held) throw new Error(held.notHeld);
}
if (what === 'registry')
  await openRegistry({ databaseUrl: null, varDir: folder, log: silentLog, applicationName: 'elsewhere' });
process.stdout.write(`pid ${process.pid}\n`);
setIntervalOfNode(() => undefined, 1000);
