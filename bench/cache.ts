import { SeededRandom } from '../src/index/seeded-random.js';
import { type HitsFigures, type HitsPlan, measureHits, textBodies, vectorBodies } from './cache/grpc-hits.js';
import { measureRedis, type RedisFigures } from './cache/redis-hits.js';
import { DIMENSIONS } from './cache/seeded-encoder.js';
import { type Bench, inputHash, median } from './report.js';

const SIZES = {
  smoke: { rowCount: 500, questions: 100, rounds: 2, seconds: 0.3, reads: 1_024, redisRounds: 3 },
  full: { rowCount: 5_000, questions: 4_096, rounds: 9, seconds: 2, reads: 16_384, redisRounds: 15 },
} as const;
const IN_FLIGHT = 64;
const WORDS = [
  'cat',
  'wine',
  'planet',
  'river',
  'shoe',
  'snow',
  'bread',
  'wheel',
  'bird',
  'music',
  'stone',
  'letter',
];

export const cache: Bench = {
  name: 'cache',
  about: 'remembered answers beside a grpc-js server that does nothing; Redis hits beside raw pipelined GETs',
  run: async ({ size, seed }) => {
    const { rowCount, questions, rounds, seconds, reads, redisRounds } = SIZES[size];
    const random = new SeededRandom(seed);
    const word = (): string => WORDS[random.below(WORDS.length)] as string;
    const texts = Array.from(
      { length: reads },
      (_, at) => `a ${word()} that is like a ${word()}, ${word()} ${at}`,
    );
    const asked = texts.slice(0, questions);
    const vectors = asked.map(() => Float32Array.from({ length: DIMENSIONS }, () => random.normal()));
    const plan: HitsPlan = { seed, rowCount, rounds, seconds, inFlight: IN_FLIGHT };
    const byText = await measureHits(textBodies(asked), plan);
    const byVector = await measureHits(vectorBodies(vectors), plan);
    const redis = await measureRedis({ texts, rounds: redisRounds, group: IN_FLIGHT });
    return {
      versions: { 'redis-server': redis.serverVersion },
      input: inputHash(texts.join('\n'), ...vectors),
      ratio: ratioOf(byText.noop.cpuUs, byText.gateway.cpuUs),
      results: [...hitRows('text', byText), ...hitRows('vector', byVector), ...redisRows(redis)],
    };
  },
};

/** Median over the rounds, each of which ran both sides. */
const ratioOf = (base: readonly number[], ours: readonly number[]): number =>
  median(base.map((value, round) => value / (ours[round] ?? Number.NaN)));

function hitRows(form: string, { gateway, noop, answerBytes, hits }: HitsFigures) {
  return [
    {
      measured: `${form}: result-cache hits`,
      in_flight: IN_FLIGHT,
      cpu_us: median(gateway.cpuUs),
      per_s: median(gateway.perSecond),
      ratio_cpu: ratioOf(noop.cpuUs, gateway.cpuUs),
      ratio_per_s: ratioOf(gateway.perSecond, noop.perSecond),
      answer_bytes: answerBytes,
      hits,
    },
    {
      measured: `${form}: no-op grpc-js`,
      in_flight: IN_FLIGHT,
      cpu_us: median(noop.cpuUs),
      per_s: median(noop.perSecond),
    },
  ];
}

function redisRows({ layerMs, rawMs, layerCpuUs, rawCpuUs, valueBytes }: RedisFigures) {
  return [
    {
      measured: 'Redis hits',
      in_flight: IN_FLIGHT,
      cpu_us: median(layerCpuUs),
      ratio_cpu: ratioOf(rawCpuUs, layerCpuUs),
      ratio_per_s: ratioOf(rawMs, layerMs),
      answer_bytes: valueBytes,
    },
    { measured: 'raw pipelined GETs', in_flight: IN_FLIGHT, cpu_us: median(rawCpuUs) },
  ];
}
