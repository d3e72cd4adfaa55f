import { OneAtATime } from '../../process/one-at-a-time.js';
import type { CorpusMigrations } from '../../registry/corpus-migrations.js';
import type { MigrationRecord } from '../../registry/migration-record.js';
import type { Registry } from '../../registry/registry.js';
import type { Logger } from '../../telemetry/log.js';
import { MigrationDriver } from './driver.js';
import type { MigrationMeter } from './meter.js';
import { stepOfPlan } from './plan-schema.js';
import type { MigrationPorts, WorkProgress } from './ports.js';
import { type Migration, readMigration } from './record.js';

export interface RunnerOptions {
  /** Null while there is none. */
  readonly registry: () => Registry | null;
  readonly gatewayId: string;
  readonly ports: (registry: Registry) => MigrationPorts;
  readonly meter: MigrationMeter;
  readonly bundlesDir: string;
  /** Drives those of this corpus alone. Default: all. */
  readonly corpus?: string;
  readonly settings: {
    readonly drive: boolean;
    readonly leaseMs: number;
    readonly pollIntervalMs: number;
    readonly sampleIntervalMs: number;
    readonly settleTimeoutMs: number;
    readonly samplesKeepDays: number;
  };
  readonly log: Logger;
}

/** Of the sampling interval, while nothing is decided by what is measured. */
const IDLE_TICKS = 12;

/** A report that could not be written, by a full disk say, is tried again so much later. */
const REPORT_AGAIN_MS = 60_000;

/** How often samples that are too old are looked for. */
const PRUNE_MS = 3_600_000;

/** Whether the step in hand looks at samples. */
function isMeasuring({ plan, state }: Migration): boolean {
  if (state.kind !== 'running') return false;
  const { kind } = stepOfPlan(plan, state.at.step);
  return kind === 'shadow' || kind === 'analysis' || kind === 'set_weight';
}

/**
 * One gateway's part in the migrations of its registry: it drives those whose lease it gets, and measures the traffic of
 * every corpus that migrates, whoever drives.
 */
