import t from 'tap';
import { buildBundle } from '../../src/index/build-bundle.js';
import type { BuildRow } from '../../src/index/build-options.js';
import { exactDistance, normOf } from '../../src/index/distances.js';
import { openIndex } from '../../src/index/open-index.js';
import { storedRows } from '../../src/index/stored-rows.js';
import {
  batchesOf,
  buildTestBundle,
  expectedOf,
  failureOf,
  optionsOf,
  queryOf,
  rowOf,
  temporaryFolder,
  testCorpus,
} from './corpus.js';

const CASES = [
  { quantization: 'bf16', metric: 'cosine', unit: false },
  { quantization: 'f32', metric: 'l2', unit: false },
  { quantization: 'i8', metric: 'dot', unit: true },
  { quantization: 'b1', metric: 'cosine', unit: true },
] as const;

for (const { quantization, metric, unit } of CASES)
  t.test(`${quantization} ${metric}, truncated: every score is that of the whole vectors`, async (t) => {
    const corpus = testCorpus(5, 600, 64, 3, unit);
    const folder = temporaryFolder(t);
    const options = optionsOf(folder, {
      dimensions: 64,
      indexDimensions: 32,
      quantization,
      metric,
      rescoreFactor: 60,
    });
    const bundle = await buildTestBundle(folder, corpus, options);
    t.match(bundle.manifest, { dimensions: 32, full_dimensions: 64, rescore_factor: 60 });
    t.equal(bundle.manifest.files['vectors.f32']?.bytes, corpus.rows.length * 64 * 4);
    t.ok(bundle.manifest.recall_at_10.value > 0.8, `recall ${bundle.manifest.recall_at_10.value}`);
    const index = await openIndex(bundle, { workers: 1, queueLengthMax: 100, expected: expectedOf(options) });
    t.teardown(() => index.close());
    for (const row of [0, 17, 400]) {
      const query = rowOf(corpus, row);
      const { hits } = await index.search(queryOf(query, { topK: 10 }));
      t.equal(hits.length, 10);
      t.equal(hits[0]?.id, corpus.rows[row]?.documentId, 'a row finds itself');
      for (const hit of hits) {
        const at = corpus.rows.findIndex(
          ({ documentId, chunk }) => documentId === hit.id && chunk === hit.chunk,
        );
        const exact = exactDistance(metric, query, normOf(query), corpus.vectors, at * 64);
        t.ok(Math.abs(hit.distance - exact) < 1e-5 * (1 + Math.abs(exact)), `${hit.distance} is ${exact}`);
      }
    }
  });

t.test('more candidates find more', async (t) => {
  const corpus = testCorpus(6, 3000, 64);
  const recallOf = async (rescoreFactor: number): Promise<number> => {
    const built = await buildTestBundle(temporaryFolder(t), corpus, {
      quantization: 'b1',
      rescoreFactor,
      threads: 1,
    });
    return built.manifest.recall_at_10.value;
  };
  const [few, many] = [await recallOf(2), await recallOf(60)];
  t.ok(many > few + 0.05, `recall@10 ${few} with factor 2, ${many} with 60`);
});

t.test('what the truncation leaves nothing of is refused, as a row and as a query', async (t) => {
  const corpus = testCorpus(7, 50, 16);
  const options = optionsOf(temporaryFolder(t), { dimensions: 16, indexDimensions: 8 });
  const index = await openIndex(await buildBundle(options, batchesOf(corpus)), {
    workers: 1,
    queueLengthMax: 10,
    expected: expectedOf(options),
  });
  t.teardown(() => index.close());
  const empty = new Float32Array(16).fill(1, 8);
  t.match(await failureOf(index.search(queryOf(empty))), {
    reason: 'ZERO_VECTOR',
    message: /first 8 of the vector's 16 numbers are zero/,
  });
  t.match(await failureOf(index.search(queryOf(empty.slice(8)))), { reason: 'DIMENSION_MISMATCH' });
  const vectors = corpus.vectors.slice();
  vectors.set(empty, 16 * 20);
  t.match(await failureOf(buildBundle({ ...options, version: 'v2' }, batchesOf({ ...corpus, vectors }))), {
    reason: 'ZERO_VECTOR',
    message: /doc-7-20/,
  });
});

async function readRows(
  ...given: Parameters<typeof storedRows>
): Promise<{ readonly rows: readonly BuildRow[]; readonly vectors: Float32Array }> {
  const rows: BuildRow[] = [];
  const values: number[] = [];
  for await (const batch of storedRows(...given)) {
    rows.push(...batch.rows);
    values.push(...batch.vectors);
  }
  return { rows, vectors: Float32Array.from(values) };
}

t.test('the rows of a build are given back as its builder got them', async (t) => {
  const corpus = testCorpus(8, 700, 16, 4, false);
  const folder = temporaryFolder(t);
  const bundle = await buildTestBundle(folder, corpus, { storeDocuments: true, indexDimensions: 8 });
  const { rows, vectors } = await readRows(bundle);
  t.strictSame(vectors, corpus.vectors);
  t.strictSame(
    rows,
    corpus.rows.map(({ document, ...row }) => (row.chunk === 0 ? { ...row, document } : row)),
  );
  const again = await buildBundle(
    optionsOf(folder, { dimensions: 16, quantization: 'i8', storeDocuments: true, truncatedCount: 5 }),
    storedRows(bundle),
  );
  t.equal(again.manifest.truncated_count, 5);
  for (const name of ['ids.bin', 'vectors.f32', 'documents.jsonl', 'documents.offsets'])
    t.strictSame(again.manifest.files[name], bundle.manifest.files[name], name);
});

t.test(
  'in another order they are the same rows, chunks together, and a build of them is another',
  async (t) => {
    const corpus = testCorpus(9, 2_500, 16, 3, false);
    const folder = temporaryFolder(t);
    const bundle = await buildTestBundle(folder, corpus, { storeDocuments: true });
    const straight = await readRows(bundle);
    const shuffled = await readRows(bundle, { shuffleSeed: 7 });
    const byName = ({ rows, vectors }: typeof straight) =>
      rows
        .map((row, at) => [
          `${row.documentId} ${row.chunk}`,
          row.document,
          [...vectors.slice(at * 16, at * 16 + 16)],
        ])
        .sort(([a], [b]) => ((a as string) < (b as string) ? -1 : 1));
    t.strictSame(byName(shuffled), byName(straight));
    const documents = (rows: readonly BuildRow[]) =>
      rows.filter(({ chunk }) => chunk === 0).map(({ documentId }) => documentId);
    const [before, after] = [documents(straight.rows), documents(shuffled.rows)];
    const stayed = after.filter((id, at) => id === before[at]).length;
    t.ok(stayed < before.length / 20, `${stayed} of ${before.length} documents stayed in their place`);
    t.strictSame(await readRows(bundle, { shuffleSeed: 7 }), shuffled, 'a seed is an order');
    t.notSame(documents((await readRows(bundle, { shuffleSeed: 8 })).rows), after);
    const options = optionsOf(folder, { dimensions: 16, storeDocuments: true, threads: 1 });
    const built = await buildBundle(options, storedRows(bundle, { shuffleSeed: 7 }));
    t.not(built.digest, bundle.digest);
    t.match(built.manifest, {
      row_count: bundle.manifest.row_count,
      document_count: bundle.manifest.document_count,
    });
  },
);
