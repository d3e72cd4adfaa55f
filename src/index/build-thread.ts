import { Worker } from 'node:worker_threads';
import { errorFromFrame, SwitchyardError } from '../errors.js';
import type {
  BuildBlock,
  BuildWorkerData,
  BuiltFiles,
  FromBuildWorker,
  ToBuildWorker,
} from './build-protocol.js';

/** Blocks handed over and not yet added: one in work and one that waits, so neither side idles. */
const BLOCKS_IN_FLIGHT_MAX = 2;

export type ThreadProgress = (phase: 'add' | 'save' | 'recall', rowsDone: number) => void;

/** The building thread as the event loop sees it. */
export class BuildThread {
  readonly #worker: Worker;
  readonly #cancel: Int32Array;
  readonly #exited: Promise<unknown>;
  readonly #onProgress: ThreadProgress;
  #inFlight = 0;
  #failure: Error | null = null;
  #built: BuiltFiles | null = null;
  #wake: () => void = () => {};

  constructor(data: Omit<BuildWorkerData, 'cancel'>, onProgress: ThreadProgress) {
    const cancel = new SharedArrayBuffer(4);
    this.#cancel = new Int32Array(cancel);
    this.#onProgress = onProgress;
    this.#worker = new Worker(new URL('./build-worker.js', import.meta.url), {
      workerData: { ...data, cancel } satisfies BuildWorkerData,
      name: 'switchyard-build',
    });
    this.#exited = new Promise((resolve) => this.#worker.once('exit', resolve));
    this.#worker.on('message', (message: FromBuildWorker) => this.#receive(message));
    this.#worker.on('error', (cause) => this.#fail(threadFailure(cause)));
    this.#worker.on('exit', () => {
      if (this.#built === null) this.#fail(threadFailure(undefined));
    });
  }

  #receive(message: FromBuildWorker): void {
    switch (message.kind) {
      case 'added':
        this.#inFlight--;
        this.#onProgress('add', message.rowsDone);
        break;
      case 'progress':
        this.#onProgress(message.phase, message.rowsDone);
        break;
      case 'finished':
        this.#built = message;
        break;
      case 'failed':
        this.#fail(errorFromFrame(message.error));
        break;
      case 'stopped':
        this.#fail(threadFailure(undefined));
        break;
      default:
        message satisfies never;
    }
    this.#wake();
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#wake();
  }

  async #until(holds: () => boolean): Promise<void> {
    while (!holds()) {
      if (this.#failure !== null) throw this.#failure;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#failure !== null) throw this.#failure;
  }

  /** Resolves when there is room for another block, so a slow index holds the reader back. */
  async add(block: BuildBlock): Promise<void> {
    await this.#until(() => this.#inFlight < BLOCKS_IN_FLIGHT_MAX);
    this.#inFlight++;
    this.#worker.postMessage(block satisfies ToBuildWorker, [
      block.vectors.buffer,
      block.documents.buffer,
      block.provenance.buffer,
    ]);
  }

  async finish(message: Extract<ToBuildWorker, { kind: 'finish' }>): Promise<BuiltFiles> {
    this.#worker.postMessage(message);
    await this.#until(() => this.#built !== null);
    await this.#exited;
    return this.#built as BuiltFiles;
  }

  /** Ends the thread after the native call it is in; terminating a thread inside one can abort the process. */
  async stop(): Promise<void> {
    Atomics.store(this.#cancel, 0, 1);
    this.#worker.postMessage({ kind: 'stop' } satisfies ToBuildWorker);
    await this.#exited;
  }
}

const threadFailure = (cause: unknown): SwitchyardError =>
  new SwitchyardError('INTERNAL', 'the building thread ended before the build was finished', { cause });
