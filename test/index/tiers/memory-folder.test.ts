import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { openIndex } from '../../../src/index/open-index.js';
import { DramTier } from '../../../src/index/tiers/dram-tier.js';
import { isMemoryBacked, MemoryFolder } from '../../../src/index/tiers/memory-folder.js';
import { packageRoot } from '../../../src/package-root.js';
import { spawnNode, untilPrinted } from '../../fixtures/product.js';
import { buildTestBundle, expectedOf, failureOf, optionsOf, queryOf, rowOf, testCorpus } from '../corpus.js';

const home = mkdtempSync(path.join(tmpdir(), 'switchyard-tiers-'));
/** As a user mounts one; its files are memory on every Linux. */
const memory = mkdtempSync('/dev/shm/switchyard-test-');
t.teardown(() => {
  for (const folder of [home, memory]) rmSync(folder, { recursive: true, force: true });
});
const corpus = testCorpus(1, 400, 32);
const options = optionsOf(home, { quantization: 'i8' });
const root = path.join(memory, `switchyard-${process.getuid?.()}`);
const copies = (): string[] => readdirSync(root).filter((name) => /^[0-9a-f]{64}$/.test(name));

const openWith = async (bundle: Parameters<typeof openIndex>[0], dram: DramTier) =>
  openIndex(bundle, { workers: 2, queueLengthMax: 100, expected: expectedOf(options), place: dram.place });

t.test(
  'searches of tier dram read a hashed copy in memory, shared and removed with its last user',
  async (t) => {
    t.ok(await isMemoryBacked(memory));
    t.notOk(await isMemoryBacked(home));
    const bundle = await buildTestBundle(home, corpus, options);
    const tiers = [1, 2].map(() => new DramTier({ memoryDir: memory, bytesMax: 1e9 }));
    const [first, second] = await Promise.all(tiers.map((dram) => openWith(bundle, dram)));
    if (first === undefined || second === undefined) throw new Error('two were opened');
    t.same(copies(), [bundle.digest], 'one copy for both');
    t.same(readdirSync(path.join(root, bundle.digest)).sort(), ['index.usearch', 'vectors.f32']);
    const [report] = first.pool.openIndexes();
    t.match(report, {
      placement: 'memory',
      files: { index: path.join(root, bundle.digest, 'index.usearch') },
    });
    const onDisk = await openIndex(bundle, { workers: 1, queueLengthMax: 9, expected: expectedOf(options) });
    for (const index of [first, second])
      t.strictSame(
        (await index.search(queryOf(rowOf(corpus, 5)))).hits,
        (await onDisk.search(queryOf(rowOf(corpus, 5)))).hits,
      );
    await onDisk.close();
    await first.close();
    t.same(copies(), [bundle.digest]);
    t.equal((await second.search(queryOf(rowOf(corpus, 9)))).hits[0]?.id, 'doc-1-9');
    await second.close();
    t.same(readdirSync(root), [], 'no copy, no holder, no lock is left');
  },
);

t.test('what a killed process left is reaped, and what a living one holds is not', async (t) => {
  const bundle = await buildTestBundle(home, corpus, { ...options, version: 'v2' });
  const child = spawnNode(path.join(packageRoot(), 'dist/test/index/tiers/hold-main.js'), [
    memory,
    bundle.folder,
  ]);
  await untilPrinted(child, 'stdout', /held/);
  const folder = await MemoryFolder.open(memory);
  t.equal(await folder.reap(), 0);
  t.same(copies(), [bundle.digest]);
  child.kill('SIGKILL');
  await once(child, 'close');
  t.same(copies(), [bundle.digest], 'a killed process leaves its copy');
  t.equal(await folder.reap(), 1);
  t.same(readdirSync(root), []);
});

t.test('a damaged copy is not opened but made again', async (t) => {
  const bundle = await buildTestBundle(home, corpus, { ...options, version: 'v3' });
  const child = spawnNode(path.join(packageRoot(), 'dist/test/index/tiers/hold-main.js'), [
    memory,
    bundle.folder,
  ]);
  await untilPrinted(child, 'stdout', /held/);
  child.kill('SIGKILL');
  await once(child, 'close');
  const copy = path.join(root, bundle.digest, 'index.usearch');
  const bytes = readFileSync(copy);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1;
  writeFileSync(copy, bytes);
  const index = await openWith(bundle, new DramTier({ memoryDir: memory, bytesMax: 1e9 }));
  t.strictSame(readFileSync(copy), readFileSync(path.join(bundle.folder, 'index.usearch')));
  t.equal((await index.search(queryOf(rowOf(corpus, 3)))).hits[0]?.id, 'doc-1-3');
  await index.close();
});

t.test('where the memory folder is too small or absent, the page cache serves', async (t) => {
  const bundle = await buildTestBundle(home, corpus, { ...options, version: 'v4' });
  const folder = await MemoryFolder.open(memory);
  const files = { ...bundle.manifest.files, 'index.usearch': { bytes: 2 ** 50, sha256: '0'.repeat(64) } };
  const held = await folder.hold({ ...bundle, manifest: { ...bundle.manifest, files } }, {});
  t.match(held, { notHeld: /bytes free, 11258\d+ are needed/ });
  const index = await openWith(bundle, new DramTier({ memoryDir: 'none', bytesMax: 1e9 }));
  t.match(index.pool.openIndexes(), [{ placement: 'page_cache' }]);
  t.equal((await index.search(queryOf(rowOf(corpus, 3)))).hits[0]?.id, 'doc-1-3');
  await index.close();
  t.notOk(existsSync(path.join(root, bundle.digest)));
  const wrong = new DramTier({ memoryDir: home, bytesMax: 1e9 });
  t.match(await failureOf(openWith(bundle, wrong)), { reason: 'INVALID_CONFIG', message: /tmpfs/ });
});

t.test('a build beyond the budget is refused, by how much is said, and room comes back', async (t) => {
  const [one, two] = [
    await buildTestBundle(home, corpus, { ...options, version: 'v5' }),
    await buildTestBundle(home, testCorpus(2, 400, 32), { ...options, version: 'v6' }),
  ];
  const bytesOf = ({ manifest }: typeof one): number =>
    (manifest.files['index.usearch']?.bytes ?? 0) + (manifest.files['vectors.f32']?.bytes ?? 0);
  const bytesMax = bytesOf(one) + 1000;
  const dram = new DramTier({ memoryDir: memory, bytesMax });
  const index = await openWith(one, dram);
  const error = await failureOf(openWith(two, dram));
  t.match(error, {
    reason: 'MEMORY_BUDGET',
    details: { short_bytes: String(bytesOf(two) - 1000), limit_bytes: String(bytesMax) },
  });
  t.equal(dram.budget.usedBytes, bytesOf(one));
  const again = await openWith(one, dram);
  t.equal(dram.budget.usedBytes, bytesOf(one), 'the same build is there once');
  await again.close();
  await index.close();
  t.equal(dram.budget.usedBytes, 0);
  await (await openWith(two, dram)).close();
  t.same(copies(), []);
});
