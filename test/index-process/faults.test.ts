import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { failureOf, queryOf, rowOf, temporaryFolder, testCorpus } from '../index/corpus.js';
import { isRunning, until } from '../process/wait.js';
import { type Built, build, openBuilt, pidOf, reasonOf, startProcesses } from './start.js';

const corpus = testCorpus(1, 2000);
const home = temporaryFolder(t);
let built: Built;
t.before(async () => {
  built = await build(home, corpus, { storeDocuments: true });
});

for (const signal of ['SIGKILL', 'SIGSEGV'] as const)
  t.test(`${signal} during searches fails those, retryably, and the index comes back the same`, async (t) => {
    const { processes, logs } = startProcesses(t);
    const index = await openBuilt(processes, built);
    const before = await index.search(queryOf(rowOf(corpus, 3), { topK: 50, withDocument: true }));
    for (let restarts = 1; restarts <= 2; restarts++) {
      const pid = pidOf(index);
      // Stopped, so that none is answered before the signal comes, however busy this machine is.
      process.kill(pid, 'SIGSTOP');
      const lost = Array.from({ length: 40 }, (_, row) =>
        reasonOf(index.search(queryOf(rowOf(corpus, row), { topK: 1000 }))),
      );
      process.kill(pid, signal);
      process.kill(pid, 'SIGCONT');
      const reasons = await Promise.all(lost);
      t.same(new Set(reasons), new Set(['INDEX_UNAVAILABLE']));
      t.equal(await reasonOf(index.search(queryOf(rowOf(corpus, 3)))), 'INDEX_UNAVAILABLE', 'at once');
      t.same(index.load, { owed: 0, bytes: 0, bufferedBytes: 0 });
      t.equal(processes.counters.openIndexes, 0);
      await until('it is back', () => index.state.kind === 'ready');
      t.not(pidOf(index), pid);
      const after = await index.search(queryOf(rowOf(corpus, 3), { topK: 50, withDocument: true }));
      t.strictSame(after.hits, before.hits);
      t.equal(processes.counters.restarts, restarts);
    }
    t.ok(logs.some((line) => line.includes(`was ended by ${signal}`)));
  });

t.test('a crash of one index process is not noticed by another', async (t) => {
  const { processes } = startProcesses(t);
  const other = await build(home, corpus, { version: 'neighbour' });
  const [first, second] = await Promise.all([openBuilt(processes, built), openBuilt(processes, other)]);
  const answers = Array.from({ length: 50 }, (_, row) => second.search(queryOf(rowOf(corpus, row))));
  process.kill(pidOf(first), 'SIGSEGV');
  (await Promise.all(answers)).forEach((answer, row) => {
    if (answer.hits[0]?.id !== `doc-1-${row}`) t.fail(`row ${row}`);
  });
  t.equal(second.restarts, 0);
});

t.test('a stopped process holds a bounded amount, deadlines hold, and the watch restarts it', async (t) => {
  const { processes, logs } = startProcesses(t, { silentMsMax: 1_500, queueLengthMax: 100 });
  const index = await openBuilt(processes, built);
  const pid = pidOf(index);
  process.kill(pid, 'SIGSTOP');
  const reasons = new Map<string, number>();
  let owedMax = 0;
  for (let wave = 0; wave < 20 && index.state.kind === 'ready'; wave++) {
    const deadlineAtMs = performance.now() + 200;
    const all = Array.from({ length: 300 }, (_, i) =>
      index.search(
        queryOf(rowOf(corpus, 0), { deadlineAtMs, topK: 1000, lane: i % 2 === 0 ? 'shadow' : 'live' }),
      ),
    );
    owedMax = Math.max(owedMax, index.load.owed);
    for (const reason of await Promise.all(all.map(reasonOf)))
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  }
  t.ok((reasons.get('DEADLINE_EXCEEDED') ?? 0) > 0);
  t.ok((reasons.get('QUEUE_FULL') ?? 0) > 0);
  t.notOk(reasons.has('answered'));
  t.equal(owedMax, 200, 'the bound of both lanes');
  await until('killed by the watch', () => !isRunning(pid));
  await until('it is back', () => index.state.kind === 'ready');
  t.ok(logs.some((line) => line.includes('gave no sign')));
  t.equal((await index.search(queryOf(rowOf(corpus, 9)))).hits[0]?.id, 'doc-1-9');
  const { expired, refused } = processes.counters;
  t.ok(expired <= 200, `${expired} were sent, and told at their deadline`);
  t.equal(refused, reasons.get('QUEUE_FULL'));
});

t.test('a process that sleeps shorter than the watch allows goes on where it was', async (t) => {
  const { processes } = startProcesses(t, { silentMsMax: 10_000 });
  const index = await openBuilt(processes, built);
  const pid = pidOf(index);
  process.kill(pid, 'SIGSTOP');
  const answers = Array.from({ length: 20 }, (_, row) => index.search(queryOf(rowOf(corpus, row))));
  const late = reasonOf(index.search(queryOf(rowOf(corpus, 0), { deadlineAtMs: performance.now() + 30 })));
  t.equal(await late, 'DEADLINE_EXCEEDED');
  process.kill(pid, 'SIGCONT');
  (await Promise.all(answers)).forEach((answer, row) => {
    if (answer.hits[0]?.id !== `doc-1-${row}`) t.fail(`row ${row}`);
  });
  await until('the late answer came and was thrown away', () => index.load.owed === 0);
  t.same([pidOf(index), index.restarts], [pid, 0]);
});

