import { readdirSync } from 'node:fs';
import t from 'tap';
import { recommend } from '../../src/cli/tune-report.js';
import { tuneFormats } from '../../src/index/tune/tune.js';
import { usualFormats } from '../../src/lifecycle/corpus-tune.js';
import { buildTestBundle, rowOf, temporaryFolder, testCorpus } from './corpus.js';

const corpus = testCorpus(1, 2_500, 32);

function options(folder: string, signal = new AbortController().signal) {
  const seen = { started: 0, rows: 0 };
  return {
    seen,
    formats: [
      { quantization: 'f32', dimensions: 32 },
      { quantization: 'i8', dimensions: 32 },
      { quantization: 'bf16', dimensions: 16 },
      { quantization: 'b1', dimensions: 20 },
    ] as const,
    expansions: [16, 200],
    rowsMax: 2_000,
    queries: null as Float32Array | null,
    heldOutCount: 50,
    seed: 1,
    threads: 1,
    temporaryFolder: folder,
    signal,
    onStarted: (rows: number) => {
      seen.started = rows;
    },
    onRows: (rows: number) => {
      seen.rows = rows;
    },
  };
}

t.test('each format is measured over held-out queries, and what does not fit is left out', async (t) => {
  const folder = temporaryFolder(t);
  const bundle = await buildTestBundle(folder, corpus);
  const asked = options(folder);
  const result = await tuneFormats(bundle, asked);
  t.match(result, { rowCount: 2_000, queryCount: 50, isInterrupted: false });
  t.same(asked.seen, { started: 2_000, rows: 3 * 2_000 });
  t.match(result.leftOut, [{ format: { quantization: 'b1' }, why: /multiple of 8/ }]);
  t.same(
    result.rows.map(({ quantization, dimensions, expansionSearch, rescored }) => [
      quantization,
      dimensions,
      expansionSearch,
      rescored,
    ]),
    [
      ['f32', 32, 16, false],
      ['f32', 32, 200, false],
      ['i8', 32, 16, true],
      ['i8', 32, 200, true],
      ['bf16', 16, 16, true],
      ['bf16', 16, 200, true],
    ],
  );
  for (const row of result.rows) {
    t.ok(row.recallAt10 > 0.3 && row.recallAt10 <= 1, `recall ${row.recallAt10}`);
    t.ok(row.p50Us > 0 && row.p99Us >= row.p50Us);
    t.ok(row.dramBytesPerRow === row.indexBytesPerRow + (row.rescored ? 128 : 0));
  }
  const [small, large] = result.rows;
  t.ok((large?.recallAt10 ?? 0) >= (small?.recallAt10 ?? 1), 'a larger expansion finds no less');
  t.ok((large?.recallAt10 ?? 0) > 0.97);
  t.same(
    readdirSync(folder).filter((name) => name.startsWith('.tmp')),
    [],
    'nothing is left behind',
  );
});

t.test('unless told otherwise every format is measured with all dimensions and with half of them', (t) => {
  const names = (dimensions: number) =>
    usualFormats(dimensions).map((format) => `${format.quantization}@${format.dimensions}`);
  const of = (dimensions: number) =>
    ['f32', 'f16', 'bf16', 'i8', 'b1'].map((name) => `${name}@${dimensions}`);
  t.same(names(384), [...of(384), ...of(192)]);
  t.same(names(300), [...of(300), ...of(144)], 'what b1 can hold');
  t.same(names(6), [...of(6), ...of(3)], 'b1 is left out by name');
  t.same(names(1), of(1));
  t.end();
});

t.test('given queries are searched over all rows', async (t) => {
  const folder = temporaryFolder(t);
  const bundle = await buildTestBundle(folder, corpus);
  const queries = new Float32Array(2 * 32);
  queries.set(rowOf(corpus, 3));
  queries.set(rowOf(corpus, 900), 32);
  const result = await tuneFormats(bundle, { ...options(folder), rowsMax: 1e6, queries });
  t.match(result, { rowCount: corpus.rows.length, queryCount: 2 });
});

t.test('an interrupted run gives what it has and leaves nothing', async (t) => {
  const folder = temporaryFolder(t);
  const bundle = await buildTestBundle(folder, corpus);
  const controller = new AbortController();
  const asked = options(folder, controller.signal);
  const result = await tuneFormats(bundle, {
    ...asked,
    onRows: (rows) => {
      if (rows > 2_000) controller.abort(new Error('stop'));
    },
  });
  t.equal(result.isInterrupted, true);
  t.same(result.rows.map(({ quantization }) => quantization).slice(0, 2), ['f32', 'f32']);
  t.ok(result.rows.length < 6, `${result.rows.length} were measured`);
  t.same(
    readdirSync(folder).filter((name) => name.startsWith('.tmp')),
    [],
  );
});

t.test('the recommendation takes the cheapest of what reaches the recall', async (t) => {
  const row = (quantization: 'bf16' | 'i8' | 'b1', recallAt10: number, p50Us: number, bytes: number) => ({
    quantization,
    dimensions: 8,
    rescored: quantization !== 'bf16',
    expansionSearch: 64,
    recallAt10,
    p50Us,
    p99Us: p50Us,
    indexBytesPerRow: bytes,
    dramBytesPerRow: quantization === 'bf16' ? bytes : bytes + 1000,
    buildMs: 1,
  });
  const rows = [row('bf16', 0.99, 300, 900), row('i8', 0.985, 200, 500), row('b1', 0.9, 100, 100)];
  const found = recommend(rows, 0.98);
  t.equal(found?.fastest.quantization, 'i8');
  t.equal(found?.smallest_dram.quantization, 'bf16');
  t.equal(found?.smallest_index.quantization, 'i8');
  t.equal(recommend(rows, 0.999), null);
});
