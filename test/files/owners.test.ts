import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { tryLock } from '../../src/files/file-lock.js';
import { isLiving, Ownership, parseToken, SILENT_MS_MAX } from '../../src/files/owner.js';
import { createTemporaryFolder, doomedName, reapTemporaryFolders } from '../../src/files/publish.js';
import { RunMarker } from '../../src/gateway/wiring/run-marker.js';
import { MemoryFolder } from '../../src/index/tiers/memory-folder.js';
import { openRegistry } from '../../src/registry/registry.js';
import { temporaryFolder } from '../fixtures/folders.js';
import { silentLog } from '../fixtures/postgres.js';
import { buildTestBundle, testCorpus } from '../index/corpus.js';
import { eventually } from '../registry/registry-fixtures.js';
import { hasNamespaces, startElsewhere } from './elsewhere.js';

const ELSEWHERE = '000000000000';
const silentSince = (file: string, ms: number): void => {
  const at = new Date(Date.now() - ms);
  utimesSync(file, at, at);
};

t.test('an owner is named by a token that says where its pid means something', async (t) => {
  const ownership = await Ownership.begin();
  const folder = await temporaryFolder(t);
  t.same(parseToken(ownership.token), ownership.owner);
  for (const text of ['', '1', '12-34', 'tune-a', `1-x-${ELSEWHERE}`, `1-x-${ELSEWHERE}-${ELSEWHERE}x`])
    t.equal(parseToken(text), null);
  t.equal(await isLiving(ownership.owner, folder), true);
  t.equal(
    await isLiving({ ...ownership.owner, nonce: ELSEWHERE }, folder),
    false,
    'an earlier run with this pid',
  );
  t.equal(await isLiving({ ...ownership.owner, pid: process.ppid, startTicks: '1' }, folder), false);
  const elsewhere = { ...ownership.owner, space: ELSEWHERE };
  t.equal(await isLiving(elsewhere, folder), true, 'in another space the last sign of life counts');
  silentSince(folder, SILENT_MS_MAX + 1000);
  t.equal(await isLiving(elsewhere, folder), false);
  t.equal(await isLiving(null, folder), false, 'as it does for a name that is no token');
  t.equal(await isLiving(elsewhere, path.join(folder, 'gone')), false);
  ownership.end();
  t.equal(await isLiving(ownership.owner, folder), false);
});

t.test('a file is touched until it is gone, is somebody else’s, or is let go', async (t) => {
  const folder = await temporaryFolder(t);
  const file = path.join(folder, 'owned');
  writeFileSync(file, '');
  let isOurs = true;
  const ownership = await Ownership.begin();
  ownership.beat(file, () => Promise.resolve(isOurs), 5);
  for (let round = 0; round < 2; round++) {
    silentSince(file, SILENT_MS_MAX * 2);
    await eventually('touched', () => Date.now() - statSync(file).mtimeMs < SILENT_MS_MAX);
  }
  isOurs = false;
  await eventually('ended', async () => !(await isLiving(ownership.owner, file)));
  const second = await Ownership.begin();
  second.beat(path.join(folder, 'never there'), undefined, 5);
  await eventually('ended', async () => !(await isLiving(second.owner, folder)));
});

t.test(
  'temporary folders, locks and markers of a dead owner elsewhere are removed, taken over and counted',
  async (t) => {
    const folder = await temporaryFolder(t);
    const own = await createTemporaryFolder(folder);
    mkdirSync(doomedName(folder));
    const token = `1-77-${ELSEWHERE}-${ELSEWHERE}`;
    const foreign = path.join(folder, `.tmp-${token}`);
    mkdirSync(foreign);
    t.same((await reapTemporaryFolders(folder)).length, 1, 'what only waits to be deleted');
    silentSince(foreign, SILENT_MS_MAX + 1000);
    t.same(await reapTemporaryFolders(folder), [path.basename(foreign)]);
    t.ok(existsSync(own));

    const lock = path.join(folder, 'a.lock');
    writeFileSync(lock, JSON.stringify({ ...parseToken(token), host: 'gateway-b' }));
    t.same(await tryLock(lock), { lockedBy: { pid: 1, host: 'gateway-b' } });
    silentSince(lock, SILENT_MS_MAX + 1000);
    const taken = await tryLock(lock);
    t.notOk('lockedBy' in taken);
    if ('release' in taken) await taken.release();

    const marker = await RunMarker.begin(folder, silentLog);
    t.teardown(() => marker.end());
    const other = path.join(folder, 'gateways', `${token}.running`);
    writeFileSync(other, '');
    await marker.look();
    t.equal(marker.uncleanExits, 0, 'it may be alive');
    silentSince(other, SILENT_MS_MAX + 1000);
    await marker.look();
    t.equal(marker.uncleanExits, 1, 'a gateway that runs counts one that died elsewhere');
  },
);

