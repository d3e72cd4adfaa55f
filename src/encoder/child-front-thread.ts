import { parentPort } from 'node:worker_threads';
import { cpuWaitOf, ownThread } from '../process/cpu-wait.js';
import { HangWatch } from '../process/hang-watch.js';
import { sayLast } from '../process/last-words.js';
import { systemTimers } from '../process/timers.js';
import type { InputRole } from '../vocabulary.js';
import { batchInputs, type RunShape, tightShape } from './batch-tensors.js';
import { openBatcher } from './batching-plan.js';
import type { BesideAnswer } from './beside-protocol.js';
import { serveParent } from './child-front.js';
import { MainThread } from './main-thread.js';
import type { ModelManifest } from './manifest.js';
import { prefixOf, TextTokenizer, type TokenisedText } from './tokenizer.js';
import type { WorkerSession } from './worker-session.js';

/** How long the main thread may go on when the parent is gone, with a run that nobody waits for. */
const LEAVE_MS_MAX = 2_000;

/** A model whose runs are the main thread's. */
class BesideSession implements WorkerSession {
  readonly isBeside = true;
  readonly manifest: ModelManifest;
  readonly #main: MainThread;
  readonly #tokenizer: TextTokenizer;
  readonly #watch: HangWatch;

  /** `watch`: owes one answer while a run lasts. */
  constructor(manifest: ModelManifest, main: MainThread, tokenizer: TextTokenizer, watch: HangWatch) {
    this.manifest = manifest;
    this.#main = main;
    this.#tokenizer = tokenizer;
    this.#watch = watch;
  }

  tokenizeOne(text: string, role: InputRole): TokenisedText {
    return this.#tokenizer.encode(prefixOf(this.manifest, role) + text);
  }

  async run(texts: readonly TokenisedText[], shape: RunShape = tightShape(texts)): Promise<Float32Array> {
    const inputs = batchInputs(texts, shape, this.manifest);
    this.#watch.setOutstanding(1);
    try {
      const answer = await this.#main.ask(
        { kind: 'run', inputs },
        Object.values(inputs.data).map(({ buffer }) => buffer),
      );
      return answer.kind === 'ran' ? answer.values : unexpected(answer);
    } finally {
      this.#watch.setOutstanding(0);
    }
  }
}

function unexpected(answer: BesideAnswer): never {
  throw new Error(`the main thread answered ${answer.kind} to what it was not asked`);
}

/**
 * Of a main thread that may never come back. The parent sees nothing of it: this thread goes on answering, if only that
 * deadlines have passed. The end of a thread would leave the other one where it is.
 */
function killProcess(): void {
  process.kill(process.pid, 'SIGKILL');
}

function killHung(silentMs: number): void {
  sayLast(`a run of the model has not ended in ${Math.round(silentMs)} ms; the process is killed`);
  killProcess();
}

if (parentPort !== null) {
  const main = new MainThread(parentPort, (error) => {
    throw error;
  });
  serveParent(
    async (config) => {
      const opened = await main.ask({ kind: 'open', config });
      if (opened.kind !== 'opened') return unexpected(opened);
      const { manifest, measured, ready } = opened;
      // The same bytes that the probes of the main thread went through.
      const tokenizer = await TextTokenizer.ofModel({ folder: config.folder, manifest });
      const batcher = openBatcher(measured, config, manifest.max_tokens);
      const watch = new HangWatch(
        config.silentMsMax,
        systemTimers,
        killHung,
        // Not what this thread waits for: a run goes on meanwhile, or hangs.
        cpuWaitOf(() => process.pid, ownThread()),
      );
      return { session: new BesideSession(manifest, main, tokenizer, watch), batcher, ready };
    },
    () => {
      main.leave();
      setTimeout(killProcess, LEAVE_MS_MAX);
    },
  );
}
