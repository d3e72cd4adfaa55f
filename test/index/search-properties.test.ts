import fc from 'fast-check';
import t from 'tap';
import { exactDistance, normOf } from '../../src/index/distances.js';
import { openIndex } from '../../src/index/open-index.js';
import type { IndexAnswer } from '../../src/index/search-index.js';
import type { Metric, Quantization } from '../../src/vocabulary.js';
import { TestRandom } from '../fixtures/random.js';
import {
  buildTestBundle,
  expectedOf,
  optionsOf,
  queryOf,
  rowOf,
  type TestCorpus,
  temporaryFolder,
  testCorpus,
} from './corpus.js';

const COMBINATIONS: readonly { quantization: Quantization; metric: Metric; unit: boolean }[] = [
  ...(['f32', 'f16', 'bf16'] as const).flatMap((quantization) =>
    (['cosine', 'dot', 'l2'] as const).map((metric) => ({
      quantization,
      metric,
      // Under dot no link leads to short vectors, whoever builds the graph: no hit list is exact there.
      unit: metric === 'dot',
    })),
  ),
  { quantization: 'i8', metric: 'cosine', unit: false },
  { quantization: 'i8', metric: 'dot', unit: true },
  { quantization: 'i8', metric: 'l2', unit: true },
  { quantization: 'b1', metric: 'cosine', unit: false },
  { quantization: 'b1', metric: 'dot', unit: true },
];

/** What half precision may add to a distance; rescored formats and f32 are exact up to float32 sums. */
const TOLERANCE: Readonly<Record<Quantization, number>> = {
  f32: 1e-4,
  f16: 0.01,
  bf16: 0.06,
  i8: 1e-5,
  b1: 1e-5,
};

/** Exact distance of the nearest chunk of every document, nearest first, by a plain loop. */
function exactDocuments(corpus: TestCorpus, metric: Metric, query: Float32Array): Map<string, number> {
  const best = new Map<string, number>();
  corpus.rows.forEach(({ documentId }, row) => {
    const distance = exactDistance(metric, query, normOf(query), corpus.vectors, row * corpus.dimensions);
    if (distance < (best.get(documentId) ?? Number.POSITIVE_INFINITY)) best.set(documentId, distance);
  });
  return best;
}

function checkAnswer(
  answer: IndexAnswer,
  corpus: TestCorpus,
  metric: Metric,
  query: Float32Array,
  topK: number,
  tolerance: number,
): void {
  const exact = exactDocuments(corpus, metric, query);
  const sorted = [...exact.values()].sort((a, b) => a - b);
  const { hits } = answer;
  if (hits.length !== Math.min(topK, exact.size)) throw new Error(`${hits.length} hits for ${topK}`);
  if (new Set(hits.map((hit) => hit.id)).size !== hits.length) throw new Error('a document came twice');
  const scale = 1 + Math.abs(sorted.at(-1) ?? 0);
  hits.forEach((hit, i) => {
    if (i > 0 && hit.distance < (hits[i - 1]?.distance ?? 0)) throw new Error('hits are not sorted');
    if (hit.score !== (metric === 'l2' ? -hit.distance : 1 - hit.distance)) throw new Error('score');
    const own = exact.get(hit.id) ?? Number.NaN;
    if (!(Math.abs(hit.distance - own) <= tolerance * scale))
      throw new Error(`distance ${hit.distance} is ${own}`);
    // As near as the exact hit of this rank, up to what the format rounds away.
    if (!(own <= (sorted[i] ?? 0) + 2 * tolerance * scale))
      throw new Error(`rank ${i}: ${own} > ${sorted[i]}`);
  });
}

