import type { MessagePort } from 'node:worker_threads';
import {
  type BesideAnswer,
  type BesideQuestion,
  type BesideReply,
  type BesideRequest,
  fromBesideError,
} from './beside-protocol.js';

/** Asks the thread that runs the model, which does one thing at a time. */
export class MainThread {
  readonly #port: MessagePort;
  #asked = 0;
  #pending: { readonly id: number; readonly settle: (answer: BesideAnswer) => void } | null = null;

  /** `onBroken`: it answered what it was not asked, so no answer of it can be believed. */
  constructor(port: MessagePort, onBroken: (error: Error) => void) {
    this.#port = port;
    port.on('message', ({ id, answer }: BesideReply) => {
      const pending = this.#pending;
      if (pending?.id !== id) {
        const wanted = pending === null ? 'none is waited for' : `${pending.id} is`;
        onBroken(new Error(`the main thread sent answer ${id} where ${wanted}`));
        return;
      }
      this.#pending = null;
      pending.settle(answer);
    });
  }

  /** Errors: what the main thread's own were; another when something is asked already, which is never to be. */
  async ask(request: BesideRequest, transfer: readonly ArrayBuffer[] = []): Promise<BesideAnswer> {
    if (this.#pending !== null) throw new Error(`the main thread has not answered ${this.#pending.id} yet`);
    const answer = await new Promise<BesideAnswer>((settle) => {
      this.#asked += 1;
      this.#pending = { id: this.#asked, settle };
      const question: BesideQuestion = { kind: 'ask', id: this.#asked, request };
      this.#port.postMessage(question, transfer);
    });
    if (answer.kind === 'failed') throw fromBesideError(answer.error);
    return answer;
  }

  /** The process ends as soon as the main thread does nothing else. */
  leave(): void {
    this.#port.postMessage({ kind: 'leave' } satisfies BesideQuestion);
  }
}
