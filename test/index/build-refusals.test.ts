import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { buildBundle } from '../../src/index/build-bundle.js';
import type { BuildBatch, BuildOptions, BuildRow } from '../../src/index/build-options.js';
import { batchesOf, buildTestBundle, optionsOf, temporaryFolder, testCorpus } from './corpus.js';

const row = (documentId: string, chunk = 0, truncated = false): BuildRow => ({
  documentId,
  chunk,
  truncated,
});
const unit = (...more: number[]): number[] => [1, 0, 0, 0, 0, 0, 0, 0, ...more];

async function* batch(vectors: readonly number[], rows: readonly BuildRow[]): AsyncGenerator<BuildBatch> {
  yield { vectors: Float32Array.from(vectors), rows };
}

interface Refusal {
  readonly name: string;
  readonly vectors: readonly number[];
  readonly rows: readonly BuildRow[];
  readonly options?: Partial<BuildOptions>;
  readonly reason: string;
  readonly says: string;
}

const second = { ...{ vectors: unit(...unit()) } };
const refusals: readonly Refusal[] = [
  { name: 'an empty corpus', vectors: [], rows: [], reason: 'INVALID_INPUT_FILE', says: 'empty' },
  { name: 'too few numbers', vectors: [1, 2], rows: [row('a')], reason: 'DIMENSION_MISMATCH', says: '1 × 8' },
  {
    name: 'too many numbers',
    vectors: second.vectors,
    rows: [row('a')],
    reason: 'DIMENSION_MISMATCH',
    says: '16',
  },
  {
    name: 'a NaN',
    vectors: [...unit(), Number.NaN, 0, 0, 0, 0, 0, 0, 0],
    rows: [row('a'), row('b')],
    reason: 'NON_FINITE_VECTOR',
    says: '"b"',
  },
  {
    name: 'an infinity',
    vectors: [Number.NEGATIVE_INFINITY, 0, 0, 0, 0, 0, 0, 0],
    rows: [row('a')],
    reason: 'NON_FINITE_VECTOR',
    says: '"a"',
  },
  {
    name: 'a zero vector under cosine',
    vectors: [0, 0, 0, 0, 0, 0, 0, 0],
    rows: [row('a')],
    reason: 'ZERO_VECTOR',
    says: '"a"',
  },
  {
    name: 'a document twice',
    vectors: second.vectors,
    rows: [row('a'), row('a')],
    reason: 'INVALID_INPUT_FILE',
    says: 'chunk 0 of document "a" comes twice',
  },
  {
    name: 'a document that comes back',
    vectors: unit(...unit(), ...unit()),
    rows: [row('a'), row('b'), row('a')],
    reason: 'INVALID_INPUT_FILE',
    says: '"a" comes twice',
  },
  {
    name: 'a first chunk that is not 0',
    vectors: unit(),
    rows: [row('a', 1)],
    reason: 'INVALID_INPUT_FILE',
    says: '"a"',
  },
  {
    name: 'a chunk left out',
    vectors: second.vectors,
    rows: [row('a'), row('a', 2)],
    reason: 'INVALID_INPUT_FILE',
    says: 'chunk 2 of document "a"',
  },
  { name: 'an empty id', vectors: unit(), rows: [row('')], reason: 'INVALID_INPUT_FILE', says: 'empty id' },
  {
    name: 'an id of 513 bytes',
    vectors: unit(),
    rows: [row('x'.repeat(513))],
    reason: 'INVALID_INPUT_FILE',
    says: '513',
  },
  {
    name: 'an id that is no Unicode',
    vectors: unit(),
    rows: [row('\ud800')],
    reason: 'INVALID_INPUT_FILE',
    says: 'Unicode',
  },
  {
    name: 'i8 with dot and a norm that is not 1',
    vectors: [2, 0, 0, 0, 0, 0, 0, 0],
    rows: [row('a')],
    options: { quantization: 'i8', metric: 'dot' },
    reason: 'UNSUPPORTED_FORMAT',
    says: '"a" has norm 2.0000',
  },
  {
    name: 'i8 with l2 and a norm that is not 1',
    vectors: [0.5, 0, 0, 0, 0, 0, 0, 0],
    rows: [row('a')],
    options: { quantization: 'i8', metric: 'l2' },
    reason: 'UNSUPPORTED_FORMAT',
    says: 'unit vectors',
  },
  {
    name: 'a number that f16 cannot hold',
    vectors: [70_000, 0, 0, 0, 0, 0, 0, 0],
    rows: [row('a')],
    options: { quantization: 'f16', metric: 'dot' },
    reason: 'INVALID_ARGUMENT',
    says: '65504',
  },
  {
    name: 'b1 with dimensions that fill no bytes',
    vectors: [],
    rows: [],
    options: { quantization: 'b1', dimensions: 12 },
    reason: 'UNSUPPORTED_FORMAT',
    says: 'multiple of 8',
  },
  {
    name: 'a corpus name with a slash',
    vectors: [],
    rows: [],
    options: { corpus: '../up' },
    reason: 'INVALID_ARGUMENT',
    says: 'corpus',
  },
  {
    name: 'a version with a slash',
    vectors: [],
    rows: [],
    options: { version: 'a/b' },
    reason: 'INVALID_ARGUMENT',
    says: 'version',
  },
  {
    name: 'no dimensions',
    vectors: [],
    rows: [],
    options: { dimensions: 0 },
    reason: 'INVALID_ARGUMENT',
    says: 'dimensions 0',
  },
  {
    name: 'more cut chunks than allowed',
    vectors: second.vectors,
    rows: [row('a', 0, true), row('b')],
    options: { truncatedShareMax: 0.4 },
    reason: 'TRUNCATION_LIMIT',
    says: '1 of 2 chunks (50.0 %)',
  },
  {
    name: 'a source hash that is none',
    vectors: unit(),
    rows: [row('a')],
    options: { source: { name: 's', sha256: () => 'abc', watermark: null } },
    reason: 'INVALID_ARGUMENT',
    says: 'sha256',
  },
];

