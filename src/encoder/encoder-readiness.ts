import type { EncoderState } from './encoder.js';

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** An encoder's state with its one setter, and those who wait for it to become ready. */
export class EncoderReadiness {
  #state: EncoderState = { kind: 'starting' };
  #waiters: Waiter[] = [];
  readonly #onState: (state: EncoderState) => void;
  readonly #closedError: () => Error;

  /** `closedError`: what those get who still wait when the encoder is closed. */
  constructor(onState: (state: EncoderState) => void, closedError: () => Error) {
    this.#onState = onState;
    this.#closedError = closedError;
  }

  get state(): EncoderState {
    return this.#state;
  }

  set(state: EncoderState): void {
    this.#state = state;
    switch (state.kind) {
      case 'starting':
      case 'restarting':
        break;
      case 'ready':
        for (const { resolve } of this.#takeWaiters()) resolve();
        break;
      case 'failed':
        for (const { reject } of this.#takeWaiters()) reject(state.error);
        break;
      case 'closed':
        for (const { reject } of this.#takeWaiters()) reject(this.#closedError());
        break;
      default:
        state satisfies never;
    }
    this.#onState(state);
  }

  /** Resolves when ready, now or later; rejects when it failed, although it will be tried again. */
  async wait(): Promise<void> {
    switch (this.#state.kind) {
      case 'ready':
        return;
      case 'failed':
        throw this.#state.error;
      case 'closed':
        throw this.#closedError();
      case 'starting':
      case 'restarting':
        await new Promise<void>((resolve, reject) => this.#waiters.push({ resolve, reject }));
        return;
      default:
        this.#state satisfies never;
    }
  }

  #takeWaiters(): Waiter[] {
    const waiters = this.#waiters;
    this.#waiters = [];
    return waiters;
  }
}
