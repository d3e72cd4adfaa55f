import { appendFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { openCorpusSource } from '../../src/lifecycle/source/corpus-source.js';
import { Feed } from '../../src/lifecycle/source/feed.js';
import { FeedState } from '../../src/lifecycle/source/feed-state.js';
import { sourceLag } from '../../src/lifecycle/source/source-lag.js';
import { formatWatermark, parseWatermark } from '../../src/lifecycle/source/watermark.js';
import { failureOf, temporaryFolder } from '../index/corpus.js';
import { appendFeed, type FeedLine, feedText, writeFeed } from './reembed-rig.js';

const never = new AbortController().signal;

/** What a feed means, said in another way: for each id the first of the lines with its highest version. */
function modelOf(lines: readonly FeedLine[]): Map<string, string> {
  const ids = [...new Set(lines.map(({ id }) => id))];
  const living = new Map<string, string>();
  for (const id of ids) {
    const own = lines.filter((line) => line.id === id);
    const highest = Math.max(...own.map(({ version }) => version));
    const counts = own.find(({ version }) => version === highest);
    if (counts?.deleted !== true) living.set(id, counts?.text ?? '');
  }
  return living;
}

const line = fc
  .record({
    id: fc.integer({ min: 0, max: 7 }).map((n) => `d${n}`),
    version: fc.integer({ min: 0, max: 9 }),
    deleted: fc.boolean(),
    word: fc.string({ minLength: 1, maxLength: 8 }),
  })
  .map(
    ({ id, version, deleted, word }): FeedLine =>
      deleted ? { id, version, deleted } : { id, version, text: `x${word}` },
  );

t.test(
  'a snapshot and what came after it say what the whole feed says, in any order and cut anywhere',
  async (t) => {
    const file = path.join(temporaryFolder(t), 'feed.jsonl');
    await fc.assert(
      fc.asyncProperty(fc.array(line, { minLength: 1, maxLength: 40 }), fc.nat(), async (lines, cut) => {
        const first = lines.slice(0, 1 + (cut % lines.length));
        writeFeed(file, first);
        if (modelOf(first).size === 0) return;
        const source = await openCorpusSource(file);
        const snapshot = await source.snapshot(null, never);
        appendFeed(file, lines.slice(first.length));
        const texts = new Map<string, string>();
        for await (const { id, text } of snapshot.documents(0)) texts.set(id, text);
        t.same(texts, modelOf(first), 'the snapshot');
        const { changes } = snapshot;
        if (changes === null) throw new Error('a feed has changes');
        const reader = await changes.feed.reader();
        for await (const change of changes.feed.changes(changes.end)) {
          if (changes.state.apply(change) !== 'applied') continue;
          if (change.isDeleted) texts.delete(change.id);
          else texts.set(change.id, (await reader.document(change)).text);
        }
        await reader.close();
        t.same(texts, modelOf(lines), 'and what came after');
        t.same(new Set(changes.state.live().map(({ id }) => id)), new Set(modelOf(lines).keys()));
      }),
      { numRuns: 150, seed: 7 },
    );
  },
);

t.test('a delivery that is repeated, late or out of order changes nothing', async (t) => {
  const state = new FeedState();
  const change = (version: number, isDeleted = false) => ({
    id: 'a',
    version,
    isDeleted,
    offset: version,
    bytes: 1,
  });
  t.equal(state.apply(change(5)), 'applied');
  t.equal(state.apply(change(5)), 'repeated');
  t.equal(state.apply(change(3)), 'stale');
  t.equal(state.apply(change(6, true)), 'applied');
  t.equal(state.apply(change(4)), 'stale', 'what was deleted stays deleted');
  t.notOk(state.isCurrent('a', 5));
  t.equal(state.apply(change(7)), 'applied', 'until it is written again');
  t.ok(state.isCurrent('a', 7));
});

t.test('a line that is still being written is not there yet', async (t) => {
  const file = path.join(temporaryFolder(t), 'feed.jsonl');
  writeFeed(file, [{ id: 'a', version: 1, text: 'one' }]);
  appendFileSync(file, '{"id":"b","version":1,"te');
  const snapshot = await (await openCorpusSource(file)).snapshot(null, never);
  t.equal(snapshot.documentCount, 1);
  const end = snapshot.changes?.end ?? { offset: 0, changes: 0 };
  t.match(end, { changes: 1 });
  const feed = new Feed(file);
  const watermark = formatWatermark(await feed.positionAt(end.offset, end.changes));
  t.match(await sourceLag(file, watermark), { changesBehind: 0 });
  appendFileSync(file, 'xt":"two"}\n');
  t.match(await sourceLag(file, watermark), {
    kind: 'feed',
    changesBehind: 1,
    documentsBehind: 1,
    watermark,
  });
});

t.test('the lag counts changes and documents; a file that brings no versions is frozen', async (t) => {
  const folder = temporaryFolder(t);
  const file = path.join(folder, 'feed.jsonl');
  writeFeed(file, [{ id: 'a', version: 1, text: 'one' }]);
  const feed = new Feed(file);
  const position = await feed.positionAt(await feed.endOffset(), 1);
  const watermark = formatWatermark(position);
  t.same(parseWatermark(watermark), position);
  appendFeed(file, [
    { id: 'a', version: 2, text: 'two' },
    { id: 'a', version: 3, deleted: true },
    { id: 'b', version: 1, text: 'new' },
  ]);
  const lag = await sourceLag(file, watermark);
  t.match(lag, { kind: 'feed', changesBehind: 3, documentsBehind: 2, lastChangeAt: Date });
  if (lag.kind === 'feed') t.match(await sourceLag(file, lag.newest), { changesBehind: 0, bytesBehind: 0 });
  const plain = path.join(folder, 'plain.jsonl');
  writeFileSync(plain, '{"id":"a","text":"one"}\n');
  t.same(await sourceLag(plain, watermark), { kind: 'frozen' });
  t.same(await sourceLag(file, null), { kind: 'frozen' });
  writeFeed(file, [
    { id: 'z', version: 1, text: 'another feed of this name, which is longer than the first' },
  ]);
  t.match(await failureOf(sourceLag(file, watermark)), {
    reason: 'INVALID_INPUT_FILE',
    message: /another feed/,
  });
  t.match(await failureOf(sourceLag(file, 'yesterday')), { reason: 'INVALID_ARGUMENT' });
});

t.test('a bad line of a feed is refused with its place', async (t) => {
  const file = path.join(temporaryFolder(t), 'feed.jsonl');
  const good = feedText([{ id: 'a', version: 1, text: 'one' }]);
  const cases: [string, RegExp][] = [
    ['{"id":"b","text":"no version"}', /at byte 36: version must be a whole number/],
    ['{"id":"b","version":1.5,"text":"x"}', /version must be a whole number/],
    ['{"id":"b","version":-1,"text":"x"}', /version must be a whole number/],
    ['{"id":"b","version":1,"deleted":"yes"}', /deleted must be true or false/],
    [
      '{"id":"b","version":1,"deleted":true,"text":"x"}',
      /a deletion has id, version and deleted, not "text"/,
    ],
    ['{"id":"","version":1,"deleted":true}', /id must be a non-empty string/],
    ['{"id":"b","version":1,"text":"x","vector":[1]}', /brings texts to embed, not vectors/],
    ['{"id":"b","version":1,"text":" "}', /text must be a non-empty string/],
    ['{"id":"b","version":1', /is not valid JSON/],
    ['[]', /must be a JSON object/],
  ];
  for (const [bad, message] of cases) {
    writeFileSync(file, `${good}${bad}\n`);
    const source = await openCorpusSource(file);
    t.match(await failureOf(source.snapshot(null, never)), { reason: 'INVALID_INPUT_FILE', message });
  }
  writeFeed(file, [{ id: 'a', version: 1, deleted: true }]);
  const source = await openCorpusSource(file);
  t.match(await failureOf(source.snapshot(null, never)), { message: /holds no document/ });
});
