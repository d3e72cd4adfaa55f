/** How an opening ends, once: what comes later does not change it. Nobody need wait for it. */
export class Opening {
  readonly done: Promise<void>;
  #isDone = false;
  #resolve: () => void = () => undefined;
  #reject: (error: Error) => void = () => undefined;

  constructor() {
    this.done = new Promise<void>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.done.catch(() => undefined);
  }

  get isDone(): boolean {
    return this.#isDone;
  }

  succeed(): void {
    this.#isDone = true;
    this.#resolve();
  }

  fail(error: Error): void {
    this.#isDone = true;
    this.#reject(error);
  }
}
