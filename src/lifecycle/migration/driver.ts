import { REASONS, type SwitchyardError, toSwitchyardError } from '../../errors.js';
import { type BackoffPolicy, backoffDelayMs } from '../../process/backoff.js';
import type { MigrationLease } from '../../registry/migration-record.js';
import type { Registry } from '../../registry/registry.js';
import type { Logger } from '../../telemetry/log.js';
import { advanceBy } from './advance.js';
import { reasonOf } from './event-reason.js';
import { changedOutside, watchOutside } from './outside.js';
import { stepName } from './plan.js';
import { type StepKind, stepOfPlan } from './plan-schema.js';
import type { MigrationPorts, WorkProgress } from './ports.js';
import { type Migration, readMigration } from './record.js';
import { settle } from './settle.js';
import { isFinished, isReturning, type MigrationEventBody, type RunningState } from './state.js';
import type { StepContext } from './step.js';
import { runnerOf } from './steps/runner-of.js';

export interface DriverOptions {
  readonly registry: Registry;
  readonly ports: MigrationPorts;
  readonly bundlesDir: string;
  readonly leaseMs: number;
  /** How long a return waits for replicas before it names those that did not follow. */
  readonly settleTimeoutMs: number;
  readonly log: Logger;
}

const RETRY: BackoffPolicy = Object.freeze({
  delayMsFirst: 500,
  delayMsMax: 15_000,
  factor: 2,
  jitter: 0.3,
  stableAfterMs: 60_000,
});
const RENEWALS_PER_LEASE = 3;

/** A step that is this driver's no longer: somebody gave a command, or the lease is lost. */
class Overtaken extends Error {}

/**
 * Drives one migration for as long as it holds the lease: does the current step, writes each transition down in one
 * transaction with its audit row, and stops at once when the lease is lost or an operator says something else. Another
 * driver goes on from what is written; every step does only what is missing.
 */
export class MigrationDriver {
  readonly #options: DriverOptions;
  #lease: MigrationLease;
  readonly #ended = new AbortController();
  readonly #renewal: NodeJS.Timeout;
  #migration: Migration;
  /** Ends the step in hand. */
  #step = new AbortController();
  #renewing: Promise<void> | null = null;
  #renewedAtMs = performance.now();
  #progress: WorkProgress | null = null;
  /** Resolves when there may be something new to look at. */
  #wake: (() => void) | null = null;

  constructor(options: DriverOptions, migration: Migration, lease: MigrationLease) {
    this.#options = options;
    this.#migration = migration;
    this.#lease = lease;
    this.#renewal = setInterval(() => void this.look(), options.leaseMs / RENEWALS_PER_LEASE);
  }

  get migrationId(): string {
    return this.#migration.migrationId;
  }

  /** Of the step in hand; null when it says nothing. */
  get progress(): WorkProgress | null {
    return this.#progress;
  }

