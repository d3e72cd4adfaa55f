/**
 * Work that looks at everything there is: asked while it runs it runs once more afterwards, however often it was asked, and
 * never twice at once.
 */
export class OneAtATime {
  readonly #work: () => Promise<void>;
  #running: Promise<void> | null = null;
  #again = false;

  /** What `work` throws is its own business: it must not. */
  constructor(work: () => Promise<void>) {
    this.#work = work;
  }

  ask(): void {
    if (this.#running !== null) {
      this.#again = true;
      return;
    }
    this.#running = this.#work().finally(() => {
      this.#running = null;
      if (!this.#again) return;
      this.#again = false;
      this.ask();
    });
  }

  /** Resolves when the run in hand ended. */
  async settled(): Promise<void> {
    await this.#running;
  }
}