export class MigrationRunner {
  readonly #options: RunnerOptions;
  readonly #drivers = new Map<string, { readonly driver: MigrationDriver; readonly done: Promise<void> }>();
  readonly #poll: NodeJS.Timeout;
  readonly #sampling: NodeJS.Timeout;
  /** Those that are measured. */
  #measured: ReadonlyMap<string, MigrationRecord> = new Map();
  #ticks = 0;
  #prunedAtMs = Number.NEGATIVE_INFINITY;
  /** Of those that ended and have no report yet, when this process last drove them. */
  readonly #reportTriedAtMs = new Map<string, number>();
  #unfinished: readonly MigrationRecord[] = [];
  readonly #looks = new OneAtATime(() =>
    this.#lookOnce().catch((error: unknown) =>
      this.#options.log.debug({ err: error }, 'migrations could not be read'),
    ),
  );
  #writing: Promise<void> | null = null;
  #isClosed = false;

  constructor(options: RunnerOptions) {
    this.#options = options;
    const { pollIntervalMs, sampleIntervalMs } = options.settings;
    this.#poll = setInterval(() => this.look(), pollIntervalMs);
    this.#sampling = setInterval(() => this.#sample(), sampleIntervalMs);
    this.look();
  }

  /** As last read. */
  get unfinished(): readonly MigrationRecord[] {
    return this.#unfinished;
  }

  /** Of the step that this gateway has in hand for a migration; null when it drives it not. */
  progressOf(migrationId: string): WorkProgress | null {
    return this.#drivers.get(migrationId)?.driver.progress ?? null;
  }

  /** Something changed: at times, and when told so. One look at a time. */
  look(): void {
    if (!this.#isClosed) this.#looks.ask();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#poll);
    clearInterval(this.#sampling);
    await this.#looks.settled();
    await this.#writing;
    for (const { driver } of this.#drivers.values()) driver.stop();
    await Promise.all([...this.#drivers.values()].map(({ done }) => done));
  }

  async #lookOnce(): Promise<void> {
    if (this.#isClosed) return;
    const registry = this.#options.registry();
    if (registry === null) return;
    const unfinished = await registry.migrations.list({ isUnfinished: true });
    this.#unfinished = unfinished;
    this.#measure(unfinished);
    for (const { driver } of this.#drivers.values()) await driver.look();
    const { settings, corpus } = this.#options;
    await this.#prune(registry);
    if (!settings.drive || this.#isClosed) return;
    for (const record of [...unfinished, ...(await this.#unreported(registry))])
      if (corpus === undefined || record.corpus === corpus) await this.#drive(registry, record);
  }

  /** Those that ended and lack their report, which their driver writes; none that was tried a moment ago. */
  async #unreported({ migrations }: Registry): Promise<readonly MigrationRecord[]> {
    const found = await migrations.unreported();
    for (const id of this.#reportTriedAtMs.keys())
      if (!found.some(({ migrationId }) => migrationId === id)) this.#reportTriedAtMs.delete(id);
    const now = performance.now();
    return found.filter(
      ({ migrationId }) =>
        now - (this.#reportTriedAtMs.get(migrationId) ?? Number.NEGATIVE_INFINITY) >= REPORT_AGAIN_MS,
    );
  }

  async #drive(registry: Registry, record: MigrationRecord): Promise<void> {
    const { gatewayId, ports, bundlesDir, settings, log } = this.#options;
    const { migrationId, corpus } = record;
    if (this.#drivers.has(migrationId) || this.#isClosed) return;
    if (record.lease !== null && record.lease.holder !== gatewayId) return;
    const lease = await registry.migrations.takeLease(migrationId, gatewayId, settings.leaseMs);
    if (lease === null) return;
    const migration = readMigration(await registry.migrations.get(migrationId));
    const driver = new MigrationDriver(
      {
        registry,
        ports: ports(registry),
        bundlesDir,
        leaseMs: settings.leaseMs,
        settleTimeoutMs: settings.settleTimeoutMs,
        log,
      },
      migration,
      lease,
    );
    const done = driver
      .run()
      .catch((error: unknown) => log.error({ err: error, corpus }, 'the driver of a migration failed'))
      .finally(() => {
        this.#drivers.delete(migrationId);
        if (record.finishedAt !== null) this.#reportTriedAtMs.set(migrationId, performance.now());
        // An operator's command took the lease: somebody has to carry it out.
        this.look();
      });
    this.#drivers.set(migrationId, { driver, done });
  }

  async #prune({ migrations }: Registry): Promise<void> {
    const { settings, log } = this.#options;
    if (performance.now() - this.#prunedAtMs < PRUNE_MS) return;
    this.#prunedAtMs = performance.now();
    try {
      const removed = await migrations.pruneSamples(settings.samplesKeepDays);
      if (removed > 0) log.info({ removed }, 'samples of migrations that ended were removed');
    } catch (error) {
      log.debug({ err: error }, 'samples of migrations that ended could not be removed');
    }
  }

  #measure(unfinished: readonly MigrationRecord[]): void {
    this.#measured = new Map(unfinished.map((record) => [record.migrationId, record]));
    this.#options.meter.watch(new Set(unfinished.map(({ corpus }) => corpus)));
  }

  #sample(): void {
    const migrations = this.#options.registry()?.migrations;
    // A registry that is slower than the interval gets fewer samples of more, and no queue of writes.
    if (migrations === undefined || this.#measured.size === 0 || this.#writing !== null) return;
    this.#writing = this.#writeSamples(migrations).finally(() => {
      this.#writing = null;
    });
  }

  /** A sample that could not be written is lost: nothing is decided by its absence but that there is too little. */
  async #writeSamples(migrations: CorpusMigrations): Promise<void> {
    const { meter, gatewayId, log } = this.#options;
    this.#ticks++;
    for (const [migrationId, record] of this.#measured) {
      const { corpus } = record;
      // What waits for a person or a deadline may last for days: the same sums, in fewer rows.
      if (!isMeasuring(readMigration(record)) && this.#ticks % IDLE_TICKS !== 0) continue;
      const sample = meter.take(corpus);
      if (sample === null) continue;
      if (Object.keys(sample.versions).length === 0 && Object.keys(sample.mirrored).length === 0) continue;
      try {
        await migrations.addSample(migrationId, gatewayId, sample);
      } catch (error) {
        log.debug({ err: error, corpus }, 'a sample of a migration could not be written');
      }
    }
  }
}
