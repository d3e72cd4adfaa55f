import path from 'node:path';
import t from 'tap';
import { TierWatch } from '../../src/gateway/wiring/tier-watch.js';
import { IndexProcesses } from '../../src/index/process/index-processes.js';
import { SearchPool } from '../../src/index/search-pool.js';
import { DramTier } from '../../src/index/tiers/dram-tier.js';
import { cannotEvict, evict } from '../fixtures/page-cache.js';
import {
  buildTestBundle,
  expectedOf,
  optionsOf,
  queryOf,
  rowOf,
  temporaryFolder,
  testCorpus,
} from '../index/corpus.js';

/** As many as the watch takes for more than odd pages. */
const FAULTS = 16;
const ROUNDS_MAX = 200;
/** The test says when. */
const NEVER_BY_ITSELF_MS = 3_600_000;

t.test('indexes of tier dram whose searches waited for the disk are read into memory again', async (t) => {
  const home = temporaryFolder(t);
  const corpus = testCorpus(1, 2_000, 256);
  const options = optionsOf(home, { dimensions: corpus.dimensions, quantization: 'f32' });
  const bundle = await buildTestBundle(home, corpus, options);
  const expected = expectedOf(options);
  const file = path.join(bundle.folder, 'index.usearch');
  const { place } = new DramTier({ memoryDir: 'none', bytesMax: 1e9 });
  const pool = new SearchPool({ workers: 1, queueLengthMax: 9, countFaults: true, place });
  const ssdPool = new SearchPool({ workers: 1, queueLengthMax: 9 });
  const processes = new IndexProcesses({ workers: 1, queueLengthMax: 9, niceness: 0, log: () => undefined });
  t.teardown(() => Promise.all([pool.close(), ssdPool.close(), processes.close()]));
  const warnings: unknown[] = [];
  const watch = new TierWatch(
    { pool, ssdPool, processes },
    { warn: (fields: unknown) => void warnings.push(fields) },
    NEVER_BY_ITSELF_MS,
  );
  t.teardown(() => watch.close());
  const shadow = await processes.open(bundle, { expected });
  let index = await pool.open(bundle, { expected });
  const report = () => {
    const [found] = pool.openIndexes();
    if (found === undefined) throw new Error('no index is open');
    return found;
  };
  const searchAll = async (): Promise<void> => {
    for (let row = 0; row < 2_000; row += 20) await index.search(queryOf(rowOf(corpus, row)));
  };

  await t.test('what is mapped is looked at, and nothing is read without need', async (t) => {
    t.same(
      [watch.residentBytes(report()), watch.shadowResidentBytes(shadow)],
      [0, 0],
      'before the first look',
    );
    await searchAll();
    await watch.look();
    const bytes = bundle.manifest.files['index.usearch']?.bytes ?? 0;
    for (const resident of [watch.residentBytes(report()), watch.shadowResidentBytes(shadow)])
      t.ok(resident > 0 && resident <= bytes + 4096, `${resident} of ${bytes} bytes`);
    t.same([watch.warmings, warnings], [0, []]);
  });

  await t.test('and what the disk was asked for is', { skip: await cannotEvict(home) }, async (t) => {
    const before = pool.majorFaults();
    await shadow.close();
    for (let round = 0; pool.majorFaults() - before < FAULTS && round < ROUNDS_MAX; round++) {
      // What is mapped stays; a new mapping knows the graph alone.
      await index.close();
      index = await pool.open(bundle, { expected });
      await evict(file);
      await searchAll();
    }
    t.ok(pool.majorFaults() - before >= FAULTS, `${pool.majorFaults() - before} faults`);
    await watch.look();
    t.equal(watch.warmings, 1);
    t.match(warnings, [{ majorFaults: Number, indexes: 1 }]);
    const { majorFaults } = report();
    await searchAll();
    t.equal(report().majorFaults, majorFaults, 'searches find everything in memory');
    await watch.look();
    t.equal(watch.warmings, 1, 'once is enough');
    t.equal(watch.shadowResidentBytes(shadow), 0, 'the process is gone');
  });
});