for (const { name, vectors, rows, options, reason, says } of refusals)
  t.test(`a build refuses ${name} and leaves nothing behind`, async (t) => {
    const folder = temporaryFolder(t);
    const error = await buildBundle(
      optionsOf(folder, { dimensions: 8, ...options }),
      batch(vectors, rows),
    ).catch((thrown: unknown) => thrown);
    t.match(error, { reason });
    t.ok(String(error).includes(says), String(error));
    const versions = path.join(folder, 'docs_kb', 'v1');
    t.strictSame(existsSync(versions) ? readdirSync(versions) : [], []);
  });

t.test('chunks that were cut are counted, and the source is asked for its hash at the end', async (t) => {
  let asked = 0;
  const corpus = testCorpus(5, 10);
  const rows = corpus.rows.map((given, i) => ({ ...given, truncated: i < 3 }));
  const bundle = await buildTestBundle(
    temporaryFolder(t),
    { ...corpus, rows },
    {
      truncatedShareMax: 0.3,
      source: { name: 's', sha256: async () => `${++asked}`.padStart(64, '0'), watermark: 'w-1' },
    },
  );
  t.equal(bundle.manifest.truncated_count, 3);
  t.strictSame(bundle.manifest.source, { name: 's', sha256: '1'.padStart(64, '0'), watermark: 'w-1' });
});

t.test('one thread gives the same digest for the same input, however it is cut into batches', async (t) => {
  const corpus = testCorpus(6, 1500, 32, 2);
  const build = (rows: number) =>
    buildBundle(optionsOf(temporaryFolder(t), { threads: 1, storeDocuments: true }), batchesOf(corpus, rows));
  const [one, two] = [await build(7), await build(1500)];
  t.equal(one.digest, two.digest);
  const other = await buildTestBundle(temporaryFolder(t), testCorpus(7, 1500, 32, 2), { threads: 1 });
  t.not(other.digest, one.digest);
});

t.test('building the same bundle again keeps the one that is there', async (t) => {
  const folder = temporaryFolder(t);
  const first = await buildTestBundle(folder, testCorpus(8, 200), { threads: 1 });
  const again = await buildTestBundle(folder, testCorpus(8, 200), { threads: 1 });
  t.equal(again.folder, first.folder);
  t.equal(readdirSync(path.join(folder, 'docs_kb', 'v1')).length, 1);
});

t.test('ids may be any Unicode of up to 512 bytes', async (t) => {
  const ids = ['é'.repeat(256), '日本語', '👩‍👩‍👧', 'a/b\\c "d"\n', '\u0000', ' ', 'x'.repeat(512)];
  const corpus = testCorpus(9, ids.length);
  const rows = ids.map((documentId) => row(documentId));
  const folder = temporaryFolder(t);
  const { openIndex } = await import('../../src/index/open-index.js');
  const { expectedOf, queryOf, rowOf } = await import('./corpus.js');
  const bundle = await buildTestBundle(folder, { ...corpus, rows });
  const index = await openIndex(bundle, {
    workers: 1,
    queueLengthMax: 9,
    expected: expectedOf(optionsOf(folder)),
  });
  t.teardown(() => index.close());
  for (const [i, id] of ids.entries())
    t.equal((await index.search(queryOf(rowOf(corpus, i)))).hits[0]?.id, id);
});
