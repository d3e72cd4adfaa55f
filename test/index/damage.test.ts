import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import { sha256Hex } from '../../src/files/hash.js';
import type { Bundle } from '../../src/index/manifest.js';
import { openIndex } from '../../src/index/open-index.js';
import { readBundle } from '../../src/index/read-bundle.js';
import { verifyBundle } from '../../src/index/verify-bundle.js';
import { type Digest, digestPrefix } from '../../src/vocabulary.js';
import { TestRandom } from '../fixtures/random.js';
import { buildTestBundle, expectedOf, failureOf, optionsOf, temporaryFolder, testCorpus } from './corpus.js';

const FILES = ['index.usearch', 'ids.bin', 'vectors.f32', 'documents.jsonl', 'documents.offsets'] as const;

type Assertions = Pick<typeof t, 'equal' | 'ok' | 'fail'>;

interface Damage {
  readonly name: string;
  /** Changes a fresh copy of the bundle; `other` is a bundle of the same shape with other content. */
  apply(folder: string, other: string): void;
  /** File that the error must name. */
  readonly file: string;
}

function flipBit(file: string, position: number, bit: number): void {
  const bytes = readFileSync(file);
  bytes[position] = (bytes[position] as number) ^ (1 << bit);
  writeFileSync(file, bytes);
}

const random = new TestRandom(99);
const damages: Damage[] = [];
for (const file of FILES) {
  const share = random.next();
  damages.push(
    { name: `${file} is empty`, file, apply: (folder) => truncateSync(path.join(folder, file), 0) },
    {
      name: `${file} misses its last byte`,
      file,
      apply: (folder) => {
        const whole = path.join(folder, file);
        truncateSync(whole, readFileSync(whole).length - 1);
      },
    },
    {
      name: `${file} ends after ${Math.floor(share * 100)} %`,
      file,
      apply: (folder) => {
        const whole = path.join(folder, file);
        truncateSync(whole, Math.floor(readFileSync(whole).length * share));
      },
    },
    { name: `${file} is gone`, file, apply: (folder) => rmSync(path.join(folder, file)) },
    {
      name: `${file} is a folder`,
      file,
      apply: (folder) => {
        rmSync(path.join(folder, file));
        mkdirSync(path.join(folder, file));
      },
    },
    {
      name: `${file} has a byte more`,
      file,
      apply: (folder) => writeFileSync(path.join(folder, file), 'x', { flag: 'a' }),
    },
    {
      name: `${file} is another build's`,
      file,
      apply: (folder, other) => cpSync(path.join(other, file), path.join(folder, file)),
    },
  );
  // index.usearch: vectors first, then header, then graph; the last third is graph for sure.
  const places = [0, random.next(), 0.85 + 0.15 * random.next(), 0.999];
  for (const place of places) {
    const bit = random.below(8);
    damages.push({
      name: `${file} has a bit flipped at ${(place * 100).toFixed(1)} %`,
      file,
      apply: (folder) => {
        const whole = path.join(folder, file);
        flipBit(whole, Math.floor(place * (readFileSync(whole).length - 1)), bit);
      },
    });
  }
}

/** An edited manifest under the folder name that its new digest asks for: the checks behind the digest. */
function editManifest(folder: string, edit: (manifest: Record<string, unknown>) => void): string {
  const file = path.join(folder, 'manifest.json');
  const manifest = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  edit(manifest);
  const text = JSON.stringify(manifest);
  writeFileSync(file, text);
  const moved = path.join(path.dirname(folder), digestPrefix(sha256Hex(text) as Digest));
  renameSync(folder, moved);
  return moved;
}

const MANIFEST_EDITS: readonly [string, string, (manifest: Record<string, unknown>) => void][] = [
  ['an unknown field', 'manifest.json', (m) => Object.assign(m, { extra: 1 })],
  ['a later format version', 'manifest.json', (m) => Object.assign(m, { format_version: 2 })],
  ['a missing field', 'manifest.json', (m) => delete m.metric],
  ['a metric that does not exist', 'manifest.json', (m) => Object.assign(m, { metric: 'cos' })],
  ['another metric', 'index.usearch', (m) => Object.assign(m, { metric: 'l2' })],
  ['another quantization', 'index.usearch', (m) => Object.assign(m, { quantization: 'f16' })],
  ['another connectivity', 'index.usearch', (m) => Object.assign(m, { connectivity: 32 })],
  ['other dimensions', 'manifest.json', (m) => Object.assign(m, { dimensions: 16, full_dimensions: 16 })],
  ['fewer rows', 'manifest.json', (m) => Object.assign(m, { row_count: 10 })],
  ['more documents than rows', 'manifest.json', (m) => Object.assign(m, { document_count: 100_000 })],
  ['fewer documents', 'manifest.json', (m) => Object.assign(m, { document_count: 10 })],
  ['negative rows', 'manifest.json', (m) => Object.assign(m, { row_count: -1 })],
  [
    'a fingerprint of another shape',
    'manifest.json',
    (m) => Object.assign(m.model as object, { fingerprint: 'x' }),
  ],
  [
    'a file outside its folder',
    'manifest.json',
    (m) =>
      Object.assign(m.files as object, { '../../other/vectors.f32': { bytes: 1, sha256: '0'.repeat(64) } }),
  ],
  [
    'an absolute path',
    'manifest.json',
    (m) => Object.assign(m.files as object, { '/etc/passwd': { bytes: 1, sha256: '0'.repeat(64) } }),
  ],
  [
    'a hash that is not the file’s',
    'vectors.f32',
    (m) =>
      Object.assign((m.files as Record<string, object>)['vectors.f32'] as object, { sha256: 'f'.repeat(64) }),
  ],
  [
    'documents without their offsets',
    'manifest.json',
    (m) => delete (m.files as Record<string, unknown>)['documents.offsets'],
  ],
];