t.test(
  'beside a process of another container',
  { skip: hasNamespaces() ? false : 'NOT TESTED: unshare may not be used here' },
  async (t) => {
    await t.test('what it holds is left to it while it lives, and is taken when it is silent', async (t) => {
      const folder = await temporaryFolder(t);
      const elsewhere = await startElsewhere(t, 'files', folder);
      const [name = ''] = readdirSync(folder).filter((entry) => entry.startsWith('.tmp-1-'));
      const lock = path.join(folder, 'a.lock');
      const [markerName = ''] = readdirSync(path.join(folder, 'gateways'));
      const owned = [path.join(folder, name), lock, path.join(folder, 'gateways', markerName)];
      for (const file of owned) silentSince(file, SILENT_MS_MAX * 2);
      for (const file of owned)
        await eventually('touched', () => Date.now() - statSync(file).mtimeMs < SILENT_MS_MAX);
      t.same(await reapTemporaryFolders(folder), []);
      t.equal(readFileSync(path.join(folder, name, 'half'), 'utf8'), 'written');
      t.same(await tryLock(lock), { lockedBy: { pid: 1, host: 'elsewhere' } });
      const marker = await RunMarker.begin(folder, silentLog);
      t.teardown(() => marker.end());
      t.equal(marker.uncleanExits, 0, 'it runs');

      await elsewhere.kill();
      for (const file of owned) silentSince(file, SILENT_MS_MAX + 1000);
      await marker.look();
      t.equal(marker.uncleanExits, 1);
      t.same(await reapTemporaryFolders(folder), [name]);
      const taken = await tryLock(lock);
      t.ok('release' in taken && (await taken.isHeld()));
      if ('release' in taken) await taken.release();
    });

    await t.test('a copy in the memory folder is left to it', async (t) => {
      const folder = await temporaryFolder(t);
      const bundle = await buildTestBundle(folder, testCorpus(1, 200));
      const memory = await MemoryFolder.open(folder);
      const elsewhere = await startElsewhere(t, 'memory', folder, bundle.folder);
      const [holder = ''] = readdirSync(memory.root).filter((entry) => entry.endsWith('.holder'));
      silentSince(path.join(memory.root, holder), SILENT_MS_MAX * 2);
      await eventually(
        'touched',
        () => Date.now() - statSync(path.join(memory.root, holder)).mtimeMs < SILENT_MS_MAX,
      );
      t.equal(await memory.reap(), 0);
      await elsewhere.kill();
      silentSince(path.join(memory.root, holder), SILENT_MS_MAX + 1000);
      t.equal(await memory.reap(), 1);
      t.same(readdirSync(memory.root), []);
    });

    await t.test(
      'its embedded PostgreSQL is not started a second time, and starts when it is gone',
      async (t) => {
        const varDir = await temporaryFolder(t);
        const elsewhere = await startElsewhere(t, 'registry', varDir);
        const open = () =>
          openRegistry({ databaseUrl: null, varDir, log: silentLog, applicationName: 'switchyard-test' });
        await t.rejects(open(), {
          reason: 'REGISTRY_UNAVAILABLE',
          message: /another container or host.*DATABASE_URL/,
        });
        await elsewhere.kill();
        const registry = await open();
        t.same(await registry.models.list(), []);
        await registry.close();
      },
    );
  },
);
