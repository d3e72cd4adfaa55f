import type { Config } from '../../config/config.js';
import { REASONS, toSwitchyardError } from '../../errors.js';
import { type BackoffPolicy, backoffDelayMs } from '../../process/backoff.js';
import { OneAtATime } from '../../process/one-at-a-time.js';
import type { Registry } from '../../registry/registry.js';
import type { Retirement, RetirementStepRecord } from '../../registry/retirements.js';
import type { Logger } from '../../telemetry/log.js';
import { registryVersionRecords } from './records.js';
import { retireVersion } from './retire-version.js';
import { RETIREMENT_STEPS, type RetirementStep } from './steps.js';

export interface RetirementRunnerOptions {
  /** Null while there is none. */
  readonly registry: () => Registry | null;
  readonly gatewayId: string;
  readonly config: Config;
  readonly log: Logger;
}

const RENEWALS_PER_LEASE = 3;
const RETRY: BackoffPolicy = Object.freeze({
  delayMsFirst: 1_000,
  delayMsMax: 60_000,
  factor: 2,
  jitter: 0.3,
  stableAfterMs: 60_000,
});

/**
 * One gateway's part in retirements that were asked for over the admin API: it carries out those whose lease it gets. Every
 * step can be done twice, so another gateway goes on where one was killed, and two at once do no harm.
 */
export class RetirementRunner {
  readonly #options: RetirementRunnerOptions;
  readonly #running = new Map<string, { readonly stop: AbortController; readonly done: Promise<void> }>();
  readonly #poll: NodeJS.Timeout;
  readonly #looks = new OneAtATime(() =>
    this.#lookOnce().catch((error: unknown) =>
      this.#options.log.debug({ err: error }, 'retirements could not be read'),
    ),
  );
  #isClosed = false;

  constructor(options: RetirementRunnerOptions) {
    this.#options = options;
    this.#poll = setInterval(() => this.look(), options.config.migration.pollIntervalMs);
    this.look();
  }

  /** Something may have been asked for: at times, and when told so. One look at a time. */
  look(): void {
    if (this.#isClosed || !this.#options.config.migration.drive) return;
    this.#looks.ask();
  }

  /** Leases are given back, so that another gateway goes on at once. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#poll);
    await this.#looks.settled();
    for (const { stop } of this.#running.values()) stop.abort();
    await Promise.all([...this.#running.values()].map(({ done }) => done));
  }

  async #lookOnce(): Promise<void> {
    if (this.#isClosed) return;
    const { gatewayId, config } = this.#options;
    const registry = this.#options.registry();
    if (registry === null) return;
    for (const retirement of await registry.retirements.unfinished()) {
      const { retirementId, holder } = retirement;
      if (this.#isClosed || this.#running.has(retirementId) || (holder !== null && holder !== gatewayId))
        continue;
      if (!(await registry.retirements.takeLease(retirementId, gatewayId, config.migration.leaseMs)))
        continue;
      const stop = new AbortController();
      const done = this.#carryOut(registry, retirement, stop).finally(() =>
        this.#running.delete(retirementId),
      );
      this.#running.set(retirementId, { stop, done });
    }
  }

  async #carryOut(registry: Registry, retirement: Retirement, stop: AbortController): Promise<void> {
    const { gatewayId, log } = this.#options;
    const { retirementId, corpus, version } = retirement;
    const renewal = this.#renew(registry, retirementId, stop);
    const steps = [...retirement.steps];
    try {
      for (let failures = 0; !stop.signal.aborted; failures++) {
        const why = await this.#attempt(registry, retirement, steps, stop);
        if (why === null || stop.signal.aborted) break;
        const retryInMs = backoffDelayMs(RETRY, failures + 1, Math.random);
        log.warn(
          { corpus, version, retryInMs: Math.round(retryInMs) },
          `a retirement is tried again: ${why}`,
        );
        await pause(retryInMs, stop.signal);
      }
    } catch (error) {
      // What it did is written down; the next look goes on.
      log.warn({ err: error, corpus, version }, 'a retirement could not be written down');
    } finally {
      clearInterval(renewal);
      await registry.retirements.releaseLease(retirementId, gatewayId).catch(() => undefined);
    }
  }

  /** `steps`: what was done of it so far, and then is. Null: it is over, or no longer this gateway's. Else why it is to be tried again. */
  async #attempt(
    registry: Registry,
    retirement: Retirement,
    steps: RetirementStepRecord[],
    stop: AbortController,
  ): Promise<string | null> {
    const { signal } = stop;
    const { gatewayId, config, log } = this.#options;
    const { retirements } = registry;
    const { retirementId, corpus, version, place, quietDays, actor, reason } = retirement;
    const records = registryVersionRecords(registry, config.bundlesDir, { actor, reason });
    let noting: Promise<unknown> = Promise.resolve();
    const note = (why: string | null): void => {
      const known = { steps: [...steps], why };
      noting = noting.then(() => retirements.note(retirementId, gatewayId, known)).catch(() => undefined);
    };
    try {
      const archive = await retireVersion(
        { corpus, version, to: place, quietDays },
        {
          config,
          log,
          signal,
          records: {
            ...records,
            markArchived: async (name) => {
              // Behind this it is deleted: a cancellation that nobody noticed yet counts.
              const { leaseMs } = config.migration;
              if (!(await retirements.takeLease(retirementId, gatewayId, leaseMs))) stop.abort();
              signal.throwIfAborted();
              await records.markArchived(name);
            },
          },
          onStep: (step, detail) => {
            // What comes after it is done again too; what comes before it is not where a killed run had marked the version.
            const from = steps.findIndex((known) => orderOf(known.step) >= orderOf(step));
            const record = { step, detail, at: new Date().toISOString() };
            steps.splice(from === -1 ? steps.length : from, steps.length, record);
            note(null);
          },
        },
      );
      await noting;
      log.info({ corpus, version, archive: archive.uri }, 'a corpus version was retired');
      await retirements.finish(retirement, gatewayId, 'completed', null);
      return null;
    } catch (thrown) {
      if (signal.aborted) return null;
      const error = toSwitchyardError(thrown);
      const why = `${error.reason}: ${error.message}`;
      if (REASONS[error.reason].retry !== 'never') {
        note(why);
        await noting;
        return why;
      }
      log.error({ err: error, corpus, version }, 'a retirement failed');
      await noting;
      await retirements.finish(retirement, gatewayId, 'failed', why);
      return null;
    }
  }

  #renew(registry: Registry, retirementId: string, stop: AbortController): NodeJS.Timeout {
    const { gatewayId, config } = this.#options;
    const { leaseMs } = config.migration;
    let renewedAtMs = performance.now();
    return setInterval(() => {
      registry.retirements.takeLease(retirementId, gatewayId, leaseMs).then(
        (isHeld) => {
          renewedAtMs = performance.now();
          // Cancelled, ended, or another gateway's.
          if (!isHeld) stop.abort();
        },
        () => {
          if (performance.now() - renewedAtMs > leaseMs) stop.abort();
        },
      );
    }, leaseMs / RENEWALS_PER_LEASE);
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end);
    if (signal.aborted) end();
  });
}

const orderOf = (step: string): number => RETIREMENT_STEPS.indexOf(step as RetirementStep);
