import type { Logger } from '../../telemetry/log.js';

/** Does something now and every so often, one at a time. A failure is logged, and it is done again at its time. */
export class Regularly {
  readonly #timer: NodeJS.Timeout;
  #doing: Promise<unknown>;

  constructor(what: string, intervalMs: number, work: () => Promise<unknown>, log: Logger) {
    const once = (): Promise<unknown> =>
      work().catch((error: unknown) => log.warn({ err: error }, `${what} failed; it is tried again`));
    this.#doing = once();
    this.#timer = setInterval(() => {
      this.#doing = this.#doing.then(once);
    }, intervalMs);
    this.#timer.unref();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#doing;
  }
}
