import path from 'node:path';
import type { InferenceSession } from 'onnxruntime-node';
import { DEFAULT_ACCELERATOR } from '../../src/config/encoder.js';
import { batchTensors } from '../../src/encoder/batch-tensors.js';
import type { EncodeRequest } from '../../src/encoder/encoder.js';
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
/** Of the encoder process on the CPU; what an accelerator's session does there besides is as small. */
export const CPU_THREADS = 1;
const SIZES = {
  smoke: { batchTexts: [1, 4], callers: [4], rounds: 2, seconds: 0.2 },
  full: { batchTexts: DEFAULT_ACCELERATOR.batchTexts, callers: [16, 64, 256], rounds: 5, seconds: 0.6 },
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
  const tokenizer = await TextTokenizer.ofModel(model);
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

/** What is asked of the three sides for one row. */
interface Load {
  /** Of one request. */
  readonly texts: number;
  /** Requests that wait for their answers at any time. */
  readonly inFlight: number;
}

/**
 * The encoder process on the device, the runtime alone on the same device over tensors made in advance, and the encoder
 * process on the CPU, in turn: by batch size, one request at a time, and then as services ask, single texts of so many
 * callers that the encoder puts together itself. The runtime alone always has one run of all these texts at a time.
 * `ratio`: texts/s of the encoder ÷ of the runtime alone. `cosine_min`: the least alike pair of vectors that device and
 * CPU made of one text.
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
    const loads: readonly Load[] = [
      ...plan.batchTexts.map((batch) => ({ texts: batch, inFlight: 1 })),
      ...plan.callers.map((inFlight) => ({ texts: 1, inFlight })),
    ];
    for (const load of loads) {
      const together = groupsOf(texts, load.texts * load.inFlight);
      const asked = groupsOf(texts, load.texts);
      const sides: Readonly<Record<SideName, Side>> = {
        encoder: { run: encoded(encoder, asked), ...load },
        alone: { run: alone(session, model, together), texts: load.texts * load.inFlight, inFlight: 1 },
        cpu: { run: encoded(cpu, asked), ...load },
      };
      const samples: Record<SideName, Sample[]> = { encoder: [], alone: [], cpu: [] };
      // Once before, so that nothing is measured cold.
      for (const name of SIDE_NAMES) await sample(sides[name], plan.seconds / 4);
      for (let round = 0; round < plan.rounds; round++)
        for (const name of round % 2 === 0 ? SIDE_NAMES : SIDE_NAMES.toReversed())
          samples[name].push(await sample(sides[name], plan.seconds));
      const of = (name: SideName, pick: (one: Sample) => number): number =>
        Math.round(median(samples[name].map(pick)));
      const ratios = samples.encoder.map(
        ({ textsPerS }, round) => textsPerS / (samples.alone[round] as Sample).textsPerS,
      );
      rows.push({
        device,
        texts: load.texts,
        in_flight: load.inFlight,
        cpu_threads: CPU_THREADS,
        tokens: TEXT_TOKENS,
        texts_per_s: of('encoder', ({ textsPerS }) => textsPerS),
        p99_us: of('encoder', ({ p99Us }) => p99Us),
        runtime_texts_per_s: of('alone', ({ textsPerS }) => textsPerS),
        runtime_p99_us: of('alone', ({ p99Us }) => p99Us),
        cpu_texts_per_s: of('cpu', ({ textsPerS }) => textsPerS),
        cpu_p99_us: of('cpu', ({ p99Us }) => p99Us),
        ratio: Number(median(ratios).toFixed(3)),
        cosine_min: Number((await leastAlike(encoder, cpu, asked[0] as readonly GpuText[])).toFixed(6)),
      });
    }
    return rows;
  } finally {
    await session.release();
  }
}

const SIDE_NAMES = ['encoder', 'alone', 'cpu'] as const;
type SideName = (typeof SIDE_NAMES)[number];

/** Answers the request with this number; they begin again when all were asked. */
type Run = (at: number) => Promise<unknown>;

interface Side extends Load {
  readonly run: Run;
}

const groupsOf = (texts: readonly GpuText[], size: number): (readonly GpuText[])[] =>
  Array.from({ length: Math.floor(texts.length / size) }, (_, at) => texts.slice(at * size, (at + 1) * size));

const requestOf = (group: readonly GpuText[]): EncodeRequest => ({
  texts: group.map(({ text }) => text),
  role: 'query',
  lane: 'live',
  deadlineAtMs: Number.POSITIVE_INFINITY,
});

function encoded(encoder: ProcessEncoder, groups: readonly (readonly GpuText[])[]): Run {
  const requests = groups.map(requestOf);
  return (at) => encoder.encode(requests[at % requests.length] as EncodeRequest);
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

/** Least cosine of the two encoders' unit vectors of one text. */
async function leastAlike(
  one: ProcessEncoder,
  other: ProcessEncoder,
  texts: readonly GpuText[],
): Promise<number> {
  const request = requestOf(texts);
  const [a, b] = await Promise.all([one.encode(request), other.encode(request)]);
  const dimensions = a.values.length / texts.length;
  const cosines = texts.map((_, row) => {
    let sum = 0;
    for (let at = row * dimensions; at < (row + 1) * dimensions; at++)
      sum += (a.values[at] as number) * (b.values[at] as number);
    return sum;
  });
  return Math.min(...cosines);
}

async function sample({ run, texts, inFlight }: Side, seconds: number): Promise<Sample> {
  const latencies = new Latencies();
  const startMs = performance.now();
  let next = 0;
  let endMs = startMs;
  const caller = async (): Promise<void> => {
    while (endMs - startMs < seconds * 1000) {
      const askedMs = performance.now();
      await run(next++);
      endMs = performance.now();
      latencies.add((endMs - askedMs) * 1000);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, caller));
  return { textsPerS: (next * texts * 1000) / (endMs - startMs), p99Us: latencies.summary().p99 };
}
