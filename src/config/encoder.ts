import { type Static, Type } from '@sinclair/typebox';
import { SwitchyardError } from '../errors.js';
import { DEVICE_PATTERN, type Device } from '../vocabulary.js';

const closed = { additionalProperties: false } as const;
const count = (value: number, minimum: number, maximum: number) =>
  Type.Integer({ minimum, maximum, default: value });
const sizes = (value: readonly number[], maximum: number) =>
  Type.Array(Type.Integer({ minimum: 1, maximum }), { minItems: 1, maxItems: 16, default: [...value] });

export interface AcceleratorConfig {
  readonly batchTokensMax: number;
  readonly batchDelayMsMax: number;
  /** Rising, from 1. */
  readonly batchTexts: readonly number[];
  /** In tokens, rising. */
  readonly batchLengths: readonly number[];
}

export const DEFAULT_ACCELERATOR: AcceleratorConfig = {
  batchTokensMax: 16_384,
  batchDelayMsMax: 2,
  batchTexts: [1, 2, 4, 8, 16, 32, 64, 128, 256],
  batchLengths: [16, 32, 64, 128, 256],
};

/** `encoder:` of the configuration file. */
export const EncoderSchema = Type.Object(
  {
    /**
     * Devices tried in this order: cpu, webgpu, cuda or cuda:N. With `require` the first must be had or the encoder
     * does not start.
     */
    providers: Type.Array(
      Type.String({ pattern: DEVICE_PATTERN.source, errorMessage: 'must be cpu, webgpu, cuda or cuda:N' }),
      {
        minItems: 1,
        uniqueItems: true,
        default: ['cpu'],
      },
    ),
    require: Type.Boolean({ default: false }),
    /** Threads of one encoder process; 0: one per core. */
    threads: count(0, 0, 256),
    /** Tokens of one run on the CPU, padding included. */
    batch_tokens_max: count(1024, 16, 1_048_576),
    /** How long a text may wait for others to share its run. */
    batch_delay_ms_max: count(0, 0, 1_000),
    /** Estimated length of a shadow or bulk run. */
    background_run_ms_max: count(20, 1, 60_000),
    /** Requests per lane. */
    queue_length_max: count(1024, 1, 1_000_000),
    /** UTF-8 bytes of their texts, per lane. */
    queue_bytes_max: count(67_108_864, 65_536, 4_294_967_296),
    /** Instead of the budget and delay above, on cuda and webgpu. */
    accelerator: Type.Object(
      {
        batch_tokens_max: count(DEFAULT_ACCELERATOR.batchTokensMax, 16, 16_777_216),
        batch_delay_ms_max: count(DEFAULT_ACCELERATOR.batchDelayMsMax, 0, 1_000),
        /** Every run is padded to one of these numbers of texts and of these lengths, which are warmed up at start. */
        batch_texts: sizes(DEFAULT_ACCELERATOR.batchTexts, 4096),
        batch_lengths: sizes(DEFAULT_ACCELERATOR.batchLengths, 8192),
      },
      { ...closed, default: {} },
    ),
  },
  { ...closed, default: {} },
);

export interface EncoderConfig {
  readonly providers: readonly Device[];
  readonly require: boolean;
  readonly threads: number;
  readonly batchTokensMax: number;
  readonly batchDelayMsMax: number;
  readonly backgroundRunMsMax: number;
  readonly queueLengthMax: number;
  readonly queueBytesMax: number;
  readonly accelerator: AcceleratorConfig;
}

/** Errors: INVALID_CONFIG naming the relation that does not hold. */
export function compileEncoder(file: Static<typeof EncoderSchema>, cores: number): EncoderConfig {
  const { accelerator } = file;
  expectRising('encoder.accelerator.batch_texts', accelerator.batch_texts);
  expectRising('encoder.accelerator.batch_lengths', accelerator.batch_lengths);
  if (accelerator.batch_texts[0] !== 1)
    throw invalid(
      `encoder.accelerator.batch_texts must begin with 1, else a lone text costs ${accelerator.batch_texts[0]}`,
    );
  if (file.providers.includes('cuda') && file.providers.includes('cuda:0'))
    throw invalid('encoder.providers names one device twice: cuda is cuda:0');
  return {
    providers: file.providers as Device[],
    require: file.require,
    threads: file.threads === 0 ? cores : file.threads,
    batchTokensMax: file.batch_tokens_max,
    batchDelayMsMax: file.batch_delay_ms_max,
    backgroundRunMsMax: file.background_run_ms_max,
    queueLengthMax: file.queue_length_max,
    queueBytesMax: file.queue_bytes_max,
    accelerator: {
      batchTokensMax: accelerator.batch_tokens_max,
      batchDelayMsMax: accelerator.batch_delay_ms_max,
      batchTexts: accelerator.batch_texts,
      batchLengths: accelerator.batch_lengths,
    },
  };
}

function expectRising(setting: string, values: readonly number[]): void {
  const at = values.findIndex((value, i) => i > 0 && value <= (values[i - 1] as number));
  if (at > 0) throw invalid(`${setting} must rise: ${values[at]} comes after ${values[at - 1]}`);
}

const invalid = (message: string): SwitchyardError => new SwitchyardError('INVALID_CONFIG', message);
