import { withoutFailures } from './load/load-generator.js';
import { treeCpuUs } from './load/process-cpu.js';
import { type Bench, median } from './report.js';
import { assertWorked } from './rig/gateway.js';
import { openServingSides, SERVING_SIZES } from './serving.js';

const SIZES = {
  smoke: { ...SERVING_SIZES.smoke, pairs: 2, seconds: 0.4, capacitySeconds: 0.3, warmUpSeconds: 0.3 },
  full: { ...SERVING_SIZES.full, pairs: 12, seconds: 4, capacitySeconds: 2, warmUpSeconds: 10 },
} as const;

interface Pair {
  /** Arrivals. */
  readonly perSecond: number;
  readonly gatewayUs: number;
  readonly rawUs: number;
  /** On average; an open loop bounds it by nothing. */
  readonly inFlight: number;
  readonly rawInFlight: number;
  readonly recall: number;
  readonly rawRecall: number;
  /** Per query, with all threads and children. */
  readonly cpuUs: number;
  readonly rawCpuUs: number;
  /** p99 of how late the generator sent, which is counted as the gateway's. */
  readonly lateUs: number;
}

const LOAD = 0.5;
/** What the gateway may add to three times usearch's own p99. */
const ADDED_US_MAX = 1_000;
const TIMES_MAX = 3;

/** p99 at half of the gateway's capacity beside usearch alone at the same arrivals. `ratio`: gateway ÷ usearch. */
export const latency: Bench = {
  name: 'latency',
  about: 'p99 of an open loop at 50 % of capacity beside usearch alone at the same arrivals',
  run: async ({ size, seed, rows, seconds, workers }) => {
    const plan = {
      ...SIZES[size],
      ...(rows === undefined ? {} : { rowCount: rows }),
      ...(seconds === undefined ? {} : { seconds }),
    };
    const sides = await openServingSides(plan, seed, { workers });
    try {
      const closed = { kind: 'closed', inFlight: plan.inFlight, from: 0 } as const;
      withoutFailures(await sides.load.run({ ...closed, seconds: plan.warmUpSeconds }));
      const pairs: Pair[] = [];
      for (let pair = 0; pair < plan.pairs; pair++) {
        // Taken anew for each: what a shared machine gives changes within a minute.
        const capacity = withoutFailures(await sides.load.run({ ...closed, seconds: plan.capacitySeconds }));
        const run = {
          kind: 'open',
          perSecond: capacity.perSecond * LOAD,
          seed: seed + pair,
          seconds: plan.seconds,
          from: pair * 331,
        } as const;
        const first = pair % 2 === 0 ? await sides.raw.run(run) : null;
        const before = treeCpuUs(sides.gateway.pid);
        const gateway = withoutFailures(await sides.load.run(run));
        const cpuUs = (treeCpuUs(sides.gateway.pid) - before) / gateway.answered;
        const raw = first ?? (await sides.raw.run(run));
        pairs.push({
          perSecond: run.perSecond,
          gatewayUs: gateway.latencyUs.p99,
          rawUs: raw.latencyUs.p99,
          // Little's law: what comes in a second, times how long each stays.
          inFlight: (gateway.perSecond * gateway.latencyUs.mean) / 1e6,
          rawInFlight: (raw.perSecond * raw.latencyUs.mean) / 1e6,
          recall: gateway.recall ?? 0,
          rawRecall: raw.recall,
          cpuUs,
          rawCpuUs: raw.cpuUs,
          lateUs: gateway.sentLateUs?.p99 ?? 0,
        });
      }
      await assertWorked(sides.gateway);
      const arrivals = pairs.map(({ perSecond }) => perSecond);
      const ratios = pairs.map(({ gatewayUs, rawUs }) => gatewayUs / rawUs);
      const beyondUs = pairs.map(({ gatewayUs, rawUs }) => gatewayUs - TIMES_MAX * rawUs);
      return {
        input: sides.input,
        ratio: median(ratios),
        results: [
          {
            search_threads: sides.workers,
            pairs: plan.pairs,
            seconds: plan.seconds,
            capacity_in_flight: plan.inFlight,
            arrivals_per_s: Math.round(median(arrivals)),
            arrivals_least_per_s: Math.round(Math.min(...arrivals)),
            arrivals_most_per_s: Math.round(Math.max(...arrivals)),
            usearch_in_flight: rounded(median(pairs.map(({ rawInFlight }) => rawInFlight))),
            in_flight: rounded(median(pairs.map(({ inFlight }) => inFlight))),
            usearch_recall_at_10: rounded(median(pairs.map(({ rawRecall }) => rawRecall))),
            recall_at_10: rounded(median(pairs.map(({ recall }) => recall))),
            usearch_cpu_us: Math.round(median(pairs.map(({ rawCpuUs }) => rawCpuUs))),
            cpu_us: Math.round(median(pairs.map(({ cpuUs }) => cpuUs))),
            usearch_p99_us: Math.round(median(pairs.map(({ rawUs }) => rawUs))),
            gateway_p99_us: Math.round(median(pairs.map(({ gatewayUs }) => gatewayUs))),
            generator_late_p99_us: Math.round(median(pairs.map(({ lateUs }) => lateUs))),
            ratio_least: rounded(Math.min(...ratios)),
            ratio_most: rounded(Math.max(...ratios)),
            // Below 1 000 the bound of three times and a millisecond holds.
            beyond_3_times_us: Math.round(median(beyondUs)),
            holds: median(beyondUs) <= ADDED_US_MAX ? 'yes' : 'no',
          },
        ],
      };
    } finally {
      await sides.close();
    }
  },
};

const rounded = (value: number): number => Math.round(value * 1000) / 1000;
