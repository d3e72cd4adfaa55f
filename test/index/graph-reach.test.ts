import path from 'node:path';
import t from 'tap';
import { Graph } from '../../src/index/graph.js';
import { findUnreachableRows } from '../../src/index/graph-reach.js';
import { clusteredVectors, TestRandom } from '../fixtures/random.js';
import { buildTestBundle, temporaryFolder, testCorpus } from './corpus.js';

const ROWS = 2000;
const PARAMETERS = {
  dimensions: 64,
  usearchMetric: 'cos',
  quantization: 'f32',
  connectivity: 16,
  expansionAdd: 128,
  expansionSearch: 64,
} as const;

t.test(
  'every row that a search for everything does not return is called unreachable, and mended',
  async (t) => {
    const file = path.join(temporaryFolder(t), 'index.usearch');
    const vectors = clusteredVectors(new TestRandom(7), ROWS, 64);
    let lostCount = 0;
    // usearch loses rows by a race, so a single build may lose none.
    for (let attempt = 0; attempt < 6; attempt++) {
      const graph = new Graph(PARAMETERS);
      graph.add(0, vectors, 8);
      graph.save(file);
      const missedBy = (query: number): Set<number> => {
        const returned = new Set(graph.search(vectors.slice(query * 64, (query + 1) * 64), ROWS).rows);
        return new Set(Array.from({ length: ROWS }, (_, row) => row).filter((row) => !returned.has(row)));
      };
      const lost = findUnreachableRows(file);
      lostCount += lost.length;
      t.strictSame(
        [...missedBy(0)].filter((row) => !lost.includes(row)),
        [],
        'what a search for everything misses is called unreachable',
      );
      // A search may begin at a row that no other row of the base level links to, and sees that one; another does not.
      const missed = Array.from({ length: 8 }, (_, at) => missedBy(at * Math.floor(ROWS / 8)));
      t.strictSame(
        lost.filter((row) => !missed.some((rows) => rows.has(row))),
        [],
        'what is called unreachable is missed by a search',
      );
      for (const row of lost) graph.relink(row, vectors.slice(row * 64, (row + 1) * 64), 8);
      graph.save(file);
      t.strictSame(findUnreachableRows(file), [], 'and linking them in again makes them reachable');
      for (const row of lost) {
        const [nearest] = graph.search(vectors.slice(row * 64, (row + 1) * 64), 1).rows;
        t.equal(nearest, row);
      }
      graph.release();
    }
    t.comment(`${lostCount} of ${6 * ROWS} rows were lost by concurrent inserts`);
  },
);

t.test('every row of a bundle built by many threads can be reached', async (t) => {
  for (const quantization of ['bf16', 'i8', 'b1'] as const) {
    const bundle = await buildTestBundle(temporaryFolder(t), testCorpus(31, 5_000, 64), {
      threads: 8,
      quantization,
    });
    t.strictSame(findUnreachableRows(path.join(bundle.folder, 'index.usearch')), [], quantization);
    t.equal(bundle.manifest.unreachable_count, 0);
  }
});
