import { modelRef } from '../src/vocabulary.js';
import { CORPUS } from './data/built-bundle.js';
import { TOP_K } from './data/search-corpus.js';
import { LoadGenerator, withoutFailures } from './load/load-generator.js';
import { treeMemoryBytes } from './load/process-cpu.js';
import { type Bench, median } from './report.js';
import { scrape } from './rig/scraped.js';
import { SEARCH_METHOD, searchBody } from './rig/search-bodies.js';
import { openServingSides, SERVING_SIZES } from './serving.js';

const SIZES = {
  smoke: { ...SERVING_SIZES.smoke, seconds: 2, warmUpSeconds: 1, sampleSeconds: 0.4 },
  full: { ...SERVING_SIZES.full, seconds: 600, warmUpSeconds: 60, sampleSeconds: 10 },
} as const;
/** Every so many requests is a text: it passes the encoder and the cache of embeddings. */
const TEXT_EVERY = 16;
const LOAD = 0.5;
const MIBIBYTE = 2 ** 20;

interface Sample {
  readonly rssBytes: number;
  readonly loopP99Ms: number;
  readonly p99Us: number;
  readonly perSecond: number;
}

/** Vectors and texts mixed, half of capacity, for minutes. `ratio`: memory at the end ÷ after warm-up. */
export const soak: Bench = {
  name: 'soak',
  about: 'memory growth and event-loop delay under mixed load; --seconds for another time than 600',
  run: async ({ size, seed, rows, seconds }) => {
    const plan = {
      ...SIZES[size],
      ...(rows === undefined ? {} : { rowCount: rows }),
      ...(seconds === undefined ? {} : { seconds, warmUpSeconds: Math.min(60, seconds / 4) }),
    };
    const sides = await openServingSides(plan, seed);
    const { corpus, gateway } = sides;
    try {
      const model = modelRef(corpus.model.manifest);
      const load = await LoadGenerator.start(
        { ...gateway.grpc, method: SEARCH_METHOD, connections: plan.connections },
        {
          bodies: corpus.queries.map((vector, at) =>
            searchBody({
              corpus: CORPUS,
              query: at % TEXT_EVERY === 0 ? { text: corpus.queryTexts[at] as string } : { vector, model },
              topK: TOP_K,
            }),
          ),
          expected: null,
        },
      );
      try {
        const inFlight = plan.inFlight;
        const warm = await load.run({ kind: 'closed', inFlight, seconds: plan.warmUpSeconds, from: 0 });
        const perSecond = withoutFailures(warm).perSecond * LOAD;
        const samples: Sample[] = [];
        const count = Math.max(4, Math.round(plan.seconds / plan.sampleSeconds));
        await scrape(gateway.admin);
        for (let at = 0; at < count; at++) {
          const result = withoutFailures(
            await load.run({
              kind: 'open',
              perSecond,
              seed: seed + at,
              seconds: plan.sampleSeconds,
              from: at * 331,
            }),
          );
          samples.push({
            rssBytes: treeMemoryBytes(gateway.pid),
            loopP99Ms: await loopP99Ms(gateway.admin),
            p99Us: result.latencyUs.p99,
            perSecond: result.perSecond,
          });
        }
        const quarter = Math.ceil(count / 4);
        const rssOf = (some: readonly Sample[]): number => median(some.map(({ rssBytes }) => rssBytes));
        const [first, last] = [rssOf(samples.slice(0, quarter)), rssOf(samples.slice(-quarter))];
        return {
          input: sides.input,
          ratio: last / first,
          results: [
            {
              seconds: plan.seconds,
              requests_per_s: Math.round(median(samples.map((one) => one.perSecond))),
              texts_in: TEXT_EVERY,
              rss_first_quarter_mib: Math.round(first / MIBIBYTE),
              rss_last_quarter_mib: Math.round(last / MIBIBYTE),
              rss_most_mib: Math.round(Math.max(...samples.map((one) => one.rssBytes)) / MIBIBYTE),
              growth_percent: Number(((last / first - 1) * 100).toFixed(1)),
              loop_p99_ms: Number(median(samples.map((one) => one.loopP99Ms)).toFixed(2)),
              loop_p99_ms_most: Number(Math.max(...samples.map((one) => one.loopP99Ms)).toFixed(2)),
              p99_us: Math.round(median(samples.map((one) => one.p99Us))),
            },
          ],
        };
      } finally {
        await load.close();
      }
    } finally {
      await sides.close();
    }
  },
};

/** Since the last time it was asked. */
async function loopP99Ms(admin: string): Promise<number> {
  const samples = await scrape(admin);
  const seconds = samples.get('switchyard_event_loop_delay_seconds{quantile="0.99"}');
  if (seconds === undefined) throw new Error('the gateway tells no event-loop delay');
  return seconds * 1000;
}
