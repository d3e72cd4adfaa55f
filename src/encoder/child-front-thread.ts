import path from 'node:path';
import { type MessagePort, parentPort } from 'node:worker_threads';
import type { InputRole } from '../vocabulary.js';
import { batchInputs, type RunShape, tightShape } from './batch-tensors.js';
import { openBatcher } from './batching-plan.js';
import { type BesideAnswer, type BesideRequest, fromBesideError } from './beside-protocol.js';
import { serveParent } from './child-front.js';
import type { WorkerSession } from './child-worker.js';
import type { ModelManifest } from './manifest.js';
import { MODEL_FILES } from './model-folder.js';
import { prefixOf, TextTokenizer, type TokenisedText } from './tokenizer.js';

/** A model whose runs are the main thread's. */
class BesideSession implements WorkerSession {
  readonly isBeside = true;
  readonly manifest: ModelManifest;
  readonly #main: MainThread;
  readonly #tokenizer: TextTokenizer;

  constructor(manifest: ModelManifest, main: MainThread, tokenizer: TextTokenizer) {
    this.manifest = manifest;
    this.#main = main;
    this.#tokenizer = tokenizer;
  }

  tokenizeOne(text: string, role: InputRole): TokenisedText {
    return this.#tokenizer.encode(prefixOf(this.manifest, role) + text);
  }

  async run(texts: readonly TokenisedText[], shape: RunShape = tightShape(texts)): Promise<Float32Array> {
    const inputs = batchInputs(texts, shape, this.manifest);
    const answer = await this.#main.ask(
      { kind: 'run', inputs },
      Object.values(inputs.data).map(({ buffer }) => buffer),
    );
    return answer.kind === 'ran' ? answer.values : unexpected(answer);
  }
}

/** Asks the main thread, which does one thing at a time. */
class MainThread {
  readonly #port: MessagePort;
  #settle: (answer: BesideAnswer) => void = unexpected;

  constructor(port: MessagePort) {
    this.#port = port;
    port.on('message', (answer: BesideAnswer) => this.#settle(answer));
  }

  async ask(request: BesideRequest, transfer: readonly ArrayBuffer[] = []): Promise<BesideAnswer> {
    const answer = await new Promise<BesideAnswer>((resolve) => {
      this.#settle = resolve;
      this.#port.postMessage(request, transfer);
    });
    if (answer.kind === 'failed') throw fromBesideError(answer.error);
    return answer;
  }
}

function unexpected(answer: BesideAnswer): never {
  throw new Error(`the main thread answered ${answer.kind} to what it was not asked`);
}

if (parentPort !== null) {
  const main = new MainThread(parentPort);
  serveParent(async (config) => {
    const opened = await main.ask({ kind: 'open', config });
    if (opened.kind !== 'opened') return unexpected(opened);
    const { manifest, measured, ready } = opened;
    const tokenizer = await TextTokenizer.open(
      path.join(config.folder, MODEL_FILES.tokenizer),
      manifest.max_tokens,
    );
    const batcher = openBatcher(measured, config, manifest.max_tokens);
    return { session: new BesideSession(manifest, main, tokenizer), batcher, ready };
  });
}
