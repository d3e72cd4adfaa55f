import path from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { buildBundle } from '../../src/index/build-bundle.js';
import type { BuildBatch, BuildOptions } from '../../src/index/build-options.js';
import { planCompaction, runsOf } from '../../src/index/compaction.js';
import { findUnreachableRows } from '../../src/index/graph-reach.js';
import type { Bundle } from '../../src/index/manifest.js';
import { openIndex } from '../../src/index/open-index.js';
import { readBundle } from '../../src/index/read-bundle.js';
import { storedRows } from '../../src/index/stored-rows.js';
import { verifyBundle } from '../../src/index/verify-bundle.js';
import { clusteredVectors, TestRandom } from '../fixtures/random.js';
import {
  batchesOf,
  expectedOf,
  failureOf,
  optionsOf,
  queryOf,
  temporaryFolder,
  testCorpus,
} from './corpus.js';

const DIMENSIONS = 32;

/** One row a document; its text and its provenance tell the versions of a document apart. */
function batchOf(seed: number, ids: readonly string[], removed?: readonly string[]): BuildBatch {
  const vectors = clusteredVectors(new TestRandom(seed), Math.max(1, ids.length), DIMENSIONS, true);
  return {
    vectors: vectors.subarray(0, ids.length * DIMENSIONS),
    rows: ids.map((documentId, at) => ({
      documentId,
      chunk: 0,
      truncated: at % 5 === 0,
      document: { text: `${documentId} of batch ${seed}${'.'.repeat(at % 7)}` },
      provenance: { textHash: Buffer.alloc(32, seed), sourceVersion: seed, truncated: at % 5 === 0 },
    })),
    ...(removed === undefined ? {} : { removed }),
  };
}

async function* given(batches: readonly BuildBatch[]): AsyncGenerator<BuildBatch> {
  yield* batches;
}

/** What is left of batches: id → its last row. */
function livingOf(batches: readonly BuildBatch[]) {
  const living = new Map<string, { readonly text: string; readonly vector: Float32Array; seed: number }>();
  for (const { removed = [], rows, vectors } of batches) {
    for (const id of removed) living.delete(id);
    for (const [at, { documentId, document, provenance }] of rows.entries())
      living.set(documentId, {
        text: document?.text ?? '',
        vector: vectors.slice(at * DIMENSIONS, (at + 1) * DIMENSIONS),
        seed: provenance?.sourceVersion ?? -1,
      });
  }
  return living;
}

async function heldBy(bundle: Bundle) {
  const held = new Map<string, { readonly text: string; readonly vector: Float32Array; seed: number }>();
  for await (const { rows, vectors } of storedRows(bundle))
    for (const [at, { documentId, document, provenance }] of rows.entries())
      held.set(documentId, {
        text: document?.text ?? '',
        vector: vectors.slice(at * DIMENSIONS, (at + 1) * DIMENSIONS),
        seed: provenance?.sourceVersion ?? -1,
      });
  return held;
}

const stored = (folder: string, more: Partial<BuildOptions> = {}): BuildOptions =>
  optionsOf(folder, { storeDocuments: true, storeProvenance: true, ...more });
const idsOf = (count: number, from = 0): string[] =>
  Array.from({ length: count }, (_, at) => `d${from + at}`);

