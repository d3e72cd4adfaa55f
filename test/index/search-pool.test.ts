import { readFileSync } from 'node:fs';
import type { Worker } from 'node:worker_threads';
import t from 'tap';
import type { BuildOptions } from '../../src/index/build-options.js';
import type { Bundle } from '../../src/index/manifest.js';
import { openIndex } from '../../src/index/open-index.js';
import type { IndexAnswer } from '../../src/index/search-index.js';
import { SearchPool } from '../../src/index/search-pool.js';
import {
  buildTestBundle,
  expectedOf,
  FINGERPRINT,
  failureOf,
  OTHER_FINGERPRINT,
  optionsOf,
  queryOf,
  rowOf,
  temporaryFolder,
  testCorpus,
} from './corpus.js';

const corpus = testCorpus(1, 2000);
const home = temporaryFolder(t);
const options: BuildOptions = optionsOf(home);
let bundle: Bundle;
t.before(async () => {
  bundle = await buildTestBundle(home, corpus, options);
});

const open = (workers = 2, queueLengthMax = 1000) =>
  openIndex(bundle, { workers, queueLengthMax, expected: expectedOf(options) });

/** Real worker threads as Node announces them, to crash them from outside. */
function watchSearchWorkers(t: { teardown(fn: () => void): unknown }): Worker[] {
  const workers: Worker[] = [];
  const onWorker = (worker: Worker): void => void workers.push(worker);
  process.on('worker', onWorker);
  t.teardown(() => process.off('worker', onWorker));
  return workers;
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}

t.test('a query of another model with the same dimensions is refused', async (t) => {
  const index = await open(1);
  t.teardown(() => index.close());
  const values = rowOf(corpus, 0);
  const error = await failureOf(
    index.search(queryOf(values, { vector: { fingerprint: OTHER_FINGERPRINT, values } })),
  );
  t.match(error, {
    reason: 'FINGERPRINT_MISMATCH',
    details: { query_fingerprint: OTHER_FINGERPRINT, index_fingerprint: FINGERPRINT },
  });
  t.equal(index.pool.counters.searches, 0, 'before it reached the pool');
});

t.test('the fingerprint is compared before anything else is looked at', async (t) => {
  const index = await open(1);
  t.teardown(() => index.close());
  const values = new Float32Array(3).fill(Number.NaN);
  const query = queryOf(values, {
    vector: { fingerprint: OTHER_FINGERPRINT, values },
    topK: 0,
    deadlineAtMs: 0,
  });
  t.match(await failureOf(index.search(query)), { reason: 'FINGERPRINT_MISMATCH' });
});

t.test('an index does not open for a model that did not build it', async (t) => {
  for (const [field, value] of [
    ['fingerprint', OTHER_FINGERPRINT],
    ['dimensions', 64],
    ['metric', 'l2'],
  ] as const) {
    const expected = { ...expectedOf(options), [field]: value };
    const error = await failureOf(openIndex(bundle, { workers: 1, queueLengthMax: 1, expected }));
    t.match(error, { reason: 'FINGERPRINT_MISMATCH', details: { field } });
  }
});

t.test('bad vectors are refused by reason', async (t) => {
  const index = await open(1);
  t.teardown(() => index.close());
  const values = rowOf(corpus, 0);
  const changed = (value: number): Float32Array => {
    const copy = values.slice();
    copy[31] = value;
    return copy;
  };
  const bad: readonly (readonly [string, Float32Array, string])[] = [
    ['empty', new Float32Array(0), 'DIMENSION_MISMATCH'],
    ['one short', values.slice(1), 'DIMENSION_MISMATCH'],
    ['twice as long', new Float32Array(64).fill(1), 'DIMENSION_MISMATCH'],
    ['NaN', changed(Number.NaN), 'NON_FINITE_VECTOR'],
    ['Infinity', changed(Number.POSITIVE_INFINITY), 'NON_FINITE_VECTOR'],
    ['-Infinity', changed(Number.NEGATIVE_INFINITY), 'NON_FINITE_VECTOR'],
    ['zero', new Float32Array(32), 'ZERO_VECTOR'],
    ['too small to have a direction', new Float32Array(32).fill(1e-30), 'INVALID_ARGUMENT'],
    ['too large to square', new Float32Array(32).fill(1e30), 'INVALID_ARGUMENT'],
  ];
  for (const [name, vector, reason] of bad)
    t.match(await failureOf(index.search(queryOf(vector))), { reason }, name);
  for (const topK of [0, -1, 1.5, 1001, Number.NaN])
    t.match(
      await failureOf(index.search(queryOf(values, { topK }))),
      { reason: 'INVALID_ARGUMENT' },
      `top_k ${topK}`,
    );
});

