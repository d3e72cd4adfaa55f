import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { DiskSnapshots } from '../../src/gateway/wiring/disk-snapshots.js';
import type { Route } from '../../src/registry/route.js';
import type { Digest, Fingerprint, Revision } from '../../src/vocabulary.js';
import { temporaryFolder } from '../fixtures/postgres.js';

const MODELS = [{ modelRef: 'm@1', fingerprint: `mf1_${'0'.repeat(32)}` }];

const route = (revision: number, salt = 'salt', corpus = 'docs'): Route => ({
  corpus,
  revision: revision as Revision,
  salt,
  targets: [
    {
      version: 'v1',
      build: 'a'.repeat(64) as Digest,
      fingerprint: MODELS[0]?.fingerprint as Fingerprint,
      modelRef: 'm@1',
      role: 'active',
      weightBps: 10_000,
      tier: 'ssd',
      mirrorBps: 0,
      bundleUri: 'file:///x',
    },
  ],
});

t.test('a snapshot is read as it was written', async (t) => {
  const folder = await temporaryFolder(t);
  const snapshots = new DiskSnapshots(folder);
  await Promise.all([snapshots.write(route(1), MODELS), snapshots.write(route(1, 's', 'other'), MODELS)]);
  const { snapshots: found, damaged } = await new DiskSnapshots(folder).read();
  t.same(
    found.map((snapshot) => snapshot.route),
    [route(1), route(1, 's', 'other')],
  );
  t.same(found[0]?.models, MODELS);
  t.same(damaged, []);
  t.same(
    (await readdir(path.join(folder, 'snapshots'))).sort(),
    ['docs.json', 'other.json'],
    'nothing temporary is left',
  );
});

t.test('there is nothing to read where nothing was written', async (t) => {
  t.same(await new DiskSnapshots(await temporaryFolder(t)).read(), { snapshots: [], damaged: [] });
});

t.test(
  'of two gateways of one folder the newer revision stays, unless it is of another registry',
  async (t) => {
    const folder = await temporaryFolder(t);
    const [quick, slow] = [new DiskSnapshots(folder), new DiskSnapshots(folder)];
    const revision = async () => (await new DiskSnapshots(folder).read()).snapshots[0]?.route.revision;
    await quick.write(route(5), MODELS);
    await slow.write(route(4), MODELS);
    t.equal(await revision(), 5);
    await slow.write(route(1, 'another salt'), MODELS);
    t.equal(await revision(), 1);
  },
);

t.test('the same revision that says something else is written again', async (t) => {
  const folder = await temporaryFolder(t);
  const snapshots = new DiskSnapshots(folder);
  const found = async () => (await new DiskSnapshots(folder).read()).snapshots[0]?.route;
  const [target] = route(1).targets;
  if (target === undefined) throw new Error('it has a target');
  const moved: Route = { ...route(1), targets: [{ ...target, bundleUri: 'file:///elsewhere' }] };
  const rebuilt: Route = { ...route(1), targets: [{ ...target, build: 'b'.repeat(64) as Digest }] };
  for (const said of [route(1), moved, rebuilt, route(1)]) {
    await snapshots.write(said, MODELS);
    t.same(await found(), said);
  }
});

t.test('any other bytes are refused with the name of the file', async (t) => {
  const folder = await temporaryFolder(t);
  await new DiskSnapshots(folder).write(route(3), MODELS);
  const file = path.join(folder, 'snapshots', 'docs.json');
  const whole = await readFile(file);
  await fc.assert(
    fc.asyncProperty(fc.nat({ max: whole.length - 2 }), fc.integer({ min: 1, max: 255 }), async (at, by) => {
      const bytes = Buffer.from(whole);
      bytes[at] = (bytes[at] ?? 0) ^ by;
      await writeFile(file, bytes);
      const { snapshots, damaged } = await new DiskSnapshots(folder).read();
      // White space between the parts is all that may differ without a difference.
      return damaged.length === 1
        ? damaged[0]?.reason === 'CORRUPT_SNAPSHOT' && damaged[0].message.includes('docs.json')
        : JSON.stringify(snapshots[0]?.route) === JSON.stringify(route(3));
    }),
    { numRuns: 150, seed: 7 },
  );
  await new DiskSnapshots(folder).write(route(2), MODELS);
  t.match(
    (await new DiskSnapshots(folder).read()).snapshots,
    [{ route: { revision: 2 } }],
    'and is mended by a write',
  );
});
