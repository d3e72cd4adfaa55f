import { getPriority, setPriority } from 'node:os';
import { Worker } from 'node:worker_threads';
import { SwitchyardError } from '../errors.js';
import {
  type BesideAnswer,
  type BesideQuestion,
  type BesideReply,
  type BesideRequest,
  besideError,
} from './beside-protocol.js';
import { EXIT_BROKEN } from './child-front.js';
import { startSession } from './child-start.js';
import type { ModelSession } from './session.js';

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

  thread.on('message', (question: BesideQuestion) => {
    if (question.kind === 'leave') process.exit(0);
    const reply = (done: BesideAnswer): void =>
      thread.postMessage(
        { id: question.id, answer: done } satisfies BesideReply,
        done.kind === 'ran' ? [done.values.buffer] : [],
      );
    answer(question.request).then(reply, (error: unknown) =>
      reply({ kind: 'failed', error: besideError(error) }),
    );
  });
  thread.on('error', (error) => {
    process.stderr.write(`the thread beside the model failed: ${error.message}\n`);
    process.exit(EXIT_BROKEN);
  });
  thread.on('exit', (code) => process.exit(code));
}
