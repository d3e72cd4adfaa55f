import { SeededRandom } from '../src/index/seeded-random.js';
import { type Interval, meanInterval } from '../src/lifecycle/evaluation/bootstrap.js';
import {
  COMPARE_DEFAULTS,
  FALSE_PROMOTION_MAX,
  gateConfidence,
  POWER,
  queriesNeeded,
  queriesNeededForEquivalence,
  verdictOf,
} from '../src/lifecycle/evaluation/compare.js';
import { normalQuantile } from '../src/lifecycle/evaluation/normal.js';
import { pairedDifferences, SHAPES, type Shape } from './data/paired-differences.js';
import { type Bench, inputHash } from './report.js';

const { marginAbsolute: MARGIN, confidence: ALONE } = COMPARE_DEFAULTS;
/** A golden gate and confirmations at four weights. */
export const LOOKS = 5;
const SD = 0.1;
const SDS = [0.1, 0.15, 0.2] as const;

interface Size {
  readonly trials: number;
  readonly resamples: number;
}
const FULL: Size = { trials: 2_000, resamples: 1_000 };
const SMOKE: Size = { trials: 60, resamples: 200 };

/** How often something happened that should happen at most, or about, so often. */
interface Share {
  readonly happened: number;
  readonly trials: number;
}

export interface Simulation extends Size {
  readonly random: SeededRandom;
  readonly shape: Shape;
  readonly queries: number;
  /** The true difference of the two versions. */
  readonly trueDifference: number;
  readonly sd: number;
  readonly confidence: number;
}

/** The interval that one analysis would print; each analysis has queries of its own, the worst case for repeats. */
const lookAt = ({ random, shape, queries, trueDifference, sd, confidence, resamples }: Simulation) =>
  meanInterval(pairedDifferences(random, shape, queries, trueDifference, sd), {
    confidence,
    resamples,
    seed: random.below(2 ** 31),
  });

/** What every verdict that lets a version pass has in common: a loss of the margin is ruled out. */
const passes = ({ low }: Interval): boolean => low > -MARGIN;

/** Whole migrations: how many let the version pass in any of its looks, and how many in all of them. */
export async function simulateMigrations(
  simulation: Simulation,
  looks: number,
): Promise<{ readonly any: Share; readonly all: Share }> {
  let any = 0;
  let all = 0;
  for (let trial = 0; trial < simulation.trials; trial++) {
    let passed = 0;
    for (let look = 0; look < looks; look++) if (passes(await lookAt(simulation))) passed++;
    if (passed > 0) any++;
    if (passed === looks) all++;
  }
  const { trials } = simulation;
  return { any: { happened: any, trials }, all: { happened: all, trials } };
}

/** Single analyses: how many came out so. */
export async function simulateLooks(
  simulation: Simulation,
  isSo: (interval: Interval) => boolean,
): Promise<Share> {
  let happened = 0;
  for (let trial = 0; trial < simulation.trials; trial++) if (isSo(await lookAt(simulation))) happened++;
  return { happened, trials: simulation.trials };
}

/** Wilson's interval of a share, 95 %. */
export function binomialInterval({ happened, trials }: Share): Interval {
  const z = normalQuantile(0.975);
  const share = happened / trials;
  const middle = (share + (z * z) / (2 * trials)) / (1 + (z * z) / trials);
  const half =
    (z / (1 + (z * z) / trials)) *
    Math.sqrt((share * (1 - share)) / trials + (z * z) / (4 * trials * trials));
  return { low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}

/**
 * Migrations whose truth is known. The version lost exactly δ: how many are promoted all the same, by shape of the
 * differences, when any of five looks is enough and when all must pass; beside five looks that nobody corrects. And how
 * often an analysis of the computed number of queries sees what it should.
 */
export const statistics: Bench = {
  name: 'statistics',
  about:
    'simulated migrations of known truth: how often a worse version is promoted, and how often a loss is seen',
  run: async ({ size, seed }) => {
    const { trials, resamples } = size === 'smoke' ? SMOKE : FULL;
    const random = new SeededRandom(seed);
    const common = { random, trials, resamples };
    const results: Record<string, number | string>[] = [];
    const report = (
      what: string,
      computed: string,
      simulation: Simulation,
      looks: number,
      share: Share,
    ): void => {
      const { low, high } = binomialInterval(share);
      const { shape, sd, queries, confidence, trueDifference } = simulation;
      results.push({
        what,
        computed,
        share: share.happened / share.trials,
        low,
        high,
        shape,
        sd,
        queries,
        looks,
        confidence,
        true_difference: trueDifference,
        trials: share.trials,
      });
    };
    const queries = queriesNeeded(SD, MARGIN, ALONE);
    const lost = { ...common, trueDifference: -MARGIN };
    const most = `<= ${FALSE_PROMOTION_MAX}`;
    for (const shape of SHAPES) {
      const simulation = { ...lost, shape, sd: SD, queries, confidence: gateConfidence(LOOKS) };
      const { any, all } = await simulateMigrations(simulation, LOOKS);
      report('false promotion, any look is enough', most, simulation, LOOKS, any);
      report('false promotion, all looks must pass', most, simulation, LOOKS, all);
    }
    const uncorrected = { ...lost, shape: 'normal', sd: SD, queries, confidence: ALONE } as const;
    const inflated = await simulateMigrations(uncorrected, LOOKS);
    report('false promotion, any look, not corrected', 'about 0.23', uncorrected, LOOKS, inflated.any);
    for (const sd of SDS) {
      const one = { ...common, shape: 'normal', sd, confidence: ALONE } as const;
      const needed = queriesNeeded(sd, MARGIN, one.confidence);
      const loss = { ...one, queries: needed, trueDifference: -MARGIN };
      report(
        'power: a loss of the margin is seen',
        `${POWER}`,
        loss,
        1,
        await simulateLooks(loss, ({ high }) => high < 0),
      );
      const none = { ...one, queries: needed, trueDifference: 0 };
      report(
        'power: a loss of the margin is ruled out',
        `${POWER}`,
        none,
        1,
        await simulateLooks(none, passes),
      );
      const alike = {
        ...none,
        queries: queriesNeededForEquivalence(sd, MARGIN, one.confidence),
      };
      report(
        'power: versions that do not differ are equivalent',
        `${POWER}`,
        alike,
        1,
        await simulateLooks(alike, (interval) => verdictOf(interval, MARGIN) === 'equivalent'),
      );
    }
    return {
      input: inputHash(JSON.stringify({ seed, trials, resamples, MARGIN, LOOKS, SDS, SHAPES })),
      results,
    };
  },
};