t.test('rows that were taken out again are in no file of a build, and in no answer', async (t) => {
  const folder = temporaryFolder(t);
  // Changed, deleted, new; then either deleted again, more than came, or more came: more than the graph had.
  const late = batchOf(2, ['d5', 'd700', 'late-1', 'late-2'], ['d5', 'd700', 'd3', 'd899', 'never came']);
  const fewer = batchOf(3, ['late-1'], ['late-1', 'late-2', ...idsOf(400, 100)]);
  const more = batchOf(3, ['late-1', ...idsOf(1_200, 1_000)], ['late-1', ...idsOf(60, 100)]);
  for (const [quantization, last] of [
    ['f32', fewer],
    ['bf16', more],
    ['i8', more],
  ] as const) {
    const batches = [batchOf(1, idsOf(900)), late, last];
    const options = stored(path.join(folder, quantization), { quantization });
    const bundle = await buildBundle(options, given(batches));
    const living = livingOf(batches);
    t.match(bundle.manifest, { row_count: living.size, document_count: living.size });
    await verifyBundle(await readBundle(bundle.folder));
    t.same(await heldBy(bundle), living, `${quantization}: text, vector and version of every document`);
    t.same(findUnreachableRows(path.join(bundle.folder, 'index.usearch')), []);
    t.ok(bundle.manifest.recall_at_10.value > 0.9, `recall ${bundle.manifest.recall_at_10.value}`);
    const index = await openIndex(bundle, { workers: 1, queueLengthMax: 10, expected: expectedOf(options) });
    for (const id of ['d5', 'd700', 'd0', 'd898', 'late-1']) {
      const { hits } = await index.search(
        queryOf(living.get(id)?.vector ?? new Float32Array(0), { withDocument: true }),
      );
      t.match(
        hits[0],
        { id, document: { text: living.get(id)?.text } },
        `${quantization}: ${id} finds itself`,
      );
    }
    const gone = batches[0] as BuildBatch;
    for (const row of [3, 5, 110, 899]) {
      const old = gone.vectors.slice(row * DIMENSIONS, (row + 1) * DIMENSIONS);
      const { hits } = await index.search(queryOf(old, { topK: 50 }));
      for (const { id } of hits) t.ok(living.has(id), `${id} is not one that was taken out`);
      t.equal(new Set(hits.map(({ id }) => id)).size, 50, 'and there are as many as were asked for');
    }
    await index.close();
  }
});

t.test('whatever is taken out, a build holds what is left', async (t) => {
  const folder = temporaryFolder(t);
  let count = 0;
  const id = fc.integer({ min: 0, max: 30 }).map((n) => `d${n}`);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ removed: fc.array(id), added: fc.uniqueArray(id) }), {
        minLength: 1,
        maxLength: 6,
      }),
      async (rounds) => {
        const living = new Set<string>();
        const batches = rounds.map(({ removed, added }, seed) => {
          for (const one of removed) living.delete(one);
          const rows = added.filter((one) => !living.has(one));
          for (const one of rows) living.add(one);
          return batchOf(seed + 1, rows, removed);
        });
        const build = buildBundle(stored(folder, { version: `v${++count}` }), given(batches));
        if (living.size === 0) {
          t.match(await failureOf(build), { reason: 'INVALID_INPUT_FILE', message: /the corpus is empty/ });
          return;
        }
        const bundle = await build;
        await verifyBundle(bundle);
        t.same(await heldBy(bundle), livingOf(batches));
      },
    ),
    { numRuns: 15, seed: 7 },
  );
});

t.test('nothing is taken out of documents of several rows', async (t) => {
  const folder = temporaryFolder(t);
  const chunked = testCorpus(9, 40, DIMENSIONS, 3);
  async function* rows(): AsyncGenerator<BuildBatch> {
    yield* batchesOf(chunked);
    yield { vectors: new Float32Array(0), rows: [], removed: ['doc-9-1'] };
  }
  t.type(await failureOf(buildBundle(optionsOf(folder, { version: 'v2' }), rows())), TypeError);
});

t.test('rows that close up: each place has one row, and no row is lost', (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 60 }), fc.array(fc.nat(59)), (count, taken) => {
      const removed = new Set(taken.filter((row) => row < count));
      const plan = planCompaction(count, removed);
      if (plan === null) return removed.size === 0;
      const rows = [...runsOf(plan)].flatMap(({ first, count }) =>
        Array.from({ length: count }, (_, at) => first + at),
      );
      const left = Array.from({ length: count }, (_, row) => row).filter((row) => !removed.has(row));
      return (
        rows.length === plan.rowCount &&
        JSON.stringify([...rows].sort((a, b) => a - b)) === JSON.stringify(left)
      );
    }),
    { numRuns: 500, seed: 7 },
  );
  t.pass();
  t.end();
});