  /** Renews the lease and finds out whether somebody gave a command: at times, and when told of a change. */
  look(): Promise<void> {
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = null;
    });
    return this.#renewing;
  }

  /** Resolves when the migration ended, the lease is lost, or `stop` was called. */
  async run(): Promise<void> {
    const { registry, log } = this.#options;
    const { migrationId, corpus } = this.#migration;
    try {
      for (let failures = 0; !this.#ended.signal.aborted && !isFinished(this.#migration.state); ) {
        this.#step = new AbortController();
        this.#progress = null;
        try {
          await this.#advanceOnce();
          failures = 0;
        } catch (error) {
          if (error instanceof Overtaken || this.#ended.signal.aborted) continue;
          failures = await this.#afterFailure(toSwitchyardError(error), failures);
        }
      }
      if (isFinished(this.#migration.state)) await this.#writeReport();
    } finally {
      clearInterval(this.#renewal);
      await this.#renewing;
      this.#ended.abort();
      this.#step.abort();
      await registry.migrations
        .releaseLease(migrationId, this.#lease)
        .catch((error: unknown) =>
          log.debug({ err: error, corpus }, 'the lease was not given back; it runs out'),
        );
    }
  }

  /** Lets go: what is in hand ends, and another driver may go on. */
  stop(): void {
    this.#ended.abort();
    this.#overtake();
  }

  /** Of one that ended. It is noted when it is there: where this process dies before, another driver writes it. */
  async #writeReport(): Promise<void> {
    const { ports, registry, leaseMs, log } = this.#options;
    const { migrationId, corpus } = this.#migration;
    try {
      const record = await registry.migrations.get(migrationId);
      if (record.finishedAt === null || record.reportedAt !== null) return;
      const lease = await registry.migrations.takeLease(migrationId, this.#lease.holder, leaseMs);
      if (lease === null) return;
      this.#lease = lease;
      await ports.writeReport(readMigration(record));
      await registry.migrations.noteReport(migrationId, lease);
    } catch (error) {
      log.warn({ err: error, corpus }, 'the report of a migration could not be written; it is tried again');
    }
  }

  async #advanceOnce(): Promise<void> {
    const { state } = this.#migration;
    if (state.kind === 'paused') {
      await this.#sleep(Number.POSITIVE_INFINITY);
      return;
    }
    const event = isReturning(state)
      ? await settle(
          this.#migration,
          state,
          this.#options.registry,
          this.#options.settleTimeoutMs,
          this.#work(),
        )
      : state.kind === 'running'
        ? await this.#runStep(state)
        : null;
    if (event !== null) await this.#write(event);
  }

  async #runStep(state: RunningState): Promise<MigrationEventBody> {
    const step = stepOfPlan(this.#migration.plan, state.at.step);
    const look = () => changedOutside(this.#options.registry, this.#migration, state);
    const outside = await look();
    if (outside !== null) return outside;
    const context = {
      ...this.#work(),
      migration: this.#migration,
      state,
      step,
      registry: this.#options.registry,
      ports: this.#options.ports,
      elapsedMs: async () =>
        (await this.#options.registry.migrations.now()).getTime() - new Date(state.at.beganAt).getTime(),
    } as unknown as StepContext<StepKind>;
    const { signal } = this.#step;
    try {
      const run = runnerOf(step.kind, this.#options.bundlesDir);
      return await Promise.race([run(context), watchOutside(look, signal)]);
    } finally {
      this.#step.abort(new Overtaken());
    }
  }

  async #write(event: MigrationEventBody): Promise<void> {
    const { registry, log } = this.#options;
    const migration = this.#migration;
    const { corpus, plan, state } = migration;
    const author = { actor: `migration driver ${this.#lease.holder}`, reason: reasonOf(event, migration) };
    this.#migration = await advanceBy(registry, migration, event, author, this.#lease.token);
    if (event.kind === 'consumers_warned')
      for (const { service, team, message } of event.warnings) log.warn({ corpus, service, team }, message);
    const now = this.#migration.state;
    const at = 'at' in now ? stepOfPlan(plan, now.at.step) : null;
    log.info(
      { corpus, migration: migration.migrationId, event: event.kind, from: state.kind, to: now.kind },
      at === null ? `the migration ${now.kind}` : `the migration is ${now.kind} at ${stepName(at)}`,
    );
  }

  /** What may pass is tried again; what will not is a person's. Returns how often it failed in a row. */
  async #afterFailure(error: SwitchyardError, failures: number): Promise<number> {
    const { log } = this.#options;
    const { corpus, state } = this.#migration;
    const mayPass = REASONS[error.reason].retry !== 'never' || error.reason === 'REVISION_CONFLICT';
    if (error.reason === 'STATUS_CONFLICT') {
      // Written by somebody else in between, or the lease is lost: a look tells.
      const before = this.#migration.sequence;
      await this.look();
      if (this.#ended.signal.aborted || this.#migration.sequence !== before) return 0;
    }
    // The lease ran out while this was written and was renewed before anybody else took it: it is ours as before.
    const wasLate = error.details.rule === 'migration_lease_lost';
    const hasTimedOut = error.reason === 'TARGET_NOT_READY';
    if (wasLate || (mayPass && !hasTimedOut)) {
      const retryInMs = backoffDelayMs(RETRY, failures + 1, Math.random);
      log.warn(
        { err: error, corpus, retryInMs: Math.round(retryInMs) },
        'a step of a migration is tried again',
      );
      await this.#sleep(retryInMs);
      return failures + 1;
    }
    log.error({ err: error, corpus }, 'a step of a migration failed');
    if (state.kind !== 'running') {
      await this.#sleep(backoffDelayMs(RETRY, failures + 1, Math.random));
      return failures + 1;
    }
    try {
      await this.#write({ kind: 'step_broke', why: `${error.reason}: ${error.message}` });
    } catch (again) {
      log.warn({ err: again, corpus }, 'a failed step could not be written down');
      await this.#sleep(backoffDelayMs(RETRY, failures + 1, Math.random));
    }
    return failures + 1;
  }

  async #renew(): Promise<void> {
    const { registry, leaseMs, log } = this.#options;
    const { migrationId, corpus, sequence } = this.#migration;
    try {
      const record = await registry.migrations.renewLease(migrationId, this.#lease, leaseMs, this.#progress);
      this.#renewedAtMs = performance.now();
      if (record === null) {
        log.info({ corpus, migration: migrationId }, 'the lease of a migration passed on');
        this.stop();
      } else if (record.sequence > this.#migration.sequence && record.sequence !== sequence) {
        this.#migration = readMigration(record);
        this.#overtake();
      }
    } catch (error) {
      // Nobody can write without the registry, and nobody knows who holds the lease when it is back.
      if (performance.now() - this.#renewedAtMs < leaseMs) return;
      log.warn({ err: error, corpus }, 'the lease of a migration could not be renewed in time');
      this.stop();
    }
  }

  #overtake(): void {
    this.#step.abort(new Overtaken());
    this.#wake?.();
  }

  #work() {
    return {
      signal: this.#step.signal,
      onProgress: (progress: WorkProgress) => {
        this.#progress = progress;
      },
      wait: async (ms: number) => {
        await this.#sleep(ms);
        if (this.#step.signal.aborted || this.#ended.signal.aborted) throw new Overtaken();
      },
    };
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      if (this.#ended.signal.aborted) {
        resolve();
        return;
      }
      const wake = (): void => {
        if (timer !== null) clearTimeout(timer);
        if (this.#wake === wake) this.#wake = null;
        resolve();
      };
      const timer = Number.isFinite(ms) ? setTimeout(wake, ms) : null;
      this.#wake = wake;
    });
  }
}
