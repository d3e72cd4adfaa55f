import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

/** Arrivals closer together than this share a wake-up. */
const TOGETHER_MS = 0.05;
/** From when the thread has the list of arrivals to the start of the run. */
const START_MARGIN_MS = 50;

const SOURCE = `
const { parentPort } = require('node:worker_threads');
const cell = new Int32Array(new SharedArrayBuffer(4));
const nowMs = () => Number(process.hrtime.bigint()) / 1e6;
parentPort.on('message', (due) => {
  const startMs = nowMs() + ${START_MARGIN_MS};
  parentPort.postMessage({ startMs });
  for (let at = 0; at < due.length; ) {
    const waitMs = startMs + due[at] - nowMs();
    if (waitMs > 0) Atomics.wait(cell, 0, 0, waitMs);
    const passedMs = nowMs() - startMs + ${TOGETHER_MS};
    while (at < due.length && due[at] <= passedMs) at++;
    parentPort.postMessage({ count: at });
  }
  parentPort.postMessage(null);
});
parentPort.postMessage(null);
`;

type FromThread = { readonly startMs: number } | { readonly count: number } | null;

/**
 * Says when requests are due. Node's own timers tick in whole milliseconds, which is as long as what is measured; a
 * thread that sleeps in `Atomics.wait` wakes in tens of microseconds. It is started once and lives as long as its
 * process: starting one takes longer than the hundredth of a run that decides its p99.
 */
export class Ticker {
  readonly #worker: Worker;

  private constructor(worker: Worker) {
    this.#worker = worker;
  }

  static async start(): Promise<Ticker> {
    const worker = new Worker(SOURCE, { eval: true });
    await once(worker, 'message');
    worker.unref();
    return new Ticker(worker);
  }

  /**
   * Calls `arrived(count, startMs)` when the first `count` of `dueMs`, which count from `startMs`, are due; `startMs` is
   * on the clock of `process.hrtime`. One list at a time. Resolves after the last.
   */
  tick(dueMs: Float64Array, arrived: (count: number, startMs: number) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      let startMs = 0;
      const hear = (message: FromThread): void => {
        if (message === null) {
          this.#worker.off('message', hear);
          this.#worker.off('error', reject);
          resolve();
        } else if ('startMs' in message) startMs = message.startMs;
        else arrived(message.count, startMs);
      };
      this.#worker.on('message', hear);
      this.#worker.on('error', reject);
      this.#worker.postMessage(dueMs);
    });
  }
}
