import { getPriority, setPriority } from 'node:os';
import { Worker } from 'node:worker_threads';
import {
  type ErrorFrame,
  errorFromFrame,
  errorToFrame,
  SwitchyardError,
  toSwitchyardError,
} from '../errors.js';
import type { BatchInputs } from './batch-tensors.js';
import type { MeasuredRuns } from './batching-plan.js';
import { EXIT_BROKEN } from './child-front.js';
import type { ChildConfig, ReadyMessage } from './child-protocol.js';
import { startSession } from './child-start.js';
import type { ModelManifest } from './manifest.js';
import type { ModelSession } from './session.js';

/** What the thread that speaks with the parent asks of the one that runs the model; one thing at a time. */
export type BesideRequest =
  | { readonly kind: 'open'; readonly config: ChildConfig }
  | { readonly kind: 'run'; readonly inputs: BatchInputs };

export type BesideAnswer =
  | {
      readonly kind: 'opened';
      readonly manifest: ModelManifest;
      readonly measured: MeasuredRuns;
      readonly ready: ReadyMessage;
    }
  | { readonly kind: 'ran'; readonly values: Float32Array<ArrayBuffer> }
  | { readonly kind: 'failed'; readonly error: BesideError };

/** A catalogued error as it crosses between threads, with what its cause said. */
interface BesideError {
  readonly frame: ErrorFrame;
  readonly cause: string | null;
}

/**
 * The main thread of an encoder process on an accelerator. A run blocks its thread while the device works, so reading,
 * tokenising and answering are done in a thread beside it (`child-front-thread.ts`). The runtime stays where it is best
 * tried, and the thread is plain JavaScript, which can be ended at any time.
 */
export function runBeside(): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      // The end of the channel is what ends a child.
    });
  const thread = new Worker(new URL('./child-front-thread.js', import.meta.url));
  let session: ModelSession | null = null;

  const answer = async (request: BesideRequest): Promise<BesideAnswer> => {
    if (request.kind === 'run') {
      if (session === null)
        throw new SwitchyardError('INTERNAL', 'a run was asked for before the model was opened');
      const values = await session.runInputs(request.inputs);
      return { kind: 'ran', values: values as Float32Array<ArrayBuffer> };
    }
    const { niceness } = request.config;
    if (niceness > getPriority()) setPriority(niceness);
    const { session: opened, measured, ...ready } = await startSession(request.config);
    session = opened;
    return { kind: 'opened', manifest: opened.manifest, measured, ready };
  };

  thread.on('message', (request: BesideRequest) => {
    answer(request).then(
      (done) => thread.postMessage(done, done.kind === 'ran' ? [done.values.buffer] : []),
      (error: unknown) =>
        thread.postMessage({ kind: 'failed', error: besideError(error) } satisfies BesideAnswer),
    );
  });
  thread.on('error', (error) => {
    process.stderr.write(`the thread beside the model failed: ${error.message}\n`);
    process.exit(EXIT_BROKEN);
  });
  thread.on('exit', (code) => process.exit(code));
}

function besideError(error: unknown): BesideError {
  const known = toSwitchyardError(error);
  return { frame: errorToFrame(known), cause: known.cause instanceof Error ? known.cause.message : null };
}

export function fromBesideError({ frame, cause }: BesideError): SwitchyardError {
  const error = errorFromFrame(frame);
  return cause === null
    ? error
    : new SwitchyardError(error.reason, error.message, { details: error.details, cause: new Error(cause) });
}
