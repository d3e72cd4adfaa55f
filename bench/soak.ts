import { modelRef } from '../src/vocabulary.js';
import { CORPUS, documentId } from './data/built-bundle.js';
import { TOP_K } from './data/search-corpus.js';
import { LoadGenerator, withoutFailures } from './load/load-generator.js';
import { treeAnonymousBytes, treeMemoryBytes } from './load/process-cpu.js';
import { type Bench, median } from './report.js';
import { scrape } from './rig/scraped.js';
import { SEARCH_METHOD, searchBody } from './rig/search-bodies.js';
import { openServingSides, SERVING_SIZES } from './serving.js';

const SIZES = {
  smoke: { ...SERVING_SIZES.smoke, seconds: 2, warmUpSeconds: 1, sampleSeconds: 0.4 },
  full: { ...SERVING_SIZES.full, seconds: 600, warmUpSeconds: 60, sampleSeconds: 10 },
} as const;
/** Every so many requests is a text. */
const TEXT_EVERY = 16;
const LOAD = 0.5;
const MIBIBYTE = 2 ** 20;

interface Sample {
  readonly rssBytes: number;
  readonly anonymousBytes: number;
  readonly loopP99Ms: number;
  readonly p99Us: number;
  readonly perSecond: number;
  /** On average; an open loop bounds it by nothing. */
  readonly inFlight: number;
  readonly recall: number;
}

/** Vectors and texts mixed, half of capacity, for minutes. `ratio`: private memory at the end ÷ after warm-up,
 * without the copy of the index, which never grows and would hide what does. */
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
          expected: corpus.truth.map((rows) => Array.from(rows, documentId)),
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
            anonymousBytes: treeAnonymousBytes(gateway.pid),
            loopP99Ms: await loopP99Ms(gateway.admin),
            p99Us: result.latencyUs.p99,
            perSecond: result.perSecond,
            // Little's law: what comes in a second, times how long each stays.
            inFlight: (result.perSecond * result.latencyUs.mean) / 1e6,
            recall: result.recall ?? Number.NaN,
          });
        }
        const quarter = Math.ceil(count / 4);
        const ofQuarters = (pick: (sample: Sample) => number): readonly [number, number] => [
          median(samples.slice(0, quarter).map(pick)),
          median(samples.slice(-quarter).map(pick)),
        ];
        const [first, last] = ofQuarters(({ anonymousBytes }) => anonymousBytes);
        const [rssFirst, rssLast] = ofQuarters(({ rssBytes }) => rssBytes);
        return {
          input: sides.input,
          ratio: last / first,
          results: [
            {
              seconds: plan.seconds,
              in_flight: Number(median(samples.map((one) => one.inFlight)).toFixed(2)),
              requests_per_s: Math.round(median(samples.map((one) => one.perSecond))),
              texts_in: TEXT_EVERY,
              recall_at_10: Number(median(samples.map((one) => one.recall)).toFixed(4)),
              anonymous_first_quarter_mib: Math.round(first / MIBIBYTE),
              anonymous_last_quarter_mib: Math.round(last / MIBIBYTE),
              rss_first_quarter_mib: Math.round(rssFirst / MIBIBYTE),
              rss_last_quarter_mib: Math.round(rssLast / MIBIBYTE),
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
