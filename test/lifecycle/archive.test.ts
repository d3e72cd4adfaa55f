import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from 'hyparquet';
import t, { type Test } from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import type { Bundle } from '../../src/index/manifest.js';
import { openIndex } from '../../src/index/open-index.js';
import { verifyBundle } from '../../src/index/verify-bundle.js';
import { archiveBundle } from '../../src/lifecycle/archive/archive.js';
import type { ArchiveManifest } from '../../src/lifecycle/archive/archive-manifest.js';
import { archiveName, splitArchiveUri } from '../../src/lifecycle/archive/archive-name.js';
import { type ArchivePlace, verifyArchiveIn } from '../../src/lifecycle/archive/read-archive.js';
import { restoreBundle } from '../../src/lifecycle/archive/restore-bundle.js';
import { openArchiveStore } from '../../src/lifecycle/archive/store.js';
import type { ArchiveStore } from '../../src/lifecycle/archive/store-types.js';
import { damageObject, startS3, TEST_BUCKET } from '../fixtures/s3.js';
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
  for (const [called, store] of await places(t)) {
    const archived = await archiveBundle(bundle, store, {}, never);
    t.equal(archived.manifest.row_count, corpus.rows.length);
    const { name } = splitArchiveUri(archived.uri);
    t.equal(name, archiveName('docs_kb', 'v1', bundle.digest));
    const place = { store, name, sha256: archived.sha256 };
    t.equal((await verifyArchiveIn(place, never)).sha256, archived.sha256);
    const again = await archiveBundle(bundle, store, {}, never);
    t.equal(again.sha256, archived.sha256, 'archiving again writes the same archive');
    const folder = temporaryFolder(t);
    const restored = await restoreBundle(place, folder, {}, never);
    t.equal(restored.digest, bundle.digest, `the same build out of ${called}`);
    t.same(await answers(restored, corpus, 1000), expected, `the same answers out of ${called}`);
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

/** An archive in a folder, where it can be damaged. */
async function archivedIn(t: Test) {
  const bundle = await build(t, corpusOf(300));
  const folder = temporaryFolder(t);
  const store = await openArchiveStore(folder, NO_S3);
  const { uri, sha256 } = await archiveBundle(bundle, store, {}, never);
  const { name } = splitArchiveUri(uri);
  const at = path.join(folder, name);
  const text = readFileSync(path.join(at, 'archive.json'));
  const place: ArchivePlace = { store, name, sha256: null };
  return { bundle, folder, place, at, text, sha256 };
}

t.test('a damaged archive is refused, naming the file', async (t) => {
  const { place, at } = await archivedIn(t);
  const whole = temporaryFolder(t);
  cpSync(at, whole, { recursive: true });
  for (const file of readdirSync(at)) {
    const bytes = readFileSync(path.join(whole, file));
    const flipped = Buffer.from(bytes);
    flipped[bytes.length >> 1] = (flipped[bytes.length >> 1] as number) ^ 0x41;
    for (const damage of [
      flipped,
      bytes.subarray(0, bytes.length - 2),
      Buffer.concat([bytes, bytes]),
      null,
    ]) {
      if (damage === null) rmSync(path.join(at, file));
      else writeFileSync(path.join(at, file), damage);
      const target = temporaryFolder(t);
      for (const attempt of [
        () => verifyArchiveIn(place, never),
        () => restoreBundle(place, target, {}, never),
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
  await verifyArchiveIn(place, never);
});

t.test('whichever byte of archive.json is another one, the archive is refused', async (t) => {
  const { place, at, text, sha256 } = await archivedIn(t);
  const recorded = { ...place, sha256 };
  /** All that an archive says but who wrote it, which nothing can be compared with. */
  const said = (bytes: Buffer): string | null => {
    try {
      return JSON.stringify({ ...JSON.parse(bytes.toString('utf8')), writer: null });
    } catch {
      return null;
    }
  };
  const isRefusal = (failure: unknown): boolean =>
    failure instanceof SwitchyardError && failure.reason === 'CORRUPT_ARCHIVE';
  let unseen = 0;
  for (let byte = 0; byte < text.length; byte++) {
    const flipped = Buffer.from(text);
    flipped.writeUInt8(flipped.readUInt8(byte) ^ 0x01, byte);
    writeFileSync(path.join(at, 'archive.json'), flipped);
    const failure = await failureOf(verifyArchiveIn(recorded, never));
    if (!isRefusal(failure)) t.fail(`byte ${byte} of the recorded archive: ${failure}`);
    if (said(flipped) === said(text)) {
      unseen++;
      continue;
    }
    const other = await failureOf(verifyArchiveIn(place, never));
    if (!isRefusal(other)) t.fail(`byte ${byte}: ${other}`);
  }
  t.ok(unseen > 0 && unseen < 40, `${unseen} of ${text.length} bytes say who wrote it`);
});

const OTHER_INDEX = 'another file as its index';
const summary = (file: ArchiveManifest['files'][string] | undefined) => ({
  bytes: file?.bytes ?? 0,
  sha256: file?.sha256 ?? '',
});

/** What somebody may have made of archive.json, each of it valid in itself: the fields that are other ones. */
const ALTERED: {
  readonly name: string;
  readonly altered: (archive: ArchiveManifest) => Partial<ArchiveManifest>;
}[] = [
  { name: 'a corpus that leads out', altered: () => ({ corpus: '../../outside' }) },
  { name: 'a corpus with a path', altered: () => ({ corpus: '/etc' }) },
  { name: 'a version that leads out', altered: () => ({ version: '..' }) },
  { name: 'another version', altered: () => ({ version: 'v2' }) },
  { name: 'another build', altered: ({ build }) => ({ build: build.slice(0, -8) + '0'.repeat(8) }) },
  { name: 'another model', altered: ({ model }) => ({ model: { ...model, name: 'other' } }) },
  {
    name: 'another fingerprint',
    altered: ({ model }) => ({ model: { ...model, fingerprint: `mf1_${'0'.repeat(32)}` } }),
  },
  { name: 'another watermark', altered: () => ({ watermark: null }) },
  { name: 'another count', altered: ({ document_count }) => ({ document_count: document_count + 1 }) },
  {
    name: 'no index',
    altered: ({ files: { 'index.usearch': _index, ...files } }) => ({ files }),
  },
  {
    name: OTHER_INDEX,
    altered: ({ files }) => ({ files: { ...files, 'index.usearch': summary(files['rows-00000.parquet']) } }),
  },
];

t.test('an archive.json that was altered is refused before anything is written', async (t) => {
  const { bundle, place, at, text } = await archivedIn(t);
  const index = path.join(at, 'index.usearch');
  const graph = readFileSync(index);
  const root = temporaryFolder(t);
  const target = path.join(root, 'a', 'bundles');
  mkdirSync(target, { recursive: true });
  const written = JSON.parse(text.toString('utf8')) as ArchiveManifest;
  for (const { name, altered } of ALTERED) {
    writeFileSync(path.join(at, 'archive.json'), JSON.stringify({ ...written, ...altered(written) }));
    if (name === OTHER_INDEX) cpSync(path.join(at, 'rows-00000.parquet'), index);
    for (const attempt of [
      () => verifyArchiveIn(place, never),
      () => restoreBundle(place, target, {}, never),
    ])
      t.match(
        await failureOf(attempt()),
        { reason: 'CORRUPT_ARCHIVE', details: { file: 'archive.json' } },
        name,
      );
    t.same(readdirSync(target), [], 'nothing is left behind');
    t.same([readdirSync(root), readdirSync(path.dirname(target))], [['a'], ['bundles']], 'nor beside it');
  }
  writeFileSync(index, graph);
  writeFileSync(path.join(at, 'archive.json'), text);
  t.equal((await restoreBundle(place, target, {}, never)).digest, bundle.digest, 'and none is in the way');
});

t.test('an archive in the place of another one is refused', async (t) => {
  const { place, folder, at } = await archivedIn(t);
  const name = place.name.replace('/v1/', '/v2/');
  cpSync(at, path.join(folder, name), { recursive: true });
  const target = temporaryFolder(t);
  for (const attempt of [
    () => verifyArchiveIn({ ...place, name }, never),
    () => restoreBundle({ ...place, name }, target, {}, never),
  ])
    t.match(await failureOf(attempt()), {
      reason: 'CORRUPT_ARCHIVE',
      message: /it is that of docs_kb\/v1\/[0-9a-f]{16}, copied or moved here/,
    });
  t.same(readdirSync(target), []);
});

t.test('a restore mends a damaged bundle, leaves a sound one, and follows no link', async (t) => {
  const { bundle, place } = await archivedIn(t);
  const target = temporaryFolder(t);
  const restored = await restoreBundle(place, target, {}, never);
  const file = path.join(restored.folder, 'vectors.f32');
  const before = lstatSync(file).ino;
  await restoreBundle(place, target, {}, never);
  t.equal(lstatSync(file).ino, before, 'what is published and sound stays');
  for (const damage of [
    () => writeFileSync(file, Buffer.alloc(readFileSync(file).length)),
    () => rmSync(path.join(restored.folder, 'index.usearch')),
    () => rmSync(path.join(restored.folder, 'manifest.json')),
  ]) {
    damage();
    const mended = await restoreBundle(place, target, {}, never);
    t.equal((await verifyBundle(mended)).digest, bundle.digest);
    t.same(readdirSync(path.join(target, 'docs_kb', 'v1')), [path.basename(restored.folder)]);
  }
  const elsewhere = temporaryFolder(t);
  for (const link of ['docs_kb', path.join('docs_kb', 'v1')]) {
    const linked = temporaryFolder(t);
    mkdirSync(path.dirname(path.join(linked, link)), { recursive: true });
    symlinkSync(elsewhere, path.join(linked, link));
    t.match(await failureOf(restoreBundle(place, linked, {}, never)), {
      reason: 'INVALID_ARGUMENT',
      message: /leads out of/,
    });
    t.same(readdirSync(elsewhere), []);
  }
});

t.test('what is damaged at an S3-compatible server is sent anew once it is read back', async (t) => {
  const bundle = await build(t, corpusOf(100));
  const s3 = await startS3(t);
  const store = await openArchiveStore(`s3://${TEST_BUCKET}/x`, s3);
  const { uri, sha256, manifest } = await archiveBundle(bundle, store, {}, never);
  const place = { store, name: splitArchiveUri(uri).name, sha256 };
  for (const file of [...Object.keys(manifest.files), 'archive.json']) {
    await damageObject(s3, `x/${place.name}/${file}`);
    await archiveBundle(bundle, store, {}, never);
    t.match(
      await failureOf(verifyArchiveIn(place, never)),
      { reason: 'CORRUPT_ARCHIVE', details: { file } },
      `the server says of ${file} what it was given`,
    );
    await archiveBundle(bundle, store, {}, never, true);
    await verifyArchiveIn(place, never);
  }
  store.close();
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
  for (const uri of [
    ...['ftp://host/x', 's3://', 's3://bucket/x?y', 's3://[bucket', 's3://bucket/%E0%A4%A'],
    ...['file://host/archive', 'file:///a%2Fb', 'file:///a%00b', 'file:///%E0%A4%A'],
  ])
    t.match(await failureOf(openArchiveStore(uri, NO_S3)), { reason: 'INVALID_ARGUMENT' });
  for (const uri of ['/some/folder', `/x/../../${'0'.repeat(16)}`, `/x/docs_kb/../${'0'.repeat(16)}`])
    t.throws(() => splitArchiveUri(uri), { message: /does not name an archive/ });
});
