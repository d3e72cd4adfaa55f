import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { readBundle } from '../../src/index/read-bundle.js';
import { verifyBundle } from '../../src/index/verify-bundle.js';
import { removeAbandonedWork } from '../../src/lifecycle/reembed/abandoned-work.js';
import type { EmbedReport } from '../../src/lifecycle/reembed/embed-corpus.js';
import { sourceLag } from '../../src/lifecycle/source/source-lag.js';
import { parseWatermark } from '../../src/lifecycle/source/watermark.js';
import { type Digest, digestPrefix, type Fingerprint } from '../../src/vocabulary.js';
import { tinyModelFolder } from '../fixtures/tiny-model.js';
import {
  appendFeed,
  buildWith,
  documentsOf,
  type FeedLine,
  fileRecords,
  recordedDigests,
  requestOf,
  textsOf,
  writeFeed,
} from './reembed-rig.js';

const CHILD = fileURLToPath(new URL('./reembed-child.js', import.meta.url));
const COUNT = 300;

interface Yard {
  readonly varDir: string;
  readonly feed: string;
  readonly fingerprint: Fingerprint;
}

async function yardOf(t: Test): Promise<Yard> {
  const { folder, manifest } = await tinyModelFolder(t);
  const varDir = path.dirname(path.dirname(folder));
  return { varDir, feed: path.join(varDir, 'feed.jsonl'), fingerprint: manifest.fingerprint };
}

/** Runs a build in a process of its own; kills it when a line starts with `killAt`. */
async function run({ varDir, feed, fingerprint }: Yard, killAt: string | null, grow: boolean) {
  const child = spawn(process.execPath, [CHILD, varDir, feed, fingerprint], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, GROW: grow ? 'yes' : 'no', HOLD_AT: killAt ?? '' },
  });
  let report: EmbedReport | null = null;
  let wasKilled = false;
  for await (const line of createInterface({ input: child.stdout })) {
    if (killAt !== null && line.startsWith(killAt) && !wasKilled) {
      wasKilled = true;
      child.kill('SIGKILL');
    }
    if (line.startsWith('done ')) report = JSON.parse(line.slice(5)) as EmbedReport;
  }
  return { report, wasKilled };
}

const bundleOf = (varDir: string, digest: string) =>
  readBundle(path.join(varDir, 'bundles', 'docs_kb', 'v1', digestPrefix(digest as Digest)));

const KILLS = [
  'documents 20',
  'checkpoint snapshot-000000',
  'documents 120',
  'checkpoint snapshot-000002',
  'checkpoint snapshot-000005',
  'checkpoint changes-000000',
  'checkpoint changes-000002',
  'phase link',
  'phase index',
  'phase publish',
  'record',
  'recorded',
];

t.test('a build killed again and again goes on: no document is missing, none comes twice', async (t) => {
  const yard = await yardOf(t);
  writeFeed(yard.feed, documentsOf(COUNT));
  for (const killAt of KILLS) {
    const { wasKilled, report } = await run(yard, killAt, true);
    t.ok(wasKilled, `killed at "${killAt}"`);
    t.equal(report, null, 'before it was done');
  }
  const { report } = await run(yard, null, true);
  if (report === null) throw new Error('the last run did not finish');
  t.equal(report.checkpointsRedone, 0);
  const digests = recordedDigests(yard.varDir);
  t.equal(new Set(digests).size, 1, 'one build, however often it was recorded');
  const bundle = await bundleOf(yard.varDir, digests[0] as string);
  await verifyBundle(bundle);
  const expected = new Map(documentsOf(COUNT).map(({ id, text = '' }) => [id, text]));
  for (const id of ['d3', 'd290', 'd6']) expected.delete(id);
  expected.set('d5', 'changed while it was embedded');
  expected.set('late', 'came while it was embedded');
  expected.set('linked', 'came while it was linked');
  t.same(await textsOf(bundle), expected);
  const lag = await sourceLag(yard.feed, bundle.manifest.source.watermark);
  t.match(lag, { kind: 'feed', changesBehind: 0, documentsBehind: 0 });
  const left = readdirSync(path.join(yard.varDir, 'bundles', 'docs_kb', 'v1'));
  t.same(left, [digestPrefix(bundle.digest)], 'one bundle, and no checkpoint is left');
});

t.test('what a kill costs is counted, and is less than one interval', async (t) => {
  const yard = await yardOf(t);
  writeFeed(yard.feed, documentsOf(COUNT));
  await run(yard, 'documents 140', false);
  const { report } = await run(yard, null, false);
  if (report === null) throw new Error('the second run did not finish');
  t.match(report, { checkpointsResumed: 2, documentsResumed: 100, documents: 200 });
  t.ok(report.documentsReembedded > 0 && report.documentsReembedded < 50, `${report.documentsReembedded}`);
});