t.test('the length of a vector does not matter under cosine', async (t) => {
  const index = await open(1);
  t.teardown(() => index.close());
  const ids = (answer: IndexAnswer) => answer.hits.map((hit) => hit.id);
  const plain = ids(await index.search(queryOf(rowOf(corpus, 5))));
  for (const scale of [1e-10, 1e-3, 1e3, 1e10])
    t.strictSame(ids(await index.search(queryOf(rowOf(corpus, 5).map((value) => value * scale)))), plain);
});

t.test('a vector that its owner changes after the call does not change the answer', async (t) => {
  const index = await open(1);
  t.teardown(() => index.close());
  const values = rowOf(corpus, 7);
  const answer = index.search(queryOf(values));
  values.fill(1);
  t.equal((await answer).hits[0]?.id, 'doc-1-7');
});

t.test(
  'a pool is behind while more live searches wait than its workers have at hand, and not for bulk ones',
  async (t) => {
    const index = await open(1);
    t.teardown(() => index.close());
    const search = (count: number, lane: 'live' | 'bulk') =>
      Promise.all(
        Array.from({ length: count }, (_, row) => index.search(queryOf(rowOf(corpus, row), { lane }))),
      );
    t.equal(index.pool.isBehind, false);
    const few = search(2, 'live');
    t.equal(index.pool.isBehind, false, 'one in work and one behind it');
    await few;
    const bulk = search(20, 'bulk');
    t.equal(index.pool.isBehind, false);
    await bulk;
    const many = search(20, 'live');
    t.equal(index.pool.isBehind, true);
    await many;
    t.equal(index.pool.isBehind, false);
  },
);

t.test('many searches at once share messages and get their own answers', async (t) => {
  const index = await open(2);
  t.teardown(() => index.close());
  const answers = await Promise.all(
    Array.from({ length: 400 }, (_, row) =>
      index.search(queryOf(rowOf(corpus, row), { topK: 1 + (row % 20) })),
    ),
  );
  answers.forEach((answer, row) => {
    if (answer.hits[0]?.id !== `doc-1-${row}` || answer.hits.length !== 1 + (row % 20)) t.fail(`row ${row}`);
  });
  t.equal(index.pool.counters.searches, 400);
  t.ok(index.pool.counters.groups <= 100, `${index.pool.counters.groups} messages`);
});

t.test('a lane that is full refuses, and the other lanes do not notice', async (t) => {
  const index = await open(1, 5);
  t.teardown(() => index.close());
  const bulk = Array.from({ length: 20 }, () =>
    failureOf(index.search(queryOf(rowOf(corpus, 0), { lane: 'bulk' }))),
  );
  const live = index.search(queryOf(rowOf(corpus, 1)));
  t.equal((await live).hits[0]?.id, 'doc-1-1');
  const refused = (await Promise.all(bulk)).filter((error) => error !== undefined);
  t.equal(refused.length, 15);
  t.match(refused[0], { reason: 'QUEUE_FULL' });
  t.equal(index.pool.counters.refused, 15);
  t.equal(index.pool.queueLength('bulk'), 0);
});

t.test('of a queue that stands what waited too long is refused, bulk first', async (t) => {
  const index = await openIndex(bundle, {
    workers: 1,
    queueLengthMax: 100_000,
    queueTime: { targetMs: 1, maxMs: 5 },
    expected: expectedOf(options),
  });
  t.teardown(() => index.close());
  const outcomes = { live: new Map<string, number>(), bulk: new Map<string, number>() };
  const searches: Promise<void>[] = [];
  const send = (lane: 'live' | 'bulk'): void => {
    const query = queryOf(rowOf(corpus, searches.length % 2000), { lane, topK: 100 });
    const count = (reason: string): void => {
      outcomes[lane].set(reason, (outcomes[lane].get(reason) ?? 0) + 1);
    };
    searches.push(
      index.search(query).then(
        () => count('OK'),
        (error: { readonly reason: string }) => count(error.reason),
      ),
    );
  };
  for (let at = 0; at < 50; at++) send('bulk');
  await until(() => {
    for (let at = 0; at < 500; at++) send('live');
    return index.pool.counters.shed > 0 && (outcomes.live.get('OVERLOADED') ?? 0) > 0;
  });
  await Promise.all(searches);
  t.ok((outcomes.bulk.get('OVERLOADED') ?? 0) > 0, 'bulk too, although live ones were in its way');
  t.ok((outcomes.live.get('OK') ?? 0) > 0, 'what came to its turn in time was searched');
  t.same(new Set([...outcomes.live.keys(), ...outcomes.bulk.keys()]), new Set(['OK', 'OVERLOADED']));
  t.equal((await index.search(queryOf(rowOf(corpus, 0)))).hits.length, 10, 'an empty queue does not stand');
  t.equal(
    index.pool.counters.shed,
    (outcomes.live.get('OVERLOADED') ?? 0) + (outcomes.bulk.get('OVERLOADED') ?? 0),
  );
});

