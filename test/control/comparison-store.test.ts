import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pino } from 'pino';
import t from 'tap';
import { ComparisonStore, readHashKey } from '../../src/gateway/wiring/comparison-store.js';
import { compareAnswers } from '../../src/router/comparison.js';
import {
  type ComparedPair,
  ComparisonRecorder,
  DEFAULT_RECORDER,
} from '../../src/router/comparison-recorder.js';
import type { Digest, Fingerprint } from '../../src/vocabulary.js';
import { silentLog, type Teardown, temporaryFolder } from '../fixtures/postgres.js';

const compared = (version: string, letter: string) => ({
  version,
  build: letter.repeat(64) as Digest,
  model: 'm@1',
  fingerprint: `mf1_${letter.repeat(32)}` as Fingerprint,
});
const PAIR: ComparedPair = {
  corpus: 'docs',
  kind: 'noise_floor',
  primary: compared('v1', 'a'),
  shadow: compared('v2', 'b'),
};

async function startStore(t: Teardown, varDir: string, keepTexts = false, log = silentLog) {
  const recorder = new ComparisonRecorder({
    ...DEFAULT_RECORDER,
    keepTexts,
    hashKey: await readHashKey(varDir),
  });
  const store = new ComparisonStore({ varDir, recorder, keepTexts, corpora: () => ['docs'], log });
  await store.start();
  t.teardown(() => store.close());
  const disagree = (text: string): void => {
    const [ids, others] = [
      ['x', 'y'],
      ['y', 'x'],
    ];
    const answer = (list: string[]) => ({ ids: list, scores: [2, 1], serviceUs: 1 });
    recorder.record(PAIR, compareAnswers(2, answer(ids), answer(others)), {
      text,
      vector: null,
      primaryIds: ids,
      shadowIds: others,
    });
  };
  return { store, disagree, recorder, worst: () => recorder.report('docs')[0]?.worst ?? [] };
}

t.test('the worst queries outlive a restart, and equal queries keep their hash', async (t) => {
  const varDir = await temporaryFolder(t);
  const first = await startStore(t, varDir);
  first.disagree('the secret query');
  const [before] = first.worst();
  await first.store.close();
  t.notMatch(await readFile(path.join(varDir, 'comparisons', 'docs.json'), 'utf8'), /secret/);
  const second = await startStore(t, varDir);
  t.same(second.worst(), [before]);
  t.same(second.recorder.report('docs')[0]?.pair, PAIR);
  second.disagree('the secret query');
  t.equal(second.worst().length, 1, 'it is the same query');
});

t.test('two gateways of one folder add to each other', async (t) => {
  const varDir = await temporaryFolder(t);
  const [one, two] = [await startStore(t, varDir), await startStore(t, varDir)];
  one.disagree('first');
  two.disagree('second');
  await one.store.close();
  await two.store.close();
  t.equal((await startStore(t, varDir)).worst().length, 2);
});

t.test('texts are kept only while that is configured', async (t) => {
  const varDir = await temporaryFolder(t);
  const first = await startStore(t, varDir, true);
  first.disagree('hello');
  await first.store.close();
  t.equal((await startStore(t, varDir, true)).worst()[0]?.text, 'hello');
  t.equal((await startStore(t, varDir, false)).worst()[0]?.text, null);
});

t.test('a damaged list is refused by name and starts anew', async (t) => {
  const varDir = await temporaryFolder(t);
  const file = path.join(varDir, 'comparisons', 'docs.json');
  const first = await startStore(t, varDir);
  first.disagree('hello');
  await first.store.close();
  await writeFile(file, (await readFile(file, 'utf8')).replace('"k":2', '"k":3'));
  const lines: string[] = [];
  const second = await startStore(t, varDir, false, pino({}, { write: (line: string) => lines.push(line) }));
  t.same(second.worst(), []);
  t.match(lines.join(''), /docs\.json does not have its checksum/);
});