t.test('a damaged checkpoint is never believed: its documents are embedded again', async (t) => {
  const yard = await yardOf(t);
  writeFeed(yard.feed, documentsOf(COUNT));
  await run(yard, 'checkpoint snapshot-000003', false);
  const file = path.join(yard.varDir, 'bundles', 'docs_kb', 'v1', '.checkpoints', 'snapshot-000001.ckpt');
  const bytes = readFileSync(file);
  for (const at of [bytes.length >> 1, bytes.length - 40]) bytes[at] = (bytes[at] as number) ^ 0xff;
  writeFileSync(file, bytes);
  const { report } = await run(yard, null, false);
  t.match(report, { checkpointsRedone: 1, documents: 50 + 100 });
  const bundle = await bundleOf(yard.varDir, recordedDigests(yard.varDir)[0] as string);
  t.equal((await textsOf(bundle)).size, COUNT);
});

t.test('checkpoints of another source are not taken', async (t) => {
  const yard = await yardOf(t);
  writeFeed(yard.feed, documentsOf(COUNT));
  await run(yard, 'checkpoint snapshot-000003', false);
  writeFeed(yard.feed, documentsOf(80, 9));
  const { report } = await run(yard, null, false);
  t.match(report, { checkpointsResumed: 0, documents: 80 });
  const bundle = await bundleOf(yard.varDir, recordedDigests(yard.varDir)[0] as string);
  t.equal((await textsOf(bundle)).get('d7'), 'text number 7 of version 9');
});

t.test('equal texts are encoded once, and never again by the same model', async (t) => {
  const yard = await yardOf(t);
  const file = path.join(yard.varDir, 'plain.jsonl');
  const texts = ['one', 'two', 'three', 'one', 'two', 'one'];
  writeFileSync(
    file,
    Array.from({ length: 120 }, (_, at) => `${JSON.stringify({ id: `p${at}`, text: texts[at % 6] })}\n`).join(
      '',
    ),
  );
  const records = fileRecords(yard.varDir, yard.fingerprint);
  const first = await buildWith(yard.varDir, records, requestOf(file));
  t.match(first.embedding, { documents: 120, rows: 120, encoded: 3, deduplicated: 117, watermark: null });
  writeFileSync(file, `${readFileSync(file, 'utf8')}${JSON.stringify({ id: 'new', text: 'four' })}\n`);
  const second = await buildWith(yard.varDir, records, requestOf(file, { version: 'v2' }));
  t.match(second.embedding, { documents: 121, encoded: 1, reused: 6, deduplicated: 114 });
  const vectors = async (version: number) => {
    const bundle = [first, second][version]?.bundle;
    const bytes = readFileSync(path.join(bundle?.folder ?? '', 'vectors.f32'));
    return bytes.subarray(0, 120 * 8 * 4);
  };
  t.ok((await vectors(0)).equals(await vectors(1)), 'the same vectors');
  const third = await buildWith(yard.varDir, records, requestOf(file, { version: 'v3', reuse: false }));
  t.match(third.embedding, { encoded: 4, reused: 0 });
});

t.test('what a build that was given up leaves is removed after its time, and no sooner', async (t) => {
  const yard = await yardOf(t);
  writeFeed(yard.feed, documentsOf(COUNT));
  await run(yard, 'checkpoint snapshot-000003', false);
  const bundles = path.join(yard.varDir, 'bundles');
  const folder = path.join(bundles, 'docs_kb', 'v1');
  const fetched = path.join(folder, '.archive', 'docs_kb', 'v0');
  mkdirSync(fetched, { recursive: true });
  const log = pino({ level: 'silent' });
  const DAY_MS = 86_400_000;
  t.same(await removeAbandonedWork(bundles, Date.now() - DAY_MS, log), [], 'it was written today');
  const records = fileRecords(yard.varDir, yard.fingerprint);
  let whileHeld: readonly string[] | null = null;
  await buildWith(yard.varDir, records, requestOf(yard.feed), {
    onPhase: async (phase) => {
      if (phase === 'index') whileHeld = await removeAbandonedWork(bundles, Date.now() + DAY_MS, log);
    },
  });
  t.same(whileHeld, [], 'a build that is at work keeps what it has');
  const [bundle] = readdirSync(folder).filter((name) => name[0] !== '.');
  t.same(await removeAbandonedWork(bundles, Date.now() + DAY_MS, log), ['docs_kb/v1']);
  t.same(readdirSync(folder), [bundle], 'the bundle stays');
  t.same(await removeAbandonedWork(bundles, Date.now() + DAY_MS, log), []);
  t.same(await removeAbandonedWork(path.join(bundles, 'nothing'), Date.now(), log), []);
});

