import type { Timers } from '../../process/timers.js';

/** How often those who hold a stream open are looked at again. */
const LOOK_MS = 1_000;

export interface OpenStream {
  /** Throws where whoever opened it would not be let in any more. */
  readonly check: () => void;
  readonly end: (why: unknown) => void;
}

/** Streams that a key let in: each ends when its key does, and when the keys are too old to be trusted. */
export class OpenStreams {
  readonly #timers: Timers;
  readonly #open = new Set<OpenStream>();
  #stopLooking: (() => void) | null = null;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  /** Returns what is called, once or more, when it is over. */
  add(stream: OpenStream): () => void {
    this.#open.add(stream);
    this.#stopLooking ??= this.#timers.after(LOOK_MS, () => this.#look());
    return () => {
      this.#open.delete(stream);
      if (this.#open.size > 0) return;
      this.#stopLooking?.();
      this.#stopLooking = null;
    };
  }

  #look(): void {
    for (const stream of [...this.#open]) {
      try {
        stream.check();
      } catch (why) {
        this.#open.delete(stream);
        stream.end(why);
      }
    }
    this.#stopLooking = this.#open.size === 0 ? null : this.#timers.after(LOOK_MS, () => this.#look());
  }
}
