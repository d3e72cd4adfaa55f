import { removeAbandonedWork } from '../../lifecycle/reembed/abandoned-work.js';
import type { Logger } from '../../telemetry/log.js';

const DAY_MS = 86_400_000;
const LOOK_INTERVAL_MS = 21_600_000;

/** Looks at the start and every six hours for what builds that were given up left beside the bundles. */
export class AbandonedWork {
  readonly #timer: NodeJS.Timeout;
  readonly #look: () => Promise<void>;
  #looking: Promise<void>;

  constructor(bundlesDir: string, keepDays: number, log: Logger) {
    this.#look = () =>
      removeAbandonedWork(bundlesDir, Date.now() - keepDays * DAY_MS, log)
        .then(() => undefined)
        .catch((error: unknown) => log.warn({ err: error }, 'abandoned work could not be looked for'));
    this.#looking = this.#look();
    this.#timer = setInterval(() => {
      this.#looking = this.#looking.then(this.#look);
    }, LOOK_INTERVAL_MS);
    this.#timer.unref();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }
}
