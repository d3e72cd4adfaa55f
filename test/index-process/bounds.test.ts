import t from 'tap';
import { failureOf, queryOf, rowOf, type TestCorpus, temporaryFolder, testCorpus } from '../index/corpus.js';
import { build, openBuilt, reasonOf, startProcesses } from './start.js';

/** 1 000 documents of 80 kB: more than one answer may have. */
const TEXT_BYTES = 80_000;
const small = testCorpus(1, 1000, 16);
const large: TestCorpus = {
  ...small,
  rows: small.rows.map((row, i) => ({ ...row, document: { text: `${i} `.padEnd(TEXT_BYTES, 'long ') } })),
};

t.test('huge answers are bounded one by one and together', async (t) => {
  const { processes } = startProcesses(t);
  const index = await openBuilt(processes, await build(temporaryFolder(t), large, { storeDocuments: true }));
  const ask = (topK: number) => index.search(queryOf(rowOf(large, 0), { topK, withDocument: true }));

  const error = await failureOf(ask(1000));
  t.match(error, { reason: 'REQUEST_TOO_LARGE', details: { limit: String(64 * 1024 * 1024) } });
  const together = await Promise.all([ask(300), ask(300), ask(300), ask(1)].map(reasonOf));
  t.same(together, ['answered', 'answered', 'QUEUE_FULL', 'answered'], '24 MB each, 64 MiB for all');
  t.same(index.load, { owed: 0, bytes: 0, bufferedBytes: 0 });

  const answer = await ask(300);
  t.same([answer.hits.length, answer.hits[0]?.document?.text?.length], [300, TEXT_BYTES]);
  for (const { id, document } of answer.hits)
    if (document?.text?.startsWith(`${id.slice('doc-1-'.length)} `) !== true) t.fail(id);
  const plain = await index.search(queryOf(rowOf(large, 0), { topK: 1000 }));
  t.equal(plain.hits.length, 1000, 'without documents all of them');
  t.equal(index.restarts, 0);
});

t.test('a lane that is full refuses, and the other lanes do not notice', async (t) => {
  const { processes } = startProcesses(t, { queueLengthMax: 5 });
  const index = await openBuilt(processes, await build(temporaryFolder(t), small));
  const shadow = Array.from({ length: 20 }, () =>
    reasonOf(index.search(queryOf(rowOf(small, 0), { lane: 'shadow' }))),
  );
  t.equal(await reasonOf(index.search(queryOf(rowOf(small, 1)))), 'answered');
  const reasons = await Promise.all(shadow);
  t.equal(reasons.filter((reason) => reason === 'answered').length, 5);
  t.equal(reasons.filter((reason) => reason === 'QUEUE_FULL').length, 15);
  t.match(processes.counters, { searches: 21, refused: 15, failures: 0 });
});