t.test('what comes to a feed while the graph is linked is in the build too', async (t) => {
  const yard = await yardOf(t);
  writeFeed(yard.feed, documentsOf(COUNT));
  const records = fileRecords(yard.varDir, yard.fingerprint);
  const came: string[] = [];
  const { bundle, embedding } = await buildWith(yard.varDir, records, requestOf(yard.feed), {
    onPhase: (phase) => {
      came.push(phase);
      if (phase !== 'link') return;
      appendFeed(yard.feed, [
        { id: 'd5', version: 2, text: 'changed while it was linked' },
        { id: 'd7', version: 2, deleted: true },
        { id: 'd7', version: 1, text: 'what was deleted stays deleted' },
        { id: 'd8', version: 2, text: 'changed, and then deleted' },
        { id: 'new', version: 1, text: 'came while it was linked' },
        { id: 'd8', version: 3, deleted: true },
      ]);
    },
    // And while what came is embedded.
    onCheckpoint: (name) => {
      came.push(name);
      if (name === 'changes-000001.ckpt')
        appendFeed(yard.feed, [
          { id: 'new', version: 2, deleted: true },
          { id: 'd5', version: 3, text: 'changed once more' },
          ...documentsOf(60, 2, 200),
        ]);
    },
  });
  t.ok(came.indexOf('changes-000001.ckpt') > came.indexOf('link'), came.join(' '));
  const expected = new Map(documentsOf(COUNT).map(({ id, text = '' }) => [id, text]));
  for (const id of ['d7', 'd8']) expected.delete(id);
  expected.set('d5', 'changed once more');
  for (const { id, text = '' } of documentsOf(60, 2, 200)) expected.set(id, text);
  t.same(await textsOf(bundle), expected);
  await verifyBundle(bundle);
  t.match(await sourceLag(yard.feed, bundle.manifest.source.watermark), { changesBehind: 0 });
  t.match(embedding, {
    changesReplayed: 6 + 62,
    documents: COUNT + 2 + 61,
    watermark: bundle.manifest.source.watermark,
  });
  const again = await buildWith(yard.varDir, records, requestOf(yard.feed, { version: 'v2' }));
  t.equal(
    again.bundle.manifest.source.sha256,
    bundle.manifest.source.sha256,
    'the hash is of all that was read',
  );
  t.same(await textsOf(again.bundle), expected);
});

t.test('a feed that never rests: a build says exactly how far it goes', async (t) => {
  for (const chunking of [null, { tokensMax: 8, overlapTokens: 0 }]) {
    const long = (lines: readonly FeedLine[]) =>
      lines.map((line) => ({ ...line, text: `${line.text}, and so on and so forth`.repeat(3) }));
    const yard = await yardOf(t);
    writeFeed(yard.feed, long(documentsOf(COUNT)));
    let round = 1;
    const write = (): void => {
      round++;
      appendFeed(yard.feed, [
        ...long(documentsOf(3, round, (round * 7) % COUNT)),
        { id: `d${(round * 11) % COUNT}`, version: round, deleted: true },
        { id: `new${round}`, version: 1, text: `came in round ${round}` },
      ]);
    };
    const writing = setInterval(write, 5);
    const records = fileRecords(yard.varDir, yard.fingerprint);
    const { bundle } = await buildWith(yard.varDir, records, requestOf(yard.feed, { chunking }), {
      onPhase: (phase) => phase === 'link' && write(),
    }).finally(() => clearInterval(writing));
    const { watermark, sha256 } = bundle.manifest.source;
    const { offset } = parseWatermark(watermark ?? '');
    const read = readFileSync(yard.feed).subarray(0, offset);
    t.equal(createHash('sha256').update(read).digest('hex'), sha256);
    const lines = read.toString('utf8').trimEnd().split('\n');
    const living = new Map<string, { readonly version: number; readonly text: string | null }>();
    for (const { id, version, text = null } of lines.map((line) => JSON.parse(line) as FeedLine))
      if (version > (living.get(id)?.version ?? -1)) living.set(id, { version, text });
    const expected = new Map<string, string>();
    for (const [id, { text }] of living) if (text !== null) expected.set(id, text);
    t.same(await textsOf(bundle), expected, 'as the feed was at the watermark');
    if (chunking !== null) t.ok(bundle.manifest.row_count > bundle.manifest.document_count);
    t.ok(lines.length > COUNT, `${lines.length - COUNT} lines came meanwhile and are in it`);
    await verifyBundle(bundle);
  }
});

t.test('two builds of one version at once: the second is refused', async (t) => {
  const yard = await yardOf(t);
  writeFeed(yard.feed, documentsOf(COUNT));
  const records = fileRecords(yard.varDir, yard.fingerprint);
  let second: Promise<unknown> | null = null;
  await buildWith(yard.varDir, records, requestOf(yard.feed), {
    onCheckpoint: () => {
      second ??= buildWith(yard.varDir, records, requestOf(yard.feed)).catch((error: unknown) => error);
    },
  });
  t.match(await second, { reason: 'BUILD_LOCKED' });
});

t.test('an aborted build keeps its checkpoints and goes on from them', async (t) => {
  const yard = await yardOf(t);
  writeFeed(yard.feed, documentsOf(COUNT));
  const records = fileRecords(yard.varDir, yard.fingerprint);
  const controller = new AbortController();
  await t.rejects(
    buildWith(yard.varDir, records, requestOf(yard.feed), {
      signal: controller.signal,
      onCheckpoint: (name) => {
        if (name === 'snapshot-000001.ckpt') controller.abort(new Error('enough'));
      },
    }),
    /enough/,
  );
  t.ok(existsSync(path.join(yard.varDir, 'bundles', 'docs_kb', 'v1', '.checkpoints')));
  const { embedding } = await buildWith(yard.varDir, records, requestOf(yard.feed));
  t.match(embedding, { checkpointsResumed: 2, documentsResumed: 100, documents: 200 });
});
