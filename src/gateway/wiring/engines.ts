import type { Config } from '../../config/config.js';
import type { Encoder, EncoderState } from '../../encoder/encoder.js';
import { loadModelFolder } from '../../encoder/model-folder.js';
import { startProcessEncoder } from '../../encoder/process-encoder.js';
import type { ProcessEncoder } from '../../encoder/process-encoder-options.js';
import { RunTallies } from '../../encoder/run-tallies.js';
import { SwitchyardError } from '../../errors.js';
import { findBundleFolder } from '../../index/bundle-folder.js';
import { IndexProcesses } from '../../index/process/index-processes.js';
import { readBundle } from '../../index/read-bundle.js';
import type { SearchIndex } from '../../index/search-index.js';
import { SearchPool } from '../../index/search-pool.js';
import { DramTier } from '../../index/tiers/dram-tier.js';
import type { QueueTimeLimits } from '../../process/controlled-delay.js';
import type { ModelSpec, TargetFactories, TargetSpec } from '../../router/targets.js';
import { type Logger, reporter } from '../../telemetry/log.js';
import { digestPrefix, type Fingerprint } from '../../vocabulary.js';

/** Opens what the router asks for, and knows what is open: for `model list`, logs and metrics. */
export class Engines implements TargetFactories {
  /** Targets that serve from memory. */
  readonly pool: SearchPool;
  /** Targets that serve from disk, on threads of their own: who waits for a disk delays nobody who does not. */
  readonly ssdPool: SearchPool;
  readonly dram: DramTier;
  /** Shadows, where a crash takes nothing else with it (invariant 3). No process before the first is opened. */
  readonly processes: IndexProcesses;
  readonly runs = new RunTallies();
  readonly #config: Config;
  readonly #log: Logger;
  readonly #encoders = new Map<Fingerprint, ProcessEncoder>();

  constructor(config: Config, log: Logger) {
    this.#config = config;
    this.#log = log;
    const { workers, ssdWorkers, queueLengthMax } = config.search;
    const { memoryDir, dramBytesMax } = config.tiers;
    const queueTime = this.#queueTime;
    this.dram = new DramTier({ memoryDir, bytesMax: dramBytesMax, log });
    const common = { queueLengthMax, queueTime, log, countFaults: true };
    this.pool = new SearchPool({ ...common, workers, place: this.dram.place });
    this.ssdPool = new SearchPool({ ...common, workers: ssdWorkers });
    this.processes = new IndexProcesses({
      workers: Math.ceil(config.search.workers / 2),
      queueLengthMax: config.search.queueLengthMax,
      niceness: config.mirror.niceness,
      log: reporter(log),
    });
  }

  /** Of those who serve; what shadows are searched with has deadlines alone. */
  get #queueTime(): QueueTimeLimits | null {
    const { enabled, queueMsTarget, queueMsMax } = this.#config.overload;
    return enabled ? { targetMs: queueMsTarget, maxMs: queueMsMax } : null;
  }

  /** Whether the searches that are served keep either tier's threads behind. */
  get isBehind(): boolean {
    return this.pool.isBehind || this.ssdPool.isBehind;
  }

  /** Encoders that were started and not closed. */
  encoders(): readonly ProcessEncoder[] {
    return [...this.#encoders.values()].filter((encoder) => encoder.state.kind !== 'closed');
  }

  async openEncoder({ fingerprint, modelRef }: ModelSpec): Promise<Encoder> {
    const { encoder: settings, limits, modelsDir } = this.#config;
    const log = this.#log.child({ model: modelRef, fingerprint });
    const encoder = startProcessEncoder({
      folder: await loadModelFolder(modelsDir, fingerprint),
      providers: settings.providers,
      require: settings.require,
      threads: settings.threads,
      batchTokensMax: settings.batchTokensMax,
      batchDelayMsMax: settings.batchDelayMsMax,
      accelerator: settings.accelerator,
      backgroundRunMsMax: settings.backgroundRunMsMax,
      queueBytesMax: settings.queueBytesMax,
      queueTime: this.#queueTime,
      queueLengthMax: {
        live: settings.queueLengthMax,
        shadow: settings.queueLengthMax,
        bulk: settings.queueLengthMax,
      },
      textBytesMax: limits.textBytesMax,
      log: reporter(log),
      onBatch: (batch) => this.runs.observe(modelRef, batch),
      onState: (state) => logState(log, state),
    });
    this.#encoders.set(fingerprint, encoder);
    return encoder;
  }

  async openTarget(spec: TargetSpec): Promise<SearchIndex> {
    const bundle = await readBundle(await findBundleFolder(this.#config.bundlesDir, spec));
    const model = await loadModelFolder(this.#config.modelsDir, spec.fingerprint);
    if (bundle.digest !== spec.build) {
      throw new SwitchyardError(
        'CORRUPT_BUNDLE',
        `manifest.json of build ${digestPrefix(spec.build)} of ${spec.corpus}/${spec.version} has digest ${digestPrefix(bundle.digest)}: build the version again`,
      );
    }
    const pool = spec.tier === 'dram' ? this.pool : this.ssdPool;
    const engine = spec.isolation === 'isolated' ? this.processes : pool;
    return engine.open(bundle, { expected: model.manifest });
  }

  async close(): Promise<void> {
    await Promise.all([this.pool.close(), this.ssdPool.close(), this.processes.close()]);
  }
}

function logState(log: Logger, state: EncoderState): void {
  switch (state.kind) {
    case 'ready':
      log.info({ provider: state.provider, pid: state.pid }, 'encoder is ready');
      return;
    case 'restarting':
      log.warn({ attempt: state.attempt, retryInMs: state.retryInMs }, 'encoder restarts');
      return;
    case 'failed':
      log.error(
        { err: state.error, attempt: state.attempt, retryInMs: state.retryInMs },
        'encoder failed; it is tried again',
      );
      return;
    case 'starting':
    case 'closed':
      return;
    default:
      state satisfies never;
  }
}
