import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from 'hyparquet';
import t, { type Test } from 'tap';
import type { Bundle } from '../../src/index/manifest.js';
import { openIndex } from '../../src/index/open-index.js';
import {
  archiveBundle,
  archiveName,
  restoreBundle,
  splitArchiveUri,
  verifyArchiveIn,
} from '../../src/lifecycle/archive/archive.js';
import { openArchiveStore } from '../../src/lifecycle/archive/store.js';
import type { ArchiveStore } from '../../src/lifecycle/archive/store-types.js';
import { startS3, TEST_BUCKET } from '../fixtures/s3.js';
import {
  buildTestBundle,
  expectedOf,
  failureOf,
  optionsOf,
  queryOf,
  rowOf,
  type TestCorpus,
  temporaryFolder,
  testCorpus,
} from '../index/corpus.js';

const NO_S3 = { endpoint: null, region: 'us-east-1', forcePathStyle: false };
const never = new AbortController().signal;

/** Documents of several chunks with everything that a document may hold. */
function corpusOf(documents: number): TestCorpus {
  const corpus = testCorpus(5, documents, 32, 3);
  return {
    ...corpus,
    rows: corpus.rows.map((row, at) => ({
      ...row,
      truncated: at % 7 === 0,
      provenance: {
        textHash: Buffer.alloc(32, at % 251),
        sourceVersion: at % 3 === 0 ? null : at,
        truncated: at % 7 === 0,
      },
      ...(at % 11 === 0 && row.document !== undefined
        ? {
            document: {
              text: `lone \ud800 of ${at}`,
              attributes: { 10: 'ten', a: [null, 1.5, { b: true }] },
            },
          }
        : {}),
    })),
  };
}

const build = (t: Test, corpus: TestCorpus): Promise<Bundle> =>
  buildTestBundle(temporaryFolder(t), corpus, {
    storeDocuments: true,
    storeProvenance: true,
    quantization: 'f16',
    source: { name: 'feed.jsonl', sha256: '1'.repeat(64), watermark: `feed1:10:2:${'a'.repeat(16)}` },
  });

async function answers(bundle: Bundle, corpus: TestCorpus, count: number) {
  const index = await openIndex(bundle, {
    workers: 2,
    queueLengthMax: 2000,
    expected: expectedOf(optionsOf('', { dimensions: 32 })),
  });
  try {
    const found = [];
    for (let at = 0; at < count; at++) {
      const query = rowOf(corpus, (at * 37) % corpus.rows.length).map((x, i) => x + Math.sin(at + i) / 20);
      const { hits } = await index.search(queryOf(query, { withDocument: at % 100 === 0 }));
      found.push(hits);
    }
    return found;
  } finally {
    await index.close();
  }
}

async function places(t: Test): Promise<[string, ArchiveStore][]> {
  const s3 = await startS3(t);
  return [
    ['a folder', await openArchiveStore(temporaryFolder(t), NO_S3)],
    ['an S3-compatible server', await openArchiveStore(`s3://${TEST_BUCKET}/old/versions`, s3)],
  ];
}

t.test('an archive gives back the same build: identical answers to 1 000 queries', async (t) => {
  const corpus = corpusOf(3_000);
  const bundle = await build(t, corpus);
  const expected = await answers(bundle, corpus, 1000);
  for (const [place, store] of await places(t)) {
    const archived = await archiveBundle(bundle, store, {}, never);
    t.equal(archived.manifest.row_count, corpus.rows.length);
    const { name } = splitArchiveUri(archived.uri);
    t.equal(name, archiveName('docs_kb', 'v1', bundle.digest));
    t.equal((await verifyArchiveIn(store, name, never)).sha256, archived.sha256);
    const again = await archiveBundle(bundle, store, {}, never);
    t.equal(again.sha256, archived.sha256, 'archiving again writes the same archive');
    const folder = temporaryFolder(t);
    const restored = await restoreBundle(store, name, folder, {}, never);
    t.equal(restored.digest, bundle.digest, `the same build out of ${place}`);
    t.same(await answers(restored, corpus, 1000), expected, `the same answers out of ${place}`);
    t.same(readdirSync(path.join(folder, 'docs_kb', 'v1')), [path.basename(bundle.folder)], 'nothing else');
    store.close();
  }
});