t.test('live searches overtake bulk ones that came before them', async (t) => {
  const index = await open(1);
  t.teardown(() => index.close());
  const order: string[] = [];
  const all = [
    ...Array.from({ length: 100 }, () =>
      index.search(queryOf(rowOf(corpus, 0), { lane: 'bulk', topK: 100 })).then(() => order.push('bulk')),
    ),
    ...Array.from({ length: 10 }, () =>
      index.search(queryOf(rowOf(corpus, 0))).then(() => order.push('live')),
    ),
  ];
  await Promise.all(all);
  const bulkBefore = order.slice(0, order.lastIndexOf('live')).filter((lane) => lane === 'bulk').length;
  t.ok(bulkBefore <= 20, `${bulkBefore} bulk searches were answered before the last live one`);
});

t.test('a search whose deadline has passed costs no worker', async (t) => {
  const index = await open(1);
  t.teardown(() => index.close());
  const late = queryOf(rowOf(corpus, 0), { deadlineAtMs: performance.now() });
  t.match(await failureOf(index.search(late)), { reason: 'DEADLINE_EXCEEDED' });
  const crowd = Array.from({ length: 600 }, () => index.search(queryOf(rowOf(corpus, 0), { topK: 1000 })));
  const waiting = index.search(
    queryOf(rowOf(corpus, 0), { lane: 'bulk', deadlineAtMs: performance.now() + 5 }),
  );
  t.match(await failureOf(waiting), { reason: 'DEADLINE_EXCEEDED' });
  t.equal(index.pool.counters.expired, 1);
  await Promise.all(crowd);
});

t.test(
  'a search whose worker hangs ends at its deadline, once, whatever the worker says later',
  async (t) => {
    const workers = watchSearchWorkers(t);
    const index = await open(1);
    t.teardown(() => index.close());
    const { counters } = index.pool;
    const worker = workers.at(-1) as Worker;
    const post = worker.postMessage.bind(worker);
    const held: unknown[] = [];
    worker.postMessage = (message: { readonly kind: string }) => {
      if (message.kind === 'search') held.push(message);
      else post(message);
    };
    const hung = [1, 2].map((row) =>
      failureOf(index.search(queryOf(rowOf(corpus, row), { deadlineAtMs: performance.now() + 50 }))),
    );
    t.match(await Promise.all(hung), Array(2).fill({ reason: 'DEADLINE_EXCEEDED' }));
    t.ok(held.length > 0, 'they were handed over');
    t.same([counters.expired, counters.failures], [2, 0]);
    worker.postMessage = post;
    for (const message of held) post(message);
    t.equal((await index.search(queryOf(rowOf(corpus, 3)))).hits[0]?.id, 'doc-1-3', 'it goes on');
    t.same([counters.expired, counters.failures], [2, 0]);
  },
);

t.test('a worker that dies fails what it held, retryably, and another takes its place', async (t) => {
  const workers = watchSearchWorkers(t);
  const index = await open(1);
  t.teardown(() => index.close());
  const [worker] = workers.slice(-1);
  // Not a message that a pool sends: the worker throws, as it would on a defect of its own.
  worker?.postMessage({ kind: 'nonsense' });
  const outcomes = await Promise.all(
    Array.from({ length: 50 }, () => failureOf(index.search(queryOf(rowOf(corpus, 3))))),
  );
  t.ok(outcomes.every((error) => (error as { reason?: string } | undefined)?.reason === 'INDEX_UNAVAILABLE'));
  t.ok(new Set(outcomes).size <= 2, 'those that it held share one failure, those that waited another');
  t.match(await failureOf(index.search(queryOf(rowOf(corpus, 3)))), { reason: 'INDEX_UNAVAILABLE' });
  await until(() => index.pool.workersReady === 1);
  t.equal((await index.search(queryOf(rowOf(corpus, 3)))).hits[0]?.id, 'doc-1-3');
  t.equal(index.pool.counters.workerDeaths, 1);
});

