import { Worker } from 'node:worker_threads';
import { errorFromFrame, SwitchyardError } from '../../errors.js';
import type { ArchiveJob, ArchiveThreadData, FromArchiveThread } from './archive-protocol.js';

export interface ArchiveThreadEvents {
  /** A file is whole; the thread goes on when this resolves. */
  readonly onFile?: (file: Extract<FromArchiveThread, { kind: 'file' }>) => Promise<void>;
  readonly onRows?: (rowsDone: number) => void;
}

/** Runs a job on a thread of its own. Errors: the job's; the signal's reason when it was aborted. */
export function runArchiveThread(
  job: ArchiveJob,
  { onFile = async () => undefined, onRows = () => undefined }: ArchiveThreadEvents,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  const cancel = new SharedArrayBuffer(4);
  const worker = new Worker(new URL('./archive-worker.js', import.meta.url), {
    workerData: { job, cancel } satisfies ArchiveThreadData,
    name: 'switchyard-archive',
  });
  const stop = (): void => {
    Atomics.store(new Int32Array(cancel), 0, 1);
  };
  signal.addEventListener('abort', stop, { once: true });
  return new Promise<void>((resolve, reject) => {
    let outcome: FromArchiveThread | null = null;
    let failure: unknown = null;
    worker.on('message', (message: FromArchiveThread) => {
      switch (message.kind) {
        case 'file':
          onFile(message)
            .catch((error: unknown) => {
              failure ??= error;
              stop();
            })
            .finally(() => worker.postMessage('next'));
          break;
        case 'progress':
          onRows(message.rowsDone);
          break;
        case 'finished':
        case 'failed':
        case 'stopped':
          outcome = message;
          break;
        default:
          message satisfies never;
      }
    });
    worker.on('error', (error) => {
      failure ??= error;
    });
    worker.on('exit', () => {
      signal.removeEventListener('abort', stop);
      if (failure === null && outcome?.kind === 'finished') resolve();
      else if (failure !== null) reject(failure);
      else if (outcome?.kind === 'failed') reject(errorFromFrame(outcome.error));
      else if (signal.aborted) reject(signal.reason);
      else reject(new SwitchyardError('INTERNAL', 'the archiving thread ended early'));
    });
  });
}
