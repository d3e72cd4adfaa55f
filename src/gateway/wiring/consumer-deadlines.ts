import type { Consumer } from '../../registry/consumers.js';
import type { Registry } from '../../registry/registry.js';
import type { Logger } from '../../telemetry/log.js';
import type { Metrics } from '../../telemetry/metrics.js';

const DAY_MS = 86_400_000;
const LOOK_INTERVAL_MS = 60_000;
/** A warning that nobody heard is repeated once a day. */
const WARN_AGAIN_MS = DAY_MS;

export interface ConsumerDeadlineOptions {
  readonly metrics: Metrics;
  /** Null while there is none. */
  readonly registry: () => Registry | null;
  readonly warnDays: number;
  readonly log: Logger;
  /** Of the wall clock. */
  readonly nowMs?: () => number;
}

/** Consumers that have to leave a version and have not: as a metric, and in the log when the day is near. */
export class ConsumerDeadlines {
  readonly #options: ConsumerDeadlineOptions;
  readonly #nowMs: () => number;
  readonly #timer: NodeJS.Timeout;
  readonly #warnedAtMs = new Map<string, number>();
  #waiting: readonly Consumer[] = [];
  #looking: Promise<void> | null = null;

  constructor(options: ConsumerDeadlineOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? Date.now;
    options.metrics.observe(
      'switchyard_consumer_deadline_seconds',
      'Time that a consumer which has not migrated has left; below 0 it is overdue',
      ['corpus', 'version', 'service'],
      () =>
        this.#waiting.map((consumer) => [
          { corpus: consumer.corpus, version: consumer.version, service: consumer.serviceName },
          this.#leftMs(consumer) / 1000,
        ]),
    );
    this.#timer = setInterval(() => this.look(), LOOK_INTERVAL_MS);
    this.look();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }

  /** When the look that was begun last has ended. */
  async settled(): Promise<void> {
    await this.#looking;
  }

  look(): void {
    const registry = this.#options.registry();
    if (registry === null || this.#looking !== null) return;
    this.#looking = registry.consumers
      .list()
      .then((consumers) => this.#see(consumers))
      .catch((error: unknown) => this.#options.log.debug({ err: error }, 'the consumers could not be read'))
      .finally(() => {
        this.#looking = null;
      });
  }

  #see(consumers: readonly Consumer[]): void {
    const { warnDays, log } = this.#options;
    this.#waiting = consumers.filter(
      ({ migrated, migrationDeadline }) => !migrated && migrationDeadline !== null,
    );
    const now = this.#nowMs();
    for (const consumer of this.#waiting) {
      const leftMs = this.#leftMs(consumer);
      const warned = this.#warnedAtMs.get(consumer.consumerId) ?? Number.NEGATIVE_INFINITY;
      if (leftMs > warnDays * DAY_MS || now - warned < WARN_AGAIN_MS) continue;
      this.#warnedAtMs.set(consumer.consumerId, now);
      const { corpus, version, serviceName: service, teamOwner: team } = consumer;
      const deadline = consumer.migrationDeadline?.toISOString();
      log.warn(
        { corpus, version, service, team, deadline },
        leftMs <= 0
          ? 'a consumer has not migrated and its deadline has passed'
          : 'a consumer has not migrated and its deadline is near',
      );
    }
  }

  #leftMs({ migrationDeadline }: Consumer): number {
    return (migrationDeadline?.getTime() ?? 0) - this.#nowMs();
  }
}
