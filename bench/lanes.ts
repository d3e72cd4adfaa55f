import type { EncodeRequest } from '../src/encoder/encoder.js';
import { startProcessEncoder } from '../src/encoder/process-encoder.js';
import type { EncoderBatch, ProcessEncoder } from '../src/encoder/process-encoder-options.js';
import { SwitchyardError } from '../src/errors.js';
import type { Lane } from '../src/vocabulary.js';
import { allGlosses, benchModel } from './data/gloss-vectors.js';
import { arrivalsMs } from './load/arrivals.js';
import { Latencies } from './load/latencies.js';
import type { LatencyUs } from './load/load-protocol.js';
import { type Bench, inputHash, median } from './report.js';

const BACKGROUND_RUN_MS_MAX = 20;
const LIVE_SHARE_OF_CAPACITY = 0.3;
const CAPACITY_IN_FLIGHT = 8;
/** As the router's mirrors of one shadow: single texts, so many at once. */
const SHADOW_IN_FLIGHT = 8;
const BULK_IN_FLIGHT = 4;
const BULK_TEXTS = 32;

const SIZES = {
  smoke: { texts: 400, rounds: 2, seconds: 0.5, warmUpSeconds: 0.3 },
  full: { texts: 20_000, rounds: 12, seconds: 4, warmUpSeconds: 2 },
} as const;

interface Side {
  readonly live: LatencyUs;
  readonly backgroundTextsPerS: number;
  readonly backgroundRunUsMax: number;
  readonly backgroundRunUsMedian: number;
}

/**
 * One encoder process with live texts at 30 % of what it can do, arriving as they please, each latency counted from the
 * moment its text was due; alone and, in turn, while shadow and bulk texts wait all the time. `ratio`: the live p99 with
 * background work ÷ without, the median of the pairs.
 */
export const lanes: Bench = {
  name: 'lanes',
  about: "an encoder's live p99 with shadow and bulk work ÷ without",
  run: async ({ size, seed }) => {
    const plan = SIZES[size];
    const texts = (await allGlosses()).slice(0, plan.texts);
    const batches: EncoderBatch[] = [];
    const encoder = startProcessEncoder({
      folder: await benchModel(),
      providers: ['cpu'],
      require: true,
      threads: 1,
      batchTokensMax: 1024,
      backgroundRunMsMax: BACKGROUND_RUN_MS_MAX,
      queueLengthMax: { live: 4096, shadow: 64, bulk: 64 },
      textBytesMax: 65_536,
      log: () => undefined,
      onBatch: (batch) => batches.push(batch),
    });
    try {
      await encoder.ready();
      const source = new Texts(texts);
      const capacity = await closedTextsPerS(encoder, source, plan.warmUpSeconds);
      const perSecond = capacity * LIVE_SHARE_OF_CAPACITY;
      const side = async (background: boolean, round: number): Promise<Side> => {
        const stop = background ? startBackground(encoder, source) : async () => 0;
        const before = batches.length;
        const live = await openLoop(encoder, source, arrivalsMs(perSecond, plan.seconds, seed + round));
        const runUs = batches
          .slice(before)
          .filter(({ lane }) => lane !== 'live')
          .map((batch) => batch.runUs);
        const done = await stop();
        return {
          live,
          backgroundTextsPerS: done / plan.seconds,
          backgroundRunUsMax: Math.max(0, ...runUs),
          backgroundRunUsMedian: median(runUs),
        };
      };
      const idle: Side[] = [];
      const busy: Side[] = [];
      for (let round = 0; round < plan.rounds; round++) {
        // Both of a pair get the same arrivals.
        const turns = [
          async () => void idle.push(await side(false, round)),
          async () => void busy.push(await side(true, round)),
        ];
        for (const turn of round % 2 === 0 ? turns : turns.reverse()) await turn();
      }
      const ratios = (of: (latency: LatencyUs) => number): number[] =>
        busy.map(({ live }, round) => of(live) / of((idle[round] as Side).live)).sort((a, b) => a - b);
      const p99 = ratios((latency) => latency.p99);
      const row = (name: string, sides: readonly Side[]): Record<string, number | string> => ({
        side: name,
        live_per_s: Math.round(perSecond),
        p50_us: Math.round(median(sides.map(({ live }) => live.p50))),
        p99_us: Math.round(median(sides.map(({ live }) => live.p99))),
        background_texts_per_s: Math.round(median(sides.map((one) => one.backgroundTextsPerS))),
      });
      return {
        input: inputHash(texts.join('\n')),
        ratio: median(p99),
        results: [
          row('live alone', idle),
          {
            ...row('live with shadow and bulk', busy),
            background_run_us: Math.round(median(busy.map((one) => one.backgroundRunUsMedian))),
            background_run_us_max: Math.round(Math.max(...busy.map((one) => one.backgroundRunUsMax))),
          },
          {
            side: 'p99, with ÷ alone',
            rounds: plan.rounds,
            ratio: Number(median(p99).toFixed(3)),
            ratio_least: Number((p99[0] ?? Number.NaN).toFixed(3)),
            ratio_most: Number((p99.at(-1) ?? Number.NaN).toFixed(3)),
            p90_ratio: Number(median(ratios((latency) => latency.p90)).toFixed(3)),
            p50_ratio: Number(median(ratios((latency) => latency.p50)).toFixed(3)),
          },
          { side: 'capacity, live alone, 8 in flight', live_per_s: Math.round(capacity) },
        ],
      };
    } finally {
      await encoder.close();
    }
  },
};

