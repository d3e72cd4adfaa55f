import path from 'node:path';
import t from 'tap';
import { exactDistance, normOf } from '../../src/index/distances.js';
import { exactNearestRows } from '../../src/index/exact-search.js';
import { VectorsFile } from '../../src/index/vectors-file.js';
import { METRICS } from '../../src/vocabulary.js';
import { buildTestBundle, rowOf, temporaryFolder, testCorpus } from './corpus.js';

t.test('exact search over blocks finds what a plain loop finds', async (t) => {
  // More than two blocks of 8 MiB, and a last one that is not full.
  const corpus = testCorpus(21, 70_001, 64, 1, false);
  const { writeFileSync } = await import('node:fs');
  const file = path.join(temporaryFolder(t), 'vectors.f32');
  writeFileSync(file, new Uint8Array(corpus.vectors.buffer));
  const vectors = new VectorsFile(file, corpus.rows.length, 64);
  t.teardown(() => vectors.close());
  const queryCount = 5;
  const queries = corpus.vectors.slice(1000 * 64, (1000 + queryCount) * 64).map((value) => value + 0.01);
  for (const metric of METRICS) {
    const found = exactNearestRows(vectors, metric, queries, 10, 2, () => {});
    for (let query = 0; query < queryCount; query++) {
      const values = queries.slice(query * 64, (query + 1) * 64);
      const norm = normOf(values);
      const loop = corpus.rows
        .map((_, row) => ({ row, distance: exactDistance(metric, values, norm, corpus.vectors, row * 64) }))
        .sort((a, b) => a.distance - b.distance)
        .slice(0, 10);
      t.strictSame(
        [...found.rows.subarray(query * 10, query * 10 + 10)],
        loop.map((hit) => hit.row),
        `${metric} query ${query}`,
      );
      loop.forEach((hit, i) => {
        const distance = found.distances[query * 10 + i] as number;
        if (Math.abs(distance - hit.distance) > 1e-3 * (1 + Math.abs(hit.distance)))
          t.fail(`${metric} distance`);
      });
    }
  }
});

t.test('a bf16 index of 10 000 × 64 has recall@10 of at least 0.95', async (t) => {
  const bundle = await buildTestBundle(temporaryFolder(t), testCorpus(22, 10_000, 64));
  const { value, sample_count, seed } = bundle.manifest.recall_at_10;
  t.comment(`recall@10 ${value}`);
  t.ok(value >= 0.95 && value <= 1);
  t.equal(sample_count, 64);
  t.equal(seed, 1);
});

t.test('recall is lower where the index is worse, so the figure can fail', async (t) => {
  const corpus = testCorpus(23, 4_000, 64);
  const good = await buildTestBundle(temporaryFolder(t), corpus);
  const poor = await buildTestBundle(temporaryFolder(t), corpus, {
    connectivity: 2,
    expansionAdd: 2,
    expansionSearch: 1,
  });
  t.comment(`recall@10 ${good.manifest.recall_at_10.value} and ${poor.manifest.recall_at_10.value}`);
  t.ok(poor.manifest.recall_at_10.value < good.manifest.recall_at_10.value - 0.1);
});

t.test('a build of fewer than ten rows has a recall too', async (t) => {
  const bundle = await buildTestBundle(temporaryFolder(t), testCorpus(24, 3));
  t.equal(bundle.manifest.recall_at_10.value, 1);
  t.equal(bundle.manifest.recall_at_10.sample_count, 3);
  t.equal(rowOf(testCorpus(24, 3), 0).length, 32);
});
