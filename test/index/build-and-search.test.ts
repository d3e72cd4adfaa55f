import { readdirSync } from 'node:fs';
import path from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import t from 'tap';
import { buildBundle } from '../../src/index/build-bundle.js';
import { openIndex } from '../../src/index/open-index.js';
import { digestPrefix } from '../../src/vocabulary.js';
import {
  batchesOf,
  buildTestBundle,
  expectedOf,
  optionsOf,
  queryOf,
  rowOf,
  temporaryFolder,
  testCorpus,
} from './corpus.js';

t.test('a build lies at corpus/version/digest prefix with nothing beside it', async (t) => {
  const folder = temporaryFolder(t);
  const corpus = testCorpus(1, 500);
  const bundle = await buildTestBundle(folder, corpus, { storeDocuments: true });
  t.equal(bundle.folder, path.join(folder, 'docs_kb', 'v1', digestPrefix(bundle.digest)));
  t.strictSame(readdirSync(path.dirname(bundle.folder)), [digestPrefix(bundle.digest)]);
  t.strictSame(readdirSync(bundle.folder).sort(), [
    'documents.jsonl',
    'documents.offsets',
    'ids.bin',
    'index.usearch',
    'manifest.json',
    'vectors.f32',
  ]);
  t.equal(bundle.manifest.row_count, 500);
  t.equal(bundle.manifest.usearch, '2.25.3');
});

t.test('a row finds its own document first, with what was stored of it', async (t) => {
  const folder = temporaryFolder(t);
  const corpus = testCorpus(2, 700);
  const options = optionsOf(folder, { storeDocuments: true });
  const bundle = await buildBundle(options, batchesOf(corpus));
  const index = await openIndex(bundle, { workers: 2, queueLengthMax: 100, expected: expectedOf(options) });
  t.teardown(() => index.close());
  const answers = await Promise.all(
    [0, 1, 250, 699].map((row) => index.search(queryOf(rowOf(corpus, row), { withDocument: true }))),
  );
  t.strictSame(
    answers.map((answer) => answer.hits[0]?.id),
    ['doc-2-0', 'doc-2-1', 'doc-2-250', 'doc-2-699'],
  );
  const hit = answers[2]?.hits[0];
  t.strictSame(hit?.document, { title: 'Title 250', text: 'Text of 2/250 — ünï!!', attributes: { n: 250 } });
  t.ok(Math.abs((hit?.score ?? 0) - 1) < 0.01);
  t.equal(answers[0]?.hits.length, 10);
  t.ok((answers[0]?.searchUs ?? 0) > 0);
});

t.test('the event loop stays alive while a build runs and while a bundle opens', async (t) => {
  const folder = temporaryFolder(t);
  const delay = monitorEventLoopDelay({ resolution: 5 });
  const corpus = testCorpus(3, 6000, 256);
  const options = optionsOf(folder, { dimensions: 256 });
  const phases = new Set<string>();
  delay.enable();
  const started = performance.now();
  const bundle = await buildBundle(
    { ...options, onProgress: ({ phase }) => void phases.add(phase) },
    batchesOf(corpus),
  );
  const index = await openIndex(bundle, { workers: 1, queueLengthMax: 10, expected: expectedOf(options) });
  const elapsedMs = performance.now() - started;
  delay.disable();
  t.teardown(() => index.close());
  const longestMs = delay.max / 1e6;
  t.comment(`${Math.round(elapsedMs)} ms, the longest pause of the event loop ${longestMs.toFixed(1)} ms`);
  // In one thread the graph alone would be a pause of most of the time.
  t.ok(longestMs < elapsedMs / 3);
  t.strictSame([...phases], ['add', 'save', 'recall', 'publish']);
});
