import type { Registry } from '../../registry/registry.js';
import type { Logger } from '../../telemetry/log.js';
import type { TrafficCounter } from '../traffic.js';

const FORGET_INTERVAL_MS = 6 * 60 * 60_000;

export interface TrafficReportOptions {
  readonly counter: TrafficCounter;
  /** Null while there is none. */
  readonly registry: () => Registry | null;
  readonly intervalMs: number;
  readonly log: Logger;
}

/** Adds what this process counted to the registry, as often as it says that it lives, and once more when it ends. */
export class TrafficReports {
  readonly #options: TrafficReportOptions;
  readonly #timer: NodeJS.Timeout;
  #sending: Promise<void> | null = null;
  #forgotAtMs = performance.now();

  constructor(options: TrafficReportOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#send(), options.intervalMs);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#sending;
    this.#send();
    await this.#sending;
  }

  #send(): void {
    const { counter, log } = this.#options;
    const registry = this.#options.registry();
    if (registry === null || this.#sending !== null) return;
    const counted = counter.take();
    const isForgetting = performance.now() - this.#forgotAtMs > FORGET_INTERVAL_MS;
    if (counted.length === 0 && !isForgetting) return;
    if (isForgetting) this.#forgotAtMs = performance.now();
    this.#sending = registry.traffic
      .add(counted)
      .catch((error: unknown) => {
        counter.giveBack(counted);
        log.debug({ err: error }, 'counted traffic was not taken');
      })
      .then(() => (isForgetting ? registry.traffic.forget() : undefined))
      .catch((error: unknown) => log.debug({ err: error }, 'old traffic was not forgotten'))
      .finally(() => {
        this.#sending = null;
      });
  }
}
