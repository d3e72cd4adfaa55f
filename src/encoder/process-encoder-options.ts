import { type AcceleratorConfig, DEFAULT_ACCELERATOR } from '../config/encoder.js';
import { SwitchyardError } from '../errors.js';
import { type BackoffPolicy, DEFAULT_BACKOFF } from '../process/backoff.js';
import type { QueueTimeLimits } from '../process/controlled-delay.js';
import type { ProcessLog } from '../process/process-log.js';
import { systemTimers, type Timers } from '../process/timers.js';
import { type Device, LANES, type Lane } from '../vocabulary.js';
import { type BatchMessage, TEXT_BYTES_MAX_BOUND } from './child-protocol.js';
import type { Encoder, EncoderState } from './encoder.js';
import type { ModelFolder } from './manifest.js';

export interface ProcessEncoderOptions {
  readonly folder: ModelFolder;
  /** In order of preference; at least one. */
  readonly providers: readonly Device[];
  /** The first provider or none: PROVIDER_UNAVAILABLE instead of a fallback. */
  readonly require: boolean;
  /** Threads one run uses on the CPU. */
  readonly threads: number;
  /** Padded tokens of one run on the CPU at most; a single longer text runs alone. */
  readonly batchTokensMax: number;
  /** How long a text may wait on the CPU for others to share its run, when there were others before. Default 0. */
  readonly batchDelayMsMax?: number;
  /** Budget, delay and pinned shapes on cuda and webgpu. */
  readonly accelerator?: AcceleratorConfig;
  /** Requests accepted and not answered yet, per lane. */
  readonly queueLengthMax: Readonly<Record<Lane, number>>;
  /** UTF-8 bytes of their texts, per lane. Default 64 MiB. */
  readonly queueBytesMax?: number;
  /** When who waits is refused with OVERLOADED. Default null: never for that. */
  readonly queueTime?: QueueTimeLimits | null;
  /** UTF-8 bytes of one text; at most 8 MiB. */
  readonly textBytesMax: number;
  /** Estimated length of a shadow or bulk run; Infinity for an encoder that has no live reads. Default 20. */
  readonly backgroundRunMsMax?: number;
  /** How much the process yields to what serves from the same cores, 0..19 as of nice(1). Default 0. */
  readonly niceness?: number;
  /** Default 120 s: a large model is hashed, loaded and probed in it. */
  readonly startTimeoutMs?: number;
  /** Owed work and no sign for so long: killed and started again. Must be longer than one run. Default 30 s. */
  readonly silentMsMax?: number;
  /** How long `close` waits for what is in flight, and then once more for the process. Default 5 s. */
  readonly closeGraceMs?: number;
  readonly backoff?: BackoffPolicy;
  readonly log: ProcessLog;
  /** After each run of the model. */
  readonly onBatch?: (batch: EncoderBatch) => void;
  /** After each change of state. */
  readonly onState?: (state: EncoderState) => void;
  readonly timers?: Timers;
  readonly random?: () => number;
}

/** One run of the model, for metrics. */
export type EncoderBatch = Readonly<BatchMessage>;

/** Totals since the start, and what is queued now; read at scrape. */
export interface EncoderCounters {
  readonly batches: number;
  readonly texts: number;
  readonly tokens: number;
  readonly paddedTokens: number;
  readonly restarts: number;
  /** Requests that waited too long in a queue that stands. */
  readonly shed: number;
  /** Requests accepted and not answered yet. */
  readonly queueLength: Readonly<Record<Lane, number>>;
  readonly queueBytes: Readonly<Record<Lane, number>>;
  /** Pieces the process owes an answer for. */
  readonly outstanding: number;
  /** Bytes that wait in this process for the child to read. */
  readonly bufferedBytes: number;
}

export interface ProcessEncoder extends Encoder {
  readonly counters: EncoderCounters;
}

/** The options checked and filled in; nothing is optional past this point. */
export type EncoderSettings = Readonly<Required<ProcessEncoderOptions>>;

/** Errors: INVALID_CONFIG naming the option, its value and its bounds. */
export function compileOptions(options: ProcessEncoderOptions): EncoderSettings {
  const settings: EncoderSettings = {
    queueBytesMax: 64 * 1024 * 1024,
    queueTime: null,
    batchDelayMsMax: 0,
    accelerator: DEFAULT_ACCELERATOR,
    backgroundRunMsMax: 20,
    niceness: 0,
    startTimeoutMs: 120_000,
    silentMsMax: 30_000,
    closeGraceMs: 5_000,
    backoff: DEFAULT_BACKOFF,
    onBatch: ignore,
    onState: ignore,
    timers: systemTimers,
    random: Math.random,
    ...options,
  };
  if (settings.providers.length === 0)
    throw new SwitchyardError(
      'INVALID_CONFIG',
      'providers is empty; name at least one execution provider, for instance cpu',
    );
  expectInteger('threads', settings.threads, 1, 1024);
  expectInteger('batchTokensMax', settings.batchTokensMax, 1, 1 << 24);
  expectInteger('textBytesMax', settings.textBytesMax, 1, TEXT_BYTES_MAX_BOUND);
  expectInteger('queueBytesMax', settings.queueBytesMax, settings.textBytesMax, Number.MAX_SAFE_INTEGER);
  expectInteger('niceness', settings.niceness, 0, 19);
  for (const lane of LANES)
    expectInteger(`queueLengthMax.${lane}`, settings.queueLengthMax[lane], 1, 1_000_000);
  if (!(settings.batchDelayMsMax >= 0 && settings.batchDelayMsMax <= 1_000))
    throw new SwitchyardError(
      'INVALID_CONFIG',
      `batchDelayMsMax ${settings.batchDelayMsMax} must be in 0..1000`,
    );
  expectPositive('backgroundRunMsMax', settings.backgroundRunMsMax);
  expectPositive('startTimeoutMs', settings.startTimeoutMs);
  expectPositive('silentMsMax', settings.silentMsMax);
  expectPositive('closeGraceMs', settings.closeGraceMs);
  return Object.freeze(settings);
}

function expectInteger(name: string, value: number, min: number, max: number): void {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return;
  throw new SwitchyardError('INVALID_CONFIG', `${name} ${value} must be a whole number in ${min}..${max}`);
}

function expectPositive(name: string, value: number): void {
  if (value > 0) return;
  throw new SwitchyardError('INVALID_CONFIG', `${name} ${value} must be > 0`);
}

function ignore(): void {
  // Nobody listens.
}