async function attemptToServe(folder: string): Promise<unknown> {
  const options = optionsOf('');
  const index = await openIndex(await readBundle(folder), {
    workers: 1,
    queueLengthMax: 10,
    expected: expectedOf(options),
  });
  await index.close();
  return 'it opened';
}

async function attemptToVerify(folder: string): Promise<unknown> {
  await verifyBundle(await readBundle(folder));
  return 'it passed';
}

t.test('damaged bundles', async (t) => {
  const home = temporaryFolder(t);
  const options = { storeDocuments: true, threads: 1 };
  const bundle = await buildTestBundle(path.join(home, 'a'), testCorpus(1, 300, 32, 2), options);
  const other = await buildTestBundle(path.join(home, 'b'), testCorpus(3, 300, 32, 2), options);
  let copies = 0;
  const copyOf = (source: Bundle): string => {
    const folder = path.join(home, `copy-${copies++}`, path.basename(source.folder));
    cpSync(source.folder, folder, { recursive: true });
    return folder;
  };
  t.equal(
    await attemptToServe(copyOf(bundle)),
    'it opened',
    'an undamaged copy opens, so the others can fail',
  );

  const refused = async (
    t: Assertions,
    folder: string,
    file: string,
    attempts = [attemptToServe, attemptToVerify],
  ): Promise<void> => {
    for (const attempt of attempts) {
      const error = await failureOf(attempt(folder));
      if (!(error instanceof SwitchyardError))
        return void t.fail(`not refused as a SwitchyardError: ${String(error)}`);
      t.equal(error.reason, 'CORRUPT_BUNDLE');
      t.equal(error.details.file, file);
      t.ok(error.message.includes(file), error.message);
    }
  };
  for (const damage of damages)
    t.test(damage.name, async (t) => {
      const folder = copyOf(bundle);
      damage.apply(folder, other.folder);
      // Opening verifies by the same thread; the other way in is tried with the manifests below.
      await refused(t, folder, damage.file, [attemptToServe]);
      rmSync(path.dirname(folder), { recursive: true });
    });
  for (const [name, file, edit] of MANIFEST_EDITS)
    t.test(`manifest.json with ${name}`, async (t) => {
      const folder = copyOf(bundle);
      await refused(t, editManifest(folder, edit), file);
      rmSync(path.dirname(folder), { recursive: true });
    });
  for (const [name, text] of [
    ['empty', ''],
    ['not JSON', '{"format_version":1'],
    ['an array', '[]'],
    ['null', 'null'],
    ['invalid UTF-8', Buffer.from([0x7b, 0xff, 0x7d])],
  ] as const)
    t.test(`a manifest.json that is ${name}`, async (t) => {
      const folder = copyOf(bundle);
      writeFileSync(path.join(folder, 'manifest.json'), text);
      await refused(t, folder, 'manifest.json');
    });
  t.test('any flipped bit of manifest.json', async (t) => {
    const folder = copyOf(bundle);
    const file = path.join(folder, 'manifest.json');
    const bytes = readFileSync(file);
    for (let i = 0; i < 40; i++) {
      flipBit(file, random.below(bytes.length), random.below(8));
      const error = await failureOf(attemptToVerify(folder));
      if (!(error instanceof SwitchyardError) || error.reason !== 'CORRUPT_BUNDLE') t.fail(String(error));
      writeFileSync(file, bytes);
    }
  });
  t.test('a file replaced by a link is refused', async (t) => {
    const folder = copyOf(bundle);
    rmSync(path.join(folder, 'ids.bin'));
    symlinkSync(path.join(bundle.folder, 'ids.bin'), path.join(folder, 'ids.bin'));
    await refused(t, folder, 'ids.bin');
  });
  t.test('a folder without a manifest holds no build', async (t) => {
    const folder = copyOf(bundle);
    rmSync(path.join(folder, 'manifest.json'));
    t.match(await failureOf(readBundle(folder)), { reason: 'UNKNOWN_BUILD' });
    t.match(await failureOf(readBundle(path.join(folder, 'nothing'))), { reason: 'UNKNOWN_BUILD' });
  });
  t.test('a verification does not cover a file that was swapped after it', async (t) => {
    for (const file of FILES) {
      const folder = copyOf(bundle);
      const read = await readBundle(folder);
      const verification = await verifyBundle(read);
      flipBit(path.join(folder, file), 200, 1);
      const opening = openIndex(read, {
        workers: 1,
        queueLengthMax: 10,
        expected: expectedOf(optionsOf('')),
        verification,
      });
      t.match(await failureOf(opening), { reason: 'CORRUPT_BUNDLE', details: { file } });
    }
  });
  t.test('a verification that this process did not make counts for nothing', async (t) => {
    const folder = copyOf(bundle);
    const read = await readBundle(folder);
    flipBit(path.join(folder, 'vectors.f32'), 100, 1);
    const opening = openIndex(read, {
      workers: 1,
      queueLengthMax: 10,
      expected: expectedOf(optionsOf('')),
      verification: { digest: read.digest },
    });
    t.match(await failureOf(opening), { reason: 'CORRUPT_BUNDLE', details: { file: 'vectors.f32' } });
  });
  t.test('the damage was done to copies', async (t) => {
    t.ok(await verifyBundle(bundle));
    t.ok(readdirSync(bundle.folder).length === 6);
  });
});
