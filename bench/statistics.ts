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
import { looksThatShare } from '../src/lifecycle/migration/analyses/looks.js';
import { DEFAULT_PLAN } from '../src/lifecycle/migration/plan.js';
import { pairedDifferences, SHAPES, type Shape } from './data/paired-differences.js';
import { type Bench, inputHash } from './report.js';

const { marginAbsolute: MARGIN, confidence: ALONE } = COMPARE_DEFAULTS;
const SD = 0.1;
const SDS = [0.1, 0.15, 0.2] as const;

/** Looks of a migration at golden sets: those that its plan has, each a gate, and how often a person asks for another. */
export interface Looks {
  readonly planned: number;
  readonly askedFor: number;
}

/** The plan that ships, and whoever resumes it whenever it is Inconclusive, four times over. */
export const DEFAULT_LOOKS: Looks = {
  planned: DEFAULT_PLAN.steps.filter(({ analysis }) => analysis !== undefined && 'golden' in analysis).length,
  askedFor: 4,
};
/** A golden gate and confirmations at four weights, and two more. */
export const MANY_LOOKS: Looks = { planned: 5, askedFor: 2 };
export const PLANS: readonly Looks[] = [DEFAULT_LOOKS, MANY_LOOKS];

/** As an analysis step has it when so many looks were taken before. */
export const confidenceOf = ({ planned }: Looks, taken: number): number =>
  gateConfidence(looksThatShare(planned, taken));
/** What five looks would be taken with if nobody corrected anything. */
export const uncorrected = (): number => ALONE;

interface Size {
  readonly trials: number;
  readonly resamples: number;
}
const FULL: Size = { trials: 1_000, resamples: 1_000 };
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

/** As the golden check of an analysis decides, on a set of enough queries. */
export const gateOf = (interval: Interval): 'successful' | 'failed' | 'inconclusive' => {
  if (passes(interval)) return 'successful';
  return verdictOf(interval, MARGIN) === 'worse' ? 'failed' : 'inconclusive';
};

/**
 * Whole migrations, each look with the confidence that an analysis step takes it with. `any`: at least one of all the looks
 * lets the version pass, whatever the others say. `promoted`: as a migration goes: a gate that fails ends it, one that is
 * Inconclusive is asked again for as long as there are looks, and every gate of the plan must let it pass.
 */
export async function simulateMigrations(
  simulation: Omit<Simulation, 'confidence'>,
  looks: Looks,
  confidence: typeof confidenceOf = confidenceOf,
): Promise<{ readonly any: Share; readonly promoted: Share }> {
  let any = 0;
  let promoted = 0;
  for (let trial = 0; trial < simulation.trials; trial++) {
    const gates: ReturnType<typeof gateOf>[] = [];
    for (let taken = 0; taken < looks.planned + looks.askedFor; taken++)
      gates.push(gateOf(await lookAt({ ...simulation, confidence: confidence(looks, taken) })));
    const failedAt = gates.indexOf('failed');
    const asked = failedAt < 0 ? gates : gates.slice(0, failedAt);
    const count = (of: typeof gates): number => of.filter((gate) => gate === 'successful').length;
    if (count(gates) > 0) any++;
    if (count(asked) >= looks.planned) promoted++;
  }
  const { trials } = simulation;
  return { any: { happened: any, trials }, promoted: { happened: promoted, trials } };
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

/** Wilson's interval of a share. */
export function binomialInterval({ happened, trials }: Share, confidence = 0.95): Interval {
  const z = normalQuantile((1 + confidence) / 2);
  const share = happened / trials;
  const middle = (share + (z * z) / (2 * trials)) / (1 + (z * z) / trials);
  const half =
    (z / (1 + (z * z) / trials)) *
    Math.sqrt((share * (1 - share)) / trials + (z * z) / (4 * trials * trials));
  return { low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}

/**
 * Migrations whose truth is known. The version lost exactly δ: how many are promoted all the same, by shape of the
 * differences, by the plan that ships and by one of many looks; beside five looks that nobody corrects. And how often an
 * analysis of the computed number of queries sees what it should, alone and with the confidence of a plan's first look.
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
      computed: number | string,
      { shape, sd, queries, trueDifference }: Omit<Simulation, 'confidence'>,
      { planned, askedFor }: Looks,
      confidence: { readonly first: number; readonly last: number },
      share: Share,
    ): void => {
      const { low, high } = binomialInterval(share);
      results.push({
        what,
        computed,
        share: share.happened / share.trials,
        low,
        high,
        shape,
        sd,
        queries,
        looks_planned: planned,
        looks_asked_for: askedFor,
        confidence_first: confidence.first,
        confidence_last: confidence.last,
        true_difference: trueDifference,
        trials: share.trials,
      });
    };
    const lost = { ...common, sd: SD, queries: queriesNeeded(SD, MARGIN, ALONE), trueDifference: -MARGIN };
    const most = `<= ${FALSE_PROMOTION_MAX}`;
    for (const looks of PLANS) {
      const last = looks.planned + looks.askedFor - 1;
      const confidence = { first: confidenceOf(looks, 0), last: confidenceOf(looks, last) };
      for (const shape of SHAPES) {
        const simulation = { ...lost, shape };
        const { any, promoted } = await simulateMigrations(simulation, looks);
        report('false promotion, any look is enough', most, simulation, looks, confidence, any);
        report('false promotion, as a migration goes', most, simulation, looks, confidence, promoted);
      }
    }
    const five: Looks = { planned: 5, askedFor: 0 };
    const normal = { ...lost, shape: 'normal' } as const;
    const { any } = await simulateMigrations(normal, five, uncorrected);
    const inflated = 'about 0.23';
    report('false promotion, any look, not corrected', inflated, normal, five, alone(ALONE), any);
    for (const confidence of [ALONE, ...PLANS.map((looks) => confidenceOf(looks, 0))])
      for (const sd of confidence === ALONE ? SDS : [SD]) {
        const one = { ...common, shape: 'normal', sd, confidence } as const;
        const needed = queriesNeeded(sd, MARGIN, confidence);
        const loss = { ...one, queries: needed, trueDifference: -MARGIN };
        const none = { ...one, queries: needed, trueDifference: 0 };
        const alike = { ...none, queries: queriesNeededForEquivalence(sd, MARGIN, confidence) };
        for (const [what, simulation, isSo] of [
          ['a loss of the margin is seen', loss, ({ high }: Interval) => high < 0],
          ['a loss of the margin is ruled out', none, passes],
          [
            'versions that do not differ are equivalent',
            alike,
            (interval: Interval) => verdictOf(interval, MARGIN) === 'equivalent',
          ],
        ] as const)
          report(
            `power: ${what}`,
            POWER,
            simulation,
            { planned: 1, askedFor: 0 },
            alone(confidence),
            await simulateLooks(simulation, isSo),
          );
      }
    return {
      input: inputHash(JSON.stringify({ seed, trials, resamples, MARGIN, PLANS, SDS, SHAPES })),
      results,
    };
  },
};

const alone = (confidence: number) => ({ first: confidence, last: confidence });
