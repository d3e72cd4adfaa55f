import { mkdtemp, rm } from 'node:fs/promises';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { errorFromFrame, SwitchyardError } from '../../errors.js';
import { asDiskError } from '../../files/publish.js';
import type { Bundle } from '../manifest.js';
import { filesIn } from '../placement.js';
import { verifyBundle } from '../verify-bundle.js';
import type { FromTuneWorker, TuneFormat, TuneRow, TuneWorkerData } from './tune-protocol.js';

export interface TuneOptions {
  readonly formats: readonly TuneFormat[];
  readonly expansions: readonly number[];
  readonly rowsMax: number;
  /** n × full dimensions; null: rows are held out and searched for. */
  readonly queries: Float32Array | null;
  readonly heldOutCount: number;
  readonly seed: number;
  readonly threads: number;
  /** On a disk with room for the vectors once more. */
  readonly temporaryFolder: string;
  readonly signal: AbortSignal;
  onStarted(rowCount: number): void;
  /** Rows added, over all formats. */
  onRows(rowsDone: number): void;
}

export interface TuneResult {
  readonly rowCount: number;
  readonly queryCount: number;
  readonly rows: readonly TuneRow[];
  readonly leftOut: readonly { readonly format: TuneFormat; readonly why: string }[];
  /** The signal came before everything was measured. */
  readonly isInterrupted: boolean;
}

/**
 * Measures formats and search expansions on the vectors of a build. An interrupted run gives what it has.
 * Errors: CORRUPT_BUNDLE, DISK_FULL, INTERNAL.
 */
export async function tuneFormats(bundle: Bundle, options: TuneOptions): Promise<TuneResult> {
  await verifyBundle(bundle, { signal: options.signal });
  const folder = await mkdtemp(path.join(options.temporaryFolder, '.tmp-tune-'));
  try {
    return await runThread(bundle, folder, options);
  } catch (error) {
    throw asDiskError(error, 'the indexes that are measured');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function runThread(
  { manifest, folder: from }: Bundle,
  folder: string,
  options: TuneOptions,
): Promise<TuneResult> {
  const { formats, expansions, rowsMax, queries, heldOutCount, seed, threads, signal } = options;
  const cancel = new SharedArrayBuffer(4);
  const worker = new Worker(new URL('./tune-worker.js', import.meta.url), {
    name: 'switchyard-tune',
    workerData: {
      vectors: filesIn(from).vectors,
      rowCount: manifest.row_count,
      dimensions: manifest.full_dimensions,
      metric: manifest.metric,
      connectivity: manifest.connectivity,
      expansionAdd: manifest.expansion_add,
      formats,
      expansions,
      rowsMax,
      queries,
      heldOutCount,
      seed,
      threads,
      folder,
      cancel,
    } satisfies TuneWorkerData,
  });
  const stop = (): void => {
    Atomics.store(new Int32Array(cancel), 0, 1);
  };
  if (signal.aborted) stop();
  else signal.addEventListener('abort', stop, { once: true });
  const rows: TuneRow[] = [];
  const leftOut: { format: TuneFormat; why: string }[] = [];
  let [rowCount, queryCount] = [0, 0];
  let end: Extract<FromTuneWorker, { kind: 'finished' | 'stopped' | 'failed' }> | null = null;
  let crash: unknown;
  worker.on('message', (message: FromTuneWorker) => {
    switch (message.kind) {
      case 'started':
        ({ rowCount, queryCount } = message);
        options.onStarted(rowCount);
        break;
      case 'progress':
        options.onRows(message.format * rowCount + message.rowsDone);
        break;
      case 'measured':
        rows.push(message.row);
        break;
      case 'left_out':
        leftOut.push(message);
        break;
      default:
        end = message;
    }
  });
  worker.on('error', (error) => {
    crash = error;
  });
  return new Promise((resolve, reject) => {
    worker.on('exit', () => {
      signal.removeEventListener('abort', stop);
      const isInterrupted = end?.kind === 'stopped';
      if (end?.kind === 'finished' || isInterrupted)
        resolve({ rowCount, queryCount, rows, leftOut, isInterrupted });
      else if (end?.kind === 'failed') reject(errorFromFrame(end.error));
      else reject(new SwitchyardError('INTERNAL', 'the tuning thread ended early', { cause: crash }));
    });
  });
}
