import path from 'node:path';
import type { InferenceSession } from 'onnxruntime-node';
import { DEFAULT_ACCELERATOR } from '../../src/config/encoder.js';
import { batchTensors } from '../../src/encoder/batch-tensors.js';
import type { ModelFolder } from '../../src/encoder/manifest.js';
import { MODEL_FILES } from '../../src/encoder/model-folder.js';
import type { ProcessEncoder } from '../../src/encoder/process-encoder-options.js';
import { openGraph } from '../../src/encoder/session.js';
import { TextTokenizer, type TokenisedText } from '../../src/encoder/tokenizer.js';
import { SeededRandom } from '../../src/index/seeded-random.js';
import type { Device } from '../../src/vocabulary.js';
import { Latencies } from '../load/latencies.js';
import { median } from '../report.js';

/** Length of every text in tokens: one of the pinned lengths, so that no side pays for padding. */
const TEXT_TOKENS = 32;
const TEXTS = 4_096;
/** One batch is answered before the next is asked for. */
const IN_FLIGHT = 1;
/** Of the encoder process on the CPU; what an accelerator's session does there besides is as small. */
export const CPU_THREADS = 1;
const SIZES = {
  smoke: { batchTexts: [1, 4], rounds: 2, seconds: 0.2 },
  full: { batchTexts: DEFAULT_ACCELERATOR.batchTexts, rounds: 6, seconds: 1 },
} as const;

export interface GpuText {
  readonly text: string;
  readonly tokens: TokenisedText;
}

export interface DeviceSides {
  readonly device: Device;
  readonly encoder: ProcessEncoder;
  readonly cpu: ProcessEncoder;
  readonly model: ModelFolder;
  readonly texts: readonly GpuText[];
  readonly size: 'smoke' | 'full';
}

/** Seeded sequences of words of the model's own vocabulary, each of TEXT_TOKENS tokens: no corpus has to be carried. */
export async function gpuTexts(model: ModelFolder, seed: number): Promise<readonly GpuText[]> {
  const tokenizer = await TextTokenizer.open(
    path.join(model.folder, MODEL_FILES.tokenizer),
    model.manifest.max_tokens,
  );
  const random = new SeededRandom(seed);
  const words = Array.from({ length: 26 * 26 }, (_, at) => {
    const word = String.fromCharCode(97 + Math.floor(at / 26), 97 + (at % 26));
    return { word, tokens: tokenizer.encode(word).ids.length - tokenizer.encode('').ids.length };
  }).filter(({ tokens }) => tokens === 1);
  if (words.length === 0)
    throw new Error('the tokenizer knows no word of two letters: nothing to make texts of');
  const specials = tokenizer.encode('').ids.length;
  return Array.from({ length: TEXTS }, () => {
    const text = Array.from(
      { length: TEXT_TOKENS - specials },
      () => (words[random.below(words.length)] as { word: string }).word,
    ).join(' ');
    return { text, tokens: tokenizer.encode(text) };
  });
}

interface Sample {
  readonly textsPerS: number;
  readonly p99Us: number;
}

/**
 * By batch size: the encoder process on the device, the runtime alone on the same device over tensors made in advance, and
 * the encoder process on the CPU, in turn. `ratio`: texts/s of the encoder ÷ of the runtime alone.
 */
export async function measureDevice(sides: DeviceSides): Promise<Record<string, number | string>[]> {
  const { device, encoder, cpu, model, texts, size } = sides;
  const plan = SIZES[size];
  const session = await openGraph(path.join(model.folder, MODEL_FILES.onnx), {
    provider: device,
    threads: CPU_THREADS,
  });
  try {
    const rows: Record<string, number | string>[] = [];
    for (const batch of plan.batchTexts) {
      const groups = Array.from({ length: Math.floor(texts.length / batch) }, (_, at) =>
        texts.slice(at * batch, (at + 1) * batch),
      );
      const runs = {
        encoder: encoded(encoder, groups),
        alone: alone(session, model, groups),
        cpu: encoded(cpu, groups),
      };
      const samples = { encoder: [] as Sample[], alone: [] as Sample[], cpu: [] as Sample[] };
      const names = ['encoder', 'alone', 'cpu'] as const;
      // Once before, so that nothing is measured cold.
      for (const name of names) await sample(runs[name], batch, plan.seconds / 4);
      for (let round = 0; round < plan.rounds; round++)
        for (const name of round % 2 === 0 ? names : names.toReversed())
          samples[name].push(await sample(runs[name], batch, plan.seconds));
      const of = (name: (typeof names)[number], pick: (one: Sample) => number): number =>
        Math.round(median(samples[name].map(pick)));
      const ratios = samples.encoder.map(
        ({ textsPerS }, round) => textsPerS / (samples.alone[round] as Sample).textsPerS,
      );
      rows.push({
        device,
        texts: batch,
        in_flight: IN_FLIGHT,
        cpu_threads: CPU_THREADS,
        tokens: TEXT_TOKENS,
        texts_per_s: of('encoder', ({ textsPerS }) => textsPerS),
        p99_us: of('encoder', ({ p99Us }) => p99Us),
        runtime_texts_per_s: of('alone', ({ textsPerS }) => textsPerS),
        runtime_p99_us: of('alone', ({ p99Us }) => p99Us),
        cpu_texts_per_s: of('cpu', ({ textsPerS }) => textsPerS),
        cpu_p99_us: of('cpu', ({ p99Us }) => p99Us),
        ratio: Number(median(ratios).toFixed(3)),
      });
    }
    return rows;
  } finally {
    await session.release();
  }
}

type Run = (at: number) => Promise<unknown>;

function encoded(encoder: ProcessEncoder, groups: readonly (readonly GpuText[])[]): Run {
  const requests = groups.map((group) => ({
    texts: group.map(({ text }) => text),
    role: 'query' as const,
    lane: 'live' as const,
    deadlineAtMs: Number.POSITIVE_INFINITY,
  }));
  return (at) => encoder.encode(requests[at % requests.length] as (typeof requests)[number]);
}

function alone(
  session: InferenceSession,
  { manifest }: ModelFolder,
  groups: readonly (readonly GpuText[])[],
): Run {
  const feeds = groups.map((group) =>
    batchTensors(
      group.map(({ tokens }) => tokens),
      { texts: group.length, tokens: TEXT_TOKENS },
      manifest,
    ),
  );
  return (at) => session.run(feeds[at % feeds.length] as (typeof feeds)[number], [manifest.onnx.output]);
}

async function sample(run: Run, batch: number, seconds: number): Promise<Sample> {
  const latencies = new Latencies();
  const startMs = performance.now();
  let at = 0;
  let nowMs = startMs;
  while (nowMs - startMs < seconds * 1000) {
    await run(at++);
    const endMs = performance.now();
    latencies.add((endMs - nowMs) * 1000);
    nowMs = endMs;
  }
  return { textsPerS: (at * batch * 1000) / (nowMs - startMs), p99Us: latencies.summary().p99 };
}