/** Texts in turn, over and over. */
class Texts {
  readonly #texts: readonly string[];
  #at = 0;

  constructor(texts: readonly string[]) {
    this.#texts = texts;
  }

  take(count: number): string[] {
    return Array.from({ length: count }, () => this.#texts[this.#at++ % this.#texts.length] as string);
  }
}

const request = (texts: readonly string[], lane: Lane): EncodeRequest => ({
  texts,
  role: 'query',
  lane,
  deadlineAtMs: Number.POSITIVE_INFINITY,
});

async function closedTextsPerS(encoder: ProcessEncoder, source: Texts, seconds: number): Promise<number> {
  const startMs = performance.now();
  let done = 0;
  const caller = async (): Promise<void> => {
    while (performance.now() - startMs < seconds * 1000) {
      await encoder.encode(request(source.take(1), 'live'));
      done += 1;
    }
  };
  await Promise.all(Array.from({ length: CAPACITY_IN_FLIGHT }, caller));
  return (done * 1000) / (performance.now() - startMs);
}

async function openLoop(encoder: ProcessEncoder, source: Texts, dueMs: Float64Array): Promise<LatencyUs> {
  const latencies = new Latencies();
  const startMs = performance.now();
  const answers: Promise<void>[] = [];
  for (const due of dueMs) {
    const waitMs = startMs + due - performance.now();
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    answers.push(
      encoder.encode(request(source.take(1), 'live')).then(() => {
        latencies.add((performance.now() - startMs - due) * 1000);
      }),
    );
  }
  await Promise.all(answers);
  return latencies.summary();
}

/** Keeps both background lanes full; the returned function ends that and gives the number of texts encoded. */
function startBackground(encoder: ProcessEncoder, source: Texts): () => Promise<number> {
  let isOver = false;
  let done = 0;
  const caller = async (lane: Lane, count: number): Promise<void> => {
    while (!isOver) {
      try {
        await encoder.encode(request(source.take(count), lane));
        if (!isOver) done += count;
      } catch (error) {
        if (!(error instanceof SwitchyardError && error.reason === 'QUEUE_FULL')) throw error;
      }
    }
  };
  const callers = [
    ...Array.from({ length: SHADOW_IN_FLIGHT }, () => caller('shadow', 1)),
    ...Array.from({ length: BULK_IN_FLIGHT }, () => caller('bulk', BULK_TEXTS)),
  ];
  return async () => {
    isOver = true;
    const counted = done;
    await Promise.all(callers);
    return counted;
  };
}
