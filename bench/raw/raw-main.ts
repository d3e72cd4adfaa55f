import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { arrivalsMs } from '../load/arrivals.js';
import { Latencies } from '../load/latencies.js';
import { monotonicMs } from '../load/load-runner.js';
import type {
  FromRaw,
  RawJudged,
  RawRun,
  RawSetup,
  RawTask,
  RawTaskResult,
  RawTimes,
  ToRaw,
  ToRawWorker,
} from './raw-protocol.js';

/** Entry of the process of usearch alone, so that its CPU time can be told from the bench's. */
const START_MARGIN_MS = 20;
const tell = (message: FromRaw): void => {
  process.send?.(message);
};

let workers: readonly Worker[] = [];

process.on('message', (message: ToRaw) => {
  void obey(message).catch((error: unknown) =>
    tell({ kind: 'failed', message: error instanceof Error ? error.message : String(error) }),
  );
});
process.on('disconnect', () => {
  for (const worker of workers) worker.postMessage(null);
});

async function obey(message: ToRaw): Promise<void> {
  if (message.kind === 'setup') {
    workers = await start(message.setup);
    tell({ kind: 'ready' });
  } else if (message.kind === 'run') tell({ kind: 'result', result: await run(message.run) });
  else tell({ kind: 'judged', recall: await judge() });
}

async function start(setup: RawSetup): Promise<readonly Worker[]> {
  const file = new URL('./raw-worker.js', import.meta.url);
  const started = Array.from({ length: setup.workers }, () => new Worker(file, { workerData: setup }));
  await Promise.all(started.map((worker) => once(worker, 'message')));
  return started;
}

/** What each worker answers to the same message. */
function asked<Answer>(message: ToRawWorker): Promise<readonly Answer[]> {
  return Promise.all(
    workers.map(async (worker) => {
      const answer = once(worker, 'message');
      worker.postMessage(message);
      return (await answer)[0] as Answer;
    }),
  );
}

async function judge(): Promise<number> {
  const judged = await asked<RawJudged>('judge');
  const sum = (of: (answer: RawJudged) => number): number =>
    judged.reduce((total, answer) => total + of(answer), 0);
  return sum(({ found }) => found) / sum(({ expected }) => expected);
}

async function run(plan: RawRun): Promise<RawTimes> {
  const startMs = monotonicMs() + (plan.kind === 'open' ? START_MARGIN_MS : 0);
  const task: RawTask = {
    taken: new SharedArrayBuffer(4),
    from: plan.from,
    startMs,
    endMs: startMs + plan.seconds * 1000,
    dueMs: plan.kind === 'open' ? arrivalsMs(plan.perSecond, plan.seconds, plan.seed) : null,
  };
  const answers = await asked<RawTaskResult>(task);
  const wallMs = monotonicMs() - startMs;
  const latencies = new Latencies();
  for (const { latenciesUs } of answers) for (const us of latenciesUs) latencies.add(us);
  return {
    queries: latencies.count,
    wallMs,
    perSecond: (latencies.count * 1000) / wallMs,
    latencyUs: latencies.summary(),
  };
}
