import { setTimeout } from 'node:timers/promises';
import { type MirrorCounts, type MirrorRig, type MirrorShare, openMirrorRig } from './mirror-rig.js';
import { type Bench, type BenchReport, inputHash, median } from './report.js';
import { measureCosts } from './routing-costs.js';

type Row = BenchReport['results'][number];

interface Side {
  readonly name: string;
  readonly share: MirrorShare;
}

const OFF: Side = { name: 'mirror off', share: null };
const FULL: Side = { name: 'mirror 100 %', share: 10_000 };
const SIDES: readonly Side[] = [
  OFF,
  { name: 'mirror 0 %', share: 0 },
  { name: 'mirror 10 %', share: 1_000 },
  FULL,
];

/** Searches at once, and how long each of so many clients pauses between two. */
interface Load {
  readonly inFlight: number;
  readonly pauseMs: number;
}

/** Enough to keep the one search worker busy without a gap. */
const SATURATED: Load = { inFlight: 32, pauseMs: 0 };
/** Leaves the cores some room, as serving does: without any, a shadow that yields gets to answer little. */
const MODERATE: Load = { inFlight: 4, pauseMs: 2 };

const SIZES = {
  smoke: {
    rowCount: 500,
    queryCount: 128,
    costs: { rounds: 3, calls: 2_000 },
    rounds: 2,
    searches: 200,
    pairs: 2,
    pairSearches: 100,
  },
  full: {
    rowCount: 8_000,
    queryCount: 2_048,
    costs: { rounds: 15, calls: 10_000 },
    rounds: 15,
    searches: 800,
    pairs: 12,
    pairSearches: 800,
  },
} as const;

/** What a side did in one round. */
interface Stint {
  readonly perSecond: number;
  readonly p99Us: number;
  readonly counts: MirrorCounts;
}

/** What a pick, the compatibility check and mirrors cost. `ratio`: throughput mirrored at 100 % ÷ with no mirror. */
export const routing: Bench = {
  name: 'routing',
  about: 'cost of a pick, of the compatibility check, and of mirroring at 0, 10 and 100 %',
  run: async ({ size, seed }) => {
    const plan = SIZES[size];
    const rig = await openMirrorRig({ ...plan, seed });
    try {
      const costs = measureCosts({ ...plan.costs, seed }, rig.bundle, rig.queries);
      // Every side once, unmeasured: code and pages are warm.
      await inTurn(rig, SIDES, 1, plan.searches, SATURATED);
      const stints = await inTurn(rig, SIDES, plan.rounds, plan.searches, SATURATED);
      const pairs = await inTurn(rig, [OFF, FULL], plan.pairs, plan.pairSearches, MODERATE);
      return {
        input: inputHash(rig.rows, ...rig.queries),
        ratio: median(ratiosOf(stints, FULL, (one) => one.perSecond)),
        results: [
          ...costs.map(({ measured, ns }) => ({ measured, ns: rounded(ns) })),
          ...comparedRows('queries_per_s', stints, SATURATED, (one) => one.perSecond),
          ...comparedRows('p99_us', pairs, MODERATE, (one) => one.p99Us),
        ],
      };
    } finally {
      await rig.close();
    }
  },
};

type Stints = ReadonlyMap<Side, readonly Stint[]>;

/** Every side once a round, in the opposite order in every other: none always follows the same, or goes first. */
async function inTurn(
  rig: MirrorRig,
  sides: readonly Side[],
  rounds: number,
  searches: number,
  load: Load,
): Promise<Stints> {
  const stints = new Map<Side, Stint[]>(sides.map((side) => [side, []]));
  for (let round = 0; round < rounds; round++)
    for (const side of round % 2 === 0 ? sides : sides.toReversed())
      stints.get(side)?.push(await stint(rig, side, searches, load));
  return stints;
}

/** The mirrors that are left at the end are waited for, untimed. */
async function stint(
  rig: MirrorRig,
  { name, share }: Side,
  searches: number,
  { inFlight, pauseMs }: Load,
): Promise<Stint> {
  await rig.mirror(share);
  rig.counts();
  const tookMs = new Float64Array(searches);
  let next = 0;
  const client = async (): Promise<void> => {
    while (next < searches) {
      const at = next++;
      const sentAtMs = performance.now();
      await rig.search(at);
      tookMs[at] = performance.now() - sentAtMs;
      if (pauseMs > 0) await setTimeout(pauseMs);
    }
  };
  const startedAtMs = performance.now();
  await Promise.all(Array.from({ length: inFlight }, client));
  const elapsedMs = performance.now() - startedAtMs;
  await rig.quiet();
  const counts = rig.counts();
  // A figure of mirroring that was not asked for, or not at all, would look very good. How much of it the shadow bore
  // is printed: beside a primary that is behind it may be nothing.
  if (counts.offered > 0 !== (share ?? 0) > 0)
    throw new Error(`${name}: ${counts.offered} mirrors were offered`);
  tookMs.sort();
  return {
    perSecond: (searches * 1000) / elapsedMs,
    p99Us: (tookMs[Math.ceil(searches * 0.99) - 1] ?? Number.NaN) * 1000,
    counts,
  };
}

/** A row per side: the median of `figure`, and the median, least and largest of its ratio to mirror off, round by round. */
function comparedRows(
  unit: 'queries_per_s' | 'p99_us',
  stints: Stints,
  { inFlight, pauseMs }: Load,
  figure: (stint: Stint) => number,
): readonly Row[] {
  return [...stints].map(([side, own]): Row => {
    const ratios = ratiosOf(stints, side, figure);
    const offered = own.reduce((sum, { counts }) => sum + counts.offered, 0);
    const compared = own.reduce((sum, { counts }) => sum + counts.compared, 0);
    return {
      measured: side.name,
      in_flight: inFlight,
      pause_ms: pauseMs,
      [unit]: Math.round(median(own.map(figure))),
      rounds: own.length,
      ratio: rounded(median(ratios)),
      ratio_least: rounded(Math.min(...ratios)),
      ratio_most: rounded(Math.max(...ratios)),
      // Mirrors beyond what the shadow bears are dropped: a ratio is of this much mirroring.
      ...(offered === 0 ? {} : { mirrors_compared: rounded(compared / offered) }),
    };
  });
}

function ratiosOf(stints: Stints, side: Side, figure: (stint: Stint) => number): readonly number[] {
  const off = stints.get(OFF) ?? [];
  return (stints.get(side) ?? []).map((own, round) => figure(own) / figure(off[round] as Stint));
}

/** Three decimals: more is noise. */
const rounded = (value: number): number => Math.round(value * 1000) / 1000;