for (const { quantization, metric, unit } of COMBINATIONS)
  t.test(`${quantization} ${metric}: hits are sorted, unique documents, and the exact ones`, async (t) => {
    const corpus = testCorpus(7, 150, 16, 4, unit);
    const folder = temporaryFolder(t);
    const options = optionsOf(folder, { quantization, metric, dimensions: 16, expansionSearch: 1000 });
    const bundle = await buildTestBundle(folder, corpus, options);
    const index = await openIndex(bundle, { workers: 1, queueLengthMax: 100, expected: expectedOf(options) });
    t.teardown(() => index.close());
    const random = new TestRandom(3);
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 1000 }),
        fc.integer({ min: 0, max: corpus.rows.length - 1 }),
        fc.constantFrom(0, 0.1, 1),
        async (topK, row, noise) => {
          const query = rowOf(corpus, row).map((value) => value + noise * random.normal());
          // b1 sees signs only: with few documents wanted its candidates are a guess that rescoring cannot widen.
          const wanted = quantization === 'b1' ? Math.max(topK, 40) : topK;
          const answer = await index.search(queryOf(query, { topK: wanted }));
          checkAnswer(answer, corpus, metric, query, wanted, TOLERANCE[quantization]);
        },
      ),
      { numRuns: 25, seed: 11 },
    );
    t.pass('for every example');
  });

t.test('dot over vectors of any norm finds what its measured recall says', async (t) => {
  const folder = temporaryFolder(t);
  const bundle = await buildTestBundle(folder, testCorpus(8, 2000, 32, 1, false), { metric: 'dot' });
  const { recall_at_10, unreachable_count } = bundle.manifest;
  t.comment(`recall@10 ${recall_at_10.value}, ${unreachable_count} rows cannot be reached`);
  t.ok((unreachable_count ?? 0) > 0, 'and says how many rows no search reaches');
  t.ok(recall_at_10.value > 0.5);
});

t.test('the hit of a long document names its nearest chunk', async (t) => {
  const corpus = testCorpus(9, 60, 32, 8);
  const folder = temporaryFolder(t);
  const options = optionsOf(folder);
  const index = await openIndex(await buildTestBundle(folder, corpus, options), {
    workers: 1,
    queueLengthMax: 100,
    expected: expectedOf(options),
  });
  t.teardown(() => index.close());
  for (let row = 0; row < corpus.rows.length; row += 7) {
    const [hit] = (await index.search(queryOf(rowOf(corpus, row)))).hits;
    t.match(hit, { id: corpus.rows[row]?.documentId, chunk: corpus.rows[row]?.chunk });
  }
});

t.test('one document with most of the chunks does not crowd the others out', async (t) => {
  const few = testCorpus(4, 12, 32);
  const rows = [
    ...few.rows,
    ...Array.from({ length: 600 }, (_, chunk) => ({ documentId: 'long', chunk, truncated: false })),
  ];
  const vectors = new Float32Array(rows.length * 32);
  vectors.set(few.vectors);
  const random = new TestRandom(5);
  for (let i = few.vectors.length; i < vectors.length; i++)
    vectors[i] = (few.vectors[i % 32] as number) + 0.01 * random.normal();
  const folder = temporaryFolder(t);
  const options = optionsOf(folder);
  const index = await openIndex(await buildTestBundle(folder, { vectors, rows, dimensions: 32 }, options), {
    workers: 1,
    queueLengthMax: 100,
    expected: expectedOf(options),
  });
  t.teardown(() => index.close());
  for (const topK of [1, 5, 13, 1000]) {
    const { hits } = await index.search(queryOf(rowOf(few, 0), { topK }));
    t.equal(hits.length, Math.min(topK, 13));
    t.equal(new Set(hits.map((hit) => hit.id)).size, hits.length);
  }
});

t.test('rows with equal distances come in order of row number', async (t) => {
  const one = rowOf(testCorpus(6, 1), 0);
  const rows = Array.from({ length: 40 }, (_, i) => ({
    documentId: `same-${i}`,
    chunk: 0,
    truncated: false,
  }));
  const vectors = new Float32Array(40 * 32);
  for (let row = 0; row < 40; row++) vectors.set(one, row * 32);
  const folder = temporaryFolder(t);
  const options = optionsOf(folder);
  const index = await openIndex(await buildTestBundle(folder, { vectors, rows, dimensions: 32 }, options), {
    workers: 1,
    queueLengthMax: 100,
    expected: expectedOf(options),
  });
  t.teardown(() => index.close());
  const { hits } = await index.search(queryOf(one, { topK: 40 }));
  t.strictSame(
    hits.map((hit) => hit.id),
    rows.map((row) => row.documentId),
  );
});