t.test('another reader finds every vector, id, chunk, hash and version in the Parquet files', async (t) => {
  const corpus = corpusOf(6_000);
  const bundle = await build(t, corpus);
  const folder = temporaryFolder(t);
  const store = await openArchiveStore(folder, NO_S3);
  const { manifest } = await archiveBundle(bundle, store, {}, never);
  const at = path.join(folder, archiveName('docs_kb', 'v1', bundle.digest));
  let row = 0;
  for (const name of Object.keys(manifest.files).filter((file) => file.endsWith('.parquet'))) {
    const file = await asyncBufferFromFile(path.join(at, name));
    const { row_groups: groups } = await parquetMetadataAsync(file);
    t.ok(groups.every(({ num_rows }) => Number(num_rows) <= 10_240));
    for (const record of await parquetReadObjects({ file })) {
      const expected = corpus.rows[row];
      const { id, chunk, vector, text_hash, source_version, truncated } = record;
      const isSame =
        id === expected?.documentId &&
        chunk === expected?.chunk &&
        text_hash === Buffer.from(expected?.provenance?.textHash ?? []).toString('hex') &&
        (source_version ?? null) ===
          (expected?.provenance?.sourceVersion == null ? null : BigInt(expected.provenance.sourceVersion)) &&
        truncated === expected?.truncated &&
        Buffer.from(Float32Array.from(vector as number[]).buffer).equals(
          Buffer.from(rowOf(corpus, row).buffer),
        );
      if (!isSame) t.fail(`row ${row} of ${name} is another one`);
      if (row % 100 === 1 && expected?.chunk === 0 && expected.document?.title !== undefined)
        t.match(record, { title: expected.document.title, text: expected.document.text });
      row++;
    }
  }
  t.equal(row, corpus.rows.length);
});

t.test('a damaged archive is refused, naming the file', async (t) => {
  const corpus = corpusOf(300);
  const bundle = await build(t, corpus);
  const folder = temporaryFolder(t);
  const store = await openArchiveStore(folder, NO_S3);
  const { uri } = await archiveBundle(bundle, store, {}, never);
  const { name } = splitArchiveUri(uri);
  const at = path.join(folder, name);
  const whole = temporaryFolder(t);
  cpSync(at, whole, { recursive: true });
  for (const file of readdirSync(at)) {
    const bytes = readFileSync(path.join(whole, file));
    const flipped = Buffer.from(bytes);
    flipped[bytes.length >> 1] = (flipped[bytes.length >> 1] as number) ^ 0x41;
    for (const damage of [flipped, bytes.subarray(0, bytes.length - 2), null]) {
      if (damage === null) rmSync(path.join(at, file));
      else writeFileSync(path.join(at, file), damage);
      const target = temporaryFolder(t);
      for (const attempt of [
        () => verifyArchiveIn(store, name, never),
        () => restoreBundle(store, name, target, {}, never),
      ]) {
        const failure = await failureOf(attempt());
        t.match(
          failure,
          { reason: 'CORRUPT_ARCHIVE', details: { file } },
          `${file} ${damage === null ? 'missing' : 'damaged'}`,
        );
      }
      const left = path.join(target, 'docs_kb', 'v1');
      t.same(existsSync(left) ? readdirSync(left) : [], [], 'nothing was restored from it');
    }
    writeFileSync(path.join(at, file), bytes);
  }
  await verifyArchiveIn(store, name, never);
});

t.test('a place that cannot be reached says so', async (t) => {
  const bundle = await build(t, corpusOf(50));
  const away = await openArchiveStore('s3://nowhere/x', {
    endpoint: 'http://127.0.0.1:1',
    region: 'us-east-1',
    forcePathStyle: true,
  });
  t.match(await failureOf(archiveBundle(bundle, away, {}, never)), { reason: 'ARCHIVE_UNAVAILABLE' });
  away.close();
  const s3 = await startS3(t);
  const noBucket = await openArchiveStore('s3://missing-bucket', s3);
  t.match(await failureOf(archiveBundle(bundle, noBucket, {}, never)), {
    reason: 'ARCHIVE_UNAVAILABLE',
    message: /no such bucket/,
  });
  noBucket.close();
  for (const uri of ['ftp://host/x', 's3://', 's3://bucket/x?y'])
    t.match(await failureOf(openArchiveStore(uri, NO_S3)), { reason: 'INVALID_ARGUMENT' });
  t.throws(() => splitArchiveUri('/some/folder'), { message: /does not name an archive/ });
});
