import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import fsPromises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { mountSmall, unmount } from '../../../bench/chaos/small-disks.js';
import { openIndex } from '../../../src/index/open-index.js';
import { DramTier } from '../../../src/index/tiers/dram-tier.js';
import { buildTestBundle, expectedOf, optionsOf, queryOf, rowOf, testCorpus } from '../corpus.js';

/** What a memory folder leaves free, and room for one small bundle. */
const BYTES = 20 << 20;
const FILLER = 'of-somebody-else';

const home = mkdtempSync(path.join(tmpdir(), 'switchyard-memory-full-'));
const memory = path.join(home, 'memory');
mkdirSync(memory);
const refused = mountSmall(memory, BYTES);
t.teardown(() => {
  if (refused === undefined) unmount(memory);
  rmSync(home, { recursive: true, force: true });
});
const name =
  'a memory folder that others fill between the look at it and the copy is given up for the page cache';

t.test(name, { skip: refused ?? false }, async (t) => {
  const corpus = testCorpus(1, 400, 32);
  const options = optionsOf(home, { quantization: 'i8' });
  const bundle = await buildTestBundle(home, corpus, options);
  const warned: unknown[] = [];
  const dram = new DramTier({
    memoryDir: memory,
    bytesMax: 1e9,
    log: { info: () => undefined, warn: (fields) => warned.push(fields.why) },
  });
  const folder = await dram.folder();
  const open = () =>
    openIndex(bundle, { workers: 1, queueLengthMax: 9, expected: expectedOf(options), place: dram.place });

  const { statfs } = fsPromises;
  let looks = 0;
  const put = (replacement: typeof statfs): void => {
    fsPromises.statfs = replacement;
    syncBuiltinESMExports();
  };
  t.teardown(() => put(statfs));
  // The look is the real one; what comes between it and the copy is the other user of the folder.
  put((async (where: string) => {
    const found = await statfs(where);
    looks++;
    fill(path.join(memory, FILLER));
    return found;
  }) as typeof statfs);
  const index = await open();
  put(statfs);
  t.equal(looks, 1, 'there was room when it was looked at');
  t.same(warned, [`${folder?.root} is full`]);
  t.match(index.pool.openIndexes(), [{ placement: 'page_cache' }]);
  t.equal((await index.search(queryOf(rowOf(corpus, 3)))).hits[0]?.id, 'doc-1-3', 'and serves');
  t.same(readdirSync(folder?.root ?? ''), [], 'half a copy is not left behind, nor its lock');
  await index.close();

  rmSync(path.join(memory, FILLER));
  const again = await open();
  t.match(again.pool.openIndexes(), [{ placement: 'memory' }], 'with room it is held in memory');
  t.equal((await again.search(queryOf(rowOf(corpus, 3)))).hits[0]?.id, 'doc-1-3');
  await again.close();
});

/** Until nothing more fits. */
function fill(file: string): void {
  const block = Buffer.alloc(4_096);
  try {
    for (;;) writeFileSync(file, block, { flag: 'a' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
}
