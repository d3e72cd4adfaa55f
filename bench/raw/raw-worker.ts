import { parentPort, workerData } from 'node:worker_threads';
import { Index, MetricKind, ScalarKind } from 'usearch';
import type { RawJudged, RawSetup, RawTask, RawTaskResult, ToRawWorker } from './raw-protocol.js';

/** One thread of usearch alone: nothing between the queries and the library but a loop. */
const setup = workerData as RawSetup;
const index = new Index({
  dimensions: setup.dimensions,
  metric: MetricKind.Cos,
  quantization: ScalarKind.BF16,
  connectivity: setup.connectivity,
  expansion_add: setup.expansionAdd,
  expansion_search: setup.expansionSearch,
  multi: false,
});
index.view(setup.indexFile);
const truth = setup.truth.map((rows) => new Set(Array.from(rows, BigInt)));
const sleepCell = new Int32Array(new SharedArrayBuffer(4));

/** Of the last run: which query was asked, and what was found. */
let answers: { readonly query: number; readonly keys: BigUint64Array }[] = [];

const nowMs = (): number => {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e3 + nanoseconds / 1e6;
};

function work(task: RawTask): RawTaskResult {
  const taken = new Int32Array(task.taken);
  const latencies: number[] = [];
  answers = [];
  for (;;) {
    const at = Atomics.add(taken, 0, 1);
    let startedMs = nowMs();
    if (task.dueMs !== null) {
      const dueMs = task.dueMs[at];
      if (dueMs === undefined) break;
      const waitMs = task.startMs + dueMs - startedMs;
      if (waitMs > 0) Atomics.wait(sleepCell, 0, 0, waitMs);
      startedMs = task.startMs + dueMs;
    } else if (startedMs >= task.endMs) break;
    const query = (task.from + at) % setup.queries.length;
    const { keys } = index.search(setup.queries[query] as Float32Array, setup.topK, 1);
    latencies.push((nowMs() - startedMs) * 1000);
    answers.push({ query, keys: keys as BigUint64Array });
  }
  return { latenciesUs: Float64Array.from(latencies) };
}

function judge(): RawJudged {
  let [found, expected] = [0, 0];
  for (const { query, keys } of answers) {
    const wanted = truth[query] as ReadonlySet<bigint>;
    for (const key of keys) if (wanted.has(key)) found++;
    expected += wanted.size;
  }
  return { found, expected };
}

parentPort?.on('message', (message: ToRawWorker) => {
  if (message === null) parentPort?.close();
  else parentPort?.postMessage(message === 'judge' ? judge() : work(message));
});
parentPort?.postMessage(null);
