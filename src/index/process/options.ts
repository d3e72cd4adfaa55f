import { SwitchyardError } from '../../errors.js';
import { type BackoffPolicy, DEFAULT_BACKOFF } from '../../process/backoff.js';
import type { ProcessLog } from '../../process/process-log.js';
import { systemTimers, type Timers } from '../../process/timers.js';

export interface IndexProcessOptions {
  /** Search worker threads of each process. */
  readonly workers: number;
  /** Searches sent to one process and not answered, per lane; more are refused with QUEUE_FULL. */
  readonly queueLengthMax: number;
  /** What the searches and answers in flight of one process may hold, by estimate. Default 64 MiB. */
  readonly inFlightBytesMax?: number;
  /** Time to open a bundle, beside 50 s for each GB of it to be hashed. Default 60 s. */
  readonly startTimeoutMs?: number;
  /** A process that owes answers and gives no sign for so long is killed and started again. Default 10 s. */
  readonly silentMsMax?: number;
  /** A search that runs for so long beyond its deadline ends its process, which is started again. Default 30 s. */
  readonly stuckMsMax?: number;
  /** How long `close` waits for what is in flight, and then once more for the process. Default 2 s. */
  readonly closeGraceMs?: number;
  /**
   * How much the processes yield to what serves from the same cores (invariant 3), 0..19 as of nice(1). With the
   * default of 10 they get about a tenth of a core that is wanted by one other thread, and all of an idle one.
   */
  readonly niceness?: number;
  /** What a process runs; another program only where it is tested what a broken process may say. */
  readonly program?: URL;
  readonly backoff?: BackoffPolicy;
  readonly log: ProcessLog;
  readonly timers?: Timers;
  readonly random?: () => number;
}

/** The options checked and filled in. */
export type IndexProcessSettings = Readonly<Required<IndexProcessOptions>>;

/** Errors: INVALID_CONFIG naming the option, its value and its bounds. */
export function compileOptions(options: IndexProcessOptions): IndexProcessSettings {
  const settings: IndexProcessSettings = {
    inFlightBytesMax: 64 * 1024 * 1024,
    startTimeoutMs: 60_000,
    silentMsMax: 10_000,
    stuckMsMax: 30_000,
    closeGraceMs: 2_000,
    niceness: 10,
    program: new URL('./child-main.js', import.meta.url),
    backoff: DEFAULT_BACKOFF,
    timers: systemTimers,
    random: Math.random,
    ...options,
  };
  expectWhole('workers', settings.workers, 256);
  expectWhole('queueLengthMax', settings.queueLengthMax, 1_000_000);
  expectWhole('inFlightBytesMax', settings.inFlightBytesMax, Number.MAX_SAFE_INTEGER);
  for (const name of ['startTimeoutMs', 'silentMsMax', 'stuckMsMax', 'closeGraceMs'] as const)
    if (!(settings[name] > 0))
      throw new SwitchyardError('INVALID_CONFIG', `${name} ${settings[name]} must be > 0`);
  const { niceness } = settings;
  if (!Number.isInteger(niceness) || niceness < 0 || niceness > 19)
    throw new SwitchyardError('INVALID_CONFIG', `niceness ${niceness} must be a whole number in 0..19`);
  return Object.freeze(settings);
}

function expectWhole(name: string, value: number, max: number): void {
  if (Number.isSafeInteger(value) && value >= 1 && value <= max) return;
  throw new SwitchyardError('INVALID_CONFIG', `${name} ${value} must be a whole number in 1..${max}`);
}