t.test('with two workers the death of one leaves the other serving', async (t) => {
  const workers = watchSearchWorkers(t);
  const index = await open(2);
  t.teardown(() => index.close());
  workers.at(-1)?.postMessage({ kind: 'nonsense' });
  await until(() => index.pool.counters.workerDeaths === 1);
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, row) => index.search(queryOf(rowOf(corpus, row)))),
  );
  t.ok(answers.every((answer, row) => answer.hits[0]?.id === `doc-1-${row}`));
  await until(() => index.pool.workersReady === 2);
});

t.test('close answers what was accepted, refuses what comes after, and unmaps', async (t) => {
  const workers = watchSearchWorkers(t);
  const index = await open(2);
  const isMapped = (): boolean => readFileSync('/proc/self/maps', 'utf8').includes(bundle.folder);
  if (process.platform === 'linux') t.ok(isMapped());
  const accepted = Array.from({ length: 200 }, (_, row) => index.search(queryOf(rowOf(corpus, row))));
  const closed = index.close();
  t.match(await failureOf(index.search(queryOf(rowOf(corpus, 0)))), { reason: 'INDEX_UNAVAILABLE' });
  const answers = await Promise.all(accepted);
  t.ok(answers.every((answer, row) => answer.hits[0]?.id === `doc-1-${row}`));
  await closed;
  if (process.platform === 'linux') t.notOk(isMapped());
  t.ok(
    workers.every((worker) => worker.threadId === -1),
    'its threads have ended',
  );
  await index.close();
});

t.test('one pool serves several indexes, each with its own model', async (t) => {
  const otherCorpus = testCorpus(2, 300, 16);
  const otherOptions = optionsOf(home, {
    version: 'v2',
    dimensions: 16,
    model: { name: 'other', version: '1', fingerprint: OTHER_FINGERPRINT },
  });
  const otherBundle = await buildTestBundle(home, otherCorpus, otherOptions);
  const pool = new SearchPool({ workers: 2, queueLengthMax: 1000 });
  t.teardown(() => pool.close());
  const [first, second] = await Promise.all([
    pool.open(bundle, { expected: expectedOf(options) }),
    pool.open(otherBundle, { expected: expectedOf(otherOptions) }),
  ]);
  t.equal(pool.counters.openIndexes, 2);
  const queryOfOther = (row: number) =>
    queryOf(rowOf(otherCorpus, row), {
      vector: { fingerprint: OTHER_FINGERPRINT, values: rowOf(otherCorpus, row) },
    });
  const answers = await Promise.all(
    Array.from({ length: 60 }, (_, row) =>
      row % 2 === 0 ? first.search(queryOf(rowOf(corpus, row))) : second.search(queryOfOther(row)),
    ),
  );
  answers.forEach((answer, row) => {
    if (answer.hits[0]?.id !== `doc-${1 + (row % 2)}-${row}`) t.fail(`row ${row}`);
  });
  t.match(await failureOf(second.search(queryOf(rowOf(corpus, 0)))), { reason: 'FINGERPRINT_MISMATCH' });
  await second.close();
  t.equal(pool.counters.openIndexes, 1);
  t.match(await failureOf(second.search(queryOfOther(0))), { reason: 'INDEX_UNAVAILABLE' });
  t.equal((await first.search(queryOf(rowOf(corpus, 9)))).hits[0]?.id, 'doc-1-9');
});

t.test('opening can be aborted, and leaves no thread behind', async (t) => {
  const workers = watchSearchWorkers(t);
  const controller = new AbortController();
  const opening = openIndex(bundle, {
    workers: 1,
    queueLengthMax: 1,
    expected: expectedOf(options),
    signal: controller.signal,
  });
  controller.abort(new Error('no longer wanted'));
  t.match(await failureOf(opening), { message: 'no longer wanted' });
  await until(() => workers.every((worker) => worker.threadId === -1));
});
