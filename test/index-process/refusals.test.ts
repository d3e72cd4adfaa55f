import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import {
  expectedOf,
  FINGERPRINT,
  failureOf,
  OTHER_FINGERPRINT,
  queryOf,
  rowOf,
  temporaryFolder,
  testCorpus,
} from '../index/corpus.js';
import { build, openBuilt, reasonOf, startProcesses } from './start.js';

const corpus = testCorpus(1, 300);

t.test('a query of another model, or a broken one, is refused before anything crosses', async (t) => {
  const { processes } = startProcesses(t);
  const index = await openBuilt(processes, await build(temporaryFolder(t), corpus));
  const values = rowOf(corpus, 0);
  const changed = (value: number): Float32Array => values.map((old, at) => (at === 31 ? value : old));
  const mismatch = queryOf(values, { vector: { fingerprint: OTHER_FINGERPRINT, values } });
  t.match(await failureOf(index.search(mismatch)), {
    reason: 'FINGERPRINT_MISMATCH',
    details: { query_fingerprint: OTHER_FINGERPRINT, index_fingerprint: FINGERPRINT },
  });
  const bad = [
    [values.slice(1), 'DIMENSION_MISMATCH'],
    [new Float32Array(64).fill(1), 'DIMENSION_MISMATCH'],
    [changed(Number.NaN), 'NON_FINITE_VECTOR'],
    [changed(Number.POSITIVE_INFINITY), 'NON_FINITE_VECTOR'],
    [new Float32Array(32), 'ZERO_VECTOR'],
  ] as const;
  for (const [vector, reason] of bad) t.equal(await reasonOf(index.search(queryOf(vector))), reason);
  for (const topK of [0, 1.5, 1001])
    t.equal(await reasonOf(index.search(queryOf(values, { topK }))), 'INVALID_ARGUMENT');
  const late = queryOf(values, { deadlineAtMs: performance.now() });
  t.equal(await reasonOf(index.search(late)), 'DEADLINE_EXCEEDED');
  t.same(processes.counters.searches, 0);
  t.same(index.load, { owed: 0, bytes: 0, bufferedBytes: 0 });
});

t.test('a bundle of another model is refused without a process', async (t) => {
  const { processes, logs } = startProcesses(t);
  const { bundle, options } = await build(temporaryFolder(t), corpus);
  for (const [field, value] of [
    ['fingerprint', OTHER_FINGERPRINT],
    ['dimensions', 64],
    ['metric', 'l2'],
  ] as const) {
    const opening = processes.open(bundle, { expected: { ...expectedOf(options), [field]: value } });
    t.match(await failureOf(opening), { reason: 'FINGERPRINT_MISMATCH', details: { field } });
  }
  t.same(logs, []);
});

t.test('a damaged bundle is refused by the name of the file, and its process is gone', async (t) => {
  const { processes } = startProcesses(t);
  const built = await build(temporaryFolder(t), corpus, { storeDocuments: true });
  for (const file of ['index.usearch', 'vectors.f32', 'ids.bin', 'documents.jsonl']) {
    const place = path.join(built.bundle.folder, file);
    const bytes = readFileSync(place);
    const middle = bytes.length >> 1;
    writeFileSync(
      place,
      bytes.map((byte, at) => (at === middle ? byte ^ 1 : byte)),
    );
    t.match(await failureOf(openBuilt(processes, built)), { reason: 'CORRUPT_BUNDLE', details: { file } });
    truncateSync(place, middle);
    t.match(await failureOf(openBuilt(processes, built)), { reason: 'CORRUPT_BUNDLE', details: { file } });
    writeFileSync(place, bytes);
  }
  t.same(processes.indexes, []);
  const index = await openBuilt(processes, built);
  t.equal((await index.search(queryOf(rowOf(corpus, 5)))).hits[0]?.id, 'doc-1-5');
});

t.test('options outside their limits are refused by name', (t) => {
  for (const [name, value] of [
    ['workers', 0],
    ['queueLengthMax', 0.5],
    ['silentMsMax', 0],
    ['closeGraceMs', Number.NaN],
  ] as const)
    t.throws(() => startProcesses(t, { [name]: value }), {
      reason: 'INVALID_CONFIG',
      message: new RegExp(name),
    });
  t.end();
});
