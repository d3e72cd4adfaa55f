import { Worker } from 'node:worker_threads';

/** Arrivals closer together than this share a wake-up. */
const TOGETHER_MS = 0.05;

const SOURCE = `
const { parentPort, workerData } = require('node:worker_threads');
const cell = new Int32Array(new SharedArrayBuffer(4));
const nowMs = () => Number(process.hrtime.bigint()) / 1e6;
const { due, startMs } = workerData;
for (let at = 0; at < due.length; ) {
  const waitMs = startMs + due[at] - nowMs();
  if (waitMs > 0) Atomics.wait(cell, 0, 0, waitMs);
  const passedMs = nowMs() - startMs + ${TOGETHER_MS};
  while (at < due.length && due[at] <= passedMs) at++;
  parentPort.postMessage(at);
}
`;

/**
 * Calls `arrived(count)` when the first `count` of `dueMs` are due. Node's own timers tick in whole milliseconds, which
 * is as long as what is measured; a thread that sleeps in `Atomics.wait` wakes in tens of microseconds.
 * `startMs` is on the clock of `process.hrtime`.
 */
export function tick(dueMs: Float64Array, startMs: number, arrived: (count: number) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(SOURCE, { eval: true, workerData: { due: dueMs, startMs } });
    worker.on('message', arrived);
    worker.on('error', reject);
    worker.on('exit', () => resolve());
  });
}
