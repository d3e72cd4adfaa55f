import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';
import type { EncodeRequest, EncoderState } from '../../src/encoder/encoder.js';
import type { ModelFolder } from '../../src/encoder/manifest.js';
import { startProcessEncoder } from '../../src/encoder/process-encoder.js';
import type {
  EncoderBatch,
  ProcessEncoder,
  ProcessEncoderOptions,
} from '../../src/encoder/process-encoder-options.js';
import { DEFAULT_BACKOFF } from '../../src/process/backoff.js';

export interface StartedEncoder {
  readonly encoder: ProcessEncoder;
  readonly batches: EncoderBatch[];
  readonly states: EncoderState[];
  readonly logs: string[];
}

/** A real encoder process over a real model; closed when the test ends. */
export function startEncoder(
  t: Test,
  folder: ModelFolder,
  options: Partial<ProcessEncoderOptions> = {},
): StartedEncoder {
  const batches: EncoderBatch[] = [];
  const states: EncoderState[] = [];
  const logs: string[] = [];
  const encoder = startProcessEncoder({
    folder,
    providers: ['cpu'],
    require: true,
    threads: 1,
    batchTokensMax: 2048,
    queueLengthMax: { live: 64, shadow: 16, bulk: 4 },
    textBytesMax: 65_536,
    backoff: { ...DEFAULT_BACKOFF, delayMsFirst: 20, delayMsMax: 200 },
    log: (_level, message) => logs.push(message),
    onBatch: (batch) => batches.push(batch),
    onState: (state) => states.push(state),
    ...options,
  });
  t.teardown(() => encoder.close());
  return { encoder, batches, states, logs };
}

export const request = (
  texts: readonly string[],
  options: Partial<Omit<EncodeRequest, 'texts'>> = {},
): EncodeRequest => ({
  texts,
  role: 'query',
  lane: 'live',
  deadlineAtMs: Number.POSITIVE_INFINITY,
  ...options,
});

export function pidOf(encoder: ProcessEncoder): number {
  if (encoder.state.kind !== 'ready') throw new Error(`the encoder is ${encoder.state.kind}, not ready`);
  return encoder.state.pid;
}

/** A copy of a model that a test may damage; removed when the test ends. */
export async function copyOfModel(t: Test, model: ModelFolder): Promise<ModelFolder> {
  const parent = await mkdtemp(path.join(tmpdir(), 'switchyard-encoder-'));
  t.teardown(() => rm(parent, { recursive: true, force: true }));
  const folder = path.join(parent, model.manifest.fingerprint);
  await cp(model.folder, folder, { recursive: true });
  return { folder, manifest: model.manifest };
}

/** The reason a promise was rejected with; `resolved` when it was not. */
export async function reasonOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return 'resolved';
  } catch (error) {
    return (error as { readonly reason?: string }).reason ?? String(error);
  }
}

/** Cosine of row `row` of one matrix with row `otherRow` of another. */
export function cosine(
  a: Float32Array,
  row: number,
  b: Float32Array,
  otherRow: number,
  dimensions: number,
): number {
  let dot = 0;
  let aa = 0;
  let bb = 0;
  for (let i = 0; i < dimensions; i++) {
    const x = a[row * dimensions + i] ?? Number.NaN;
    const y = b[otherRow * dimensions + i] ?? Number.NaN;
    dot += x * y;
    aa += x * x;
    bb += y * y;
  }
  return dot / Math.sqrt(aa * bb);
}