t.test(
  'a bundle damaged between two starts is refused by the name of the file until it is whole',
  async (t) => {
    const own = await build(temporaryFolder(t), corpus);
    const { processes, logs } = startProcesses(t);
    const index = await openBuilt(processes, own);
    const file = path.join(own.bundle.folder, 'index.usearch');
    const whole = readFileSync(file);
    const bytes = Buffer.from(whole);
    // 200 bytes of the graph: usearch would open it, and crash in a search.
    bytes.fill(0x5a, bytes.length >> 1, (bytes.length >> 1) + 200);
    process.kill(pidOf(index), 'SIGKILL');
    await until('it is down', () => index.state.kind !== 'ready');
    writeFileSync(file, bytes);
    await until('refused', () => index.state.kind === 'failed');
    // In one turn of the loop: it is tried again soon.
    const [state, unavailable] = [index.state, index.unavailable];
    const refused = await failureOf(index.search(queryOf(rowOf(corpus, 0))));
    t.match(refused, { reason: 'INDEX_UNAVAILABLE', message: /cannot be opened: index\.usearch in / });
    t.match(unavailable, { message: (refused as Error).message });
    t.ok(logs.some((line) => line.startsWith('error') && line.includes('index.usearch')));
    t.match(state, {
      kind: 'failed',
      attempt: Number,
      error: { reason: 'CORRUPT_BUNDLE', details: { file: 'index.usearch' } },
    });
    await until('tried again in vain', () => index.state.kind === 'failed' && index.state.attempt > 2);
    writeFileSync(file, whole);
    await until('it is back', () => index.state.kind === 'ready');
    t.equal(index.unavailable, null);
    t.equal((await index.search(queryOf(rowOf(corpus, 9)))).hits[0]?.id, 'doc-1-9');
  },
);

t.test('close answers what was accepted, refuses what comes after, and leaves no process', async (t) => {
  const { processes } = startProcesses(t);
  const index = await openBuilt(processes, built);
  const pid = pidOf(index);
  const accepted = Array.from({ length: 50 }, (_, row) => index.search(queryOf(rowOf(corpus, row))));
  const closed = index.close();
  t.equal(await reasonOf(index.search(queryOf(rowOf(corpus, 0)))), 'INDEX_UNAVAILABLE');
  (await Promise.all(accepted)).forEach((answer, row) => {
    if (answer.hits[0]?.id !== `doc-1-${row}`) t.fail(`row ${row}`);
  });
  await closed;
  await index.close();
  t.notOk(isRunning(pid));
  t.same(processes.indexes, []);
});

t.test('close ends a stopped process, a waiting one and one that is still opening', async (t) => {
  const { processes, logs } = startProcesses(t, {
    closeGraceMs: 200,
    backoff: { delayMsFirst: 60_000, delayMsMax: 60_000, factor: 1, jitter: 0, stableAfterMs: 1 },
  });
  const stopped = await openBuilt(processes, built);
  const pid = pidOf(stopped);
  const waiting = await openBuilt(processes, built);
  process.kill(pidOf(waiting), 'SIGKILL');
  await until('it waits', () => waiting.state.kind === 'waiting');
  process.kill(pid, 'SIGSTOP');
  const lost = reasonOf(stopped.search(queryOf(rowOf(corpus, 0))));
  const opening = reasonOf(openBuilt(processes, built));
  await until('a third one starts', () => processes.indexes.length === 3);
  const third = processes.indexes[2]?.state;
  await processes.close();
  t.same([await lost, await opening], ['INDEX_UNAVAILABLE', 'INDEX_UNAVAILABLE']);
  t.notOk(isRunning(pid));
  t.notOk(third?.kind === 'starting' && third.pid !== null && isRunning(third.pid));
  t.same(processes.indexes, []);
  t.ok(logs.some((line) => line.includes('did not end in time')));
  t.equal(await reasonOf(openBuilt(processes, built)), 'INDEX_UNAVAILABLE', 'closed is closed');
});

t.test('an opening that is aborted leaves no process', async (t) => {
  const { processes } = startProcesses(t);
  const abort = new AbortController();
  const { bundle, options } = built;
  const { fingerprint } = options.model;
  const opening = processes.open(bundle, {
    expected: { fingerprint, dimensions: 32, metric: 'cosine' },
    signal: abort.signal,
  });
  await until('it starts', () => processes.indexes.length === 1);
  abort.abort(new Error('no longer wanted'));
  t.match(await failureOf(opening), { message: 'no longer wanted' });
  t.same(processes.indexes, []);
});

t.test('a process that dies while it opens for the first time fails the opening', async (t) => {
  const { processes } = startProcesses(t);
  const opening = failureOf(openBuilt(processes, built));
  const starting = (): number | null => {
    const state = processes.indexes[0]?.state;
    return state?.kind === 'starting' ? state.pid : null;
  };
  await until('it starts', () => starting() !== null);
  process.kill(starting() as number, 'SIGSEGV');
  t.match(await opening, { reason: 'INDEX_UNAVAILABLE', message: /was ended by SIGSEGV/ });
  t.same(processes.indexes, []);
});

t.test('an index process whose gateway is killed ends by itself', async (t) => {
  const script = fileURLToPath(new URL('./parent-main.js', import.meta.url));
  const parent = spawn(process.execPath, [script, built.bundle.folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => parent.kill('SIGKILL'));
  let printed = '';
  parent.stdout.on('data', (chunk: Buffer) => {
    printed += chunk.toString();
  });
  await until('the index is open', () => printed.endsWith('\n'));
  const pid = Number(printed);
  t.ok(isRunning(pid));
  parent.kill('SIGKILL');
  await until('the index process is gone', () => !isRunning(pid));
});
