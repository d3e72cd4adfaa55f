import { SwitchyardError } from '../../errors.js';
import type { QueryScores } from '../../registry/evaluations.js';
import { type Gain, QUALITY_METRICS, type QualityMetric } from '../../registry/schema.js';
import { type Interval, meanInterval } from './bootstrap.js';
import { normalQuantile } from './normal.js';

/** What is compared: one version's scores on a golden set, and how they were taken. */
export interface ScoredVersion {
  readonly goldenSetId: string;
  readonly k: number;
  readonly depth: number;
  readonly gain: Gain;
  /** Query id → its scores. */
  readonly scores: ReadonlyMap<string, QueryScores>;
}

export interface CompareOptions {
  readonly metric: QualityMetric;
  /** δ: what may be lost (or gained) and still be the same, in the metric's own units: 0.02 is two points. */
  readonly marginAbsolute: number;
  /** Two-sided, of the interval: 0.9 is two one-sided tests of 5 %. */
  readonly confidence: number;
  readonly seed: number;
  readonly resamples: number;
}

export const COMPARE_DEFAULTS: CompareOptions = Object.freeze({
  metric: 'ndcg',
  marginAbsolute: 0.02,
  confidence: 0.9,
  seed: 1,
  resamples: 10_000,
});

export const VERDICTS = ['better', 'worse', 'equivalent', 'underpowered'] as const;
/**
 * `equivalent`: the interval lies within ±δ. `better`, `worse`: it lies above, below 0 and not within ±δ.
 * `underpowered`: neither; the golden set is too small to say.
 */
export type Verdict = (typeof VERDICTS)[number];

export interface EvaluationComparison {
  readonly metric: QualityMetric;
  readonly verdict: Verdict;
  readonly queryCount: number;
  /** Means of the metric. */
  readonly baseline: number;
  readonly candidate: number;
  /** Candidate minus baseline, mean over the queries, with its interval. */
  readonly difference: number;
  readonly interval: Interval;
  readonly confidence: number;
  readonly marginAbsolute: number;
  /** Standard deviation of the queries' differences. */
  readonly pairedSd: number;
  readonly wins: number;
  readonly ties: number;
  readonly losses: number;
  /** True when a loss of δ or more is ruled out, whatever the verdict. */
  readonly isNonInferior: boolean;
  /** Queries to see a loss of δ with 80 % power, and to show equivalence of versions that do not differ. */
  readonly queriesNeeded: number;
  readonly queriesNeededForEquivalence: number;
  readonly judgedAt10: { readonly baseline: number; readonly candidate: number };
  /** For a person: what makes the figures less than they look. */
  readonly warnings: readonly string[];
  /** The queries that lost most, worst first. */
  readonly worst: readonly {
    readonly queryId: string;
    readonly baseline: number;
    readonly candidate: number;
  }[];
}

/** Fewer differences than this have no distribution to speak of. */
export const QUERIES_MIN = 30;
export const POWER = 0.8;
/** Judged@10 that is lower by so much punishes a version for answers that nobody looked at. */
export const JUDGED_GAP_MAX = 0.1;
const WORST_KEPT = 10;

/** The most that a migration may be wrong about a version that lost δ, over all its analyses. */
export const FALSE_PROMOTION_MAX = 0.05;

/** Of that, what is kept back: far out in the tails of skewed differences an interval errs by more than its level. */
const KEPT_BACK = 0.5;

/**
 * The confidence of each look of a migration that may look `plannedLooks` times: Bonferroni over half of the 5 %, so
 * that the chance that any look lets a version pass that lost δ or more stays within it, however the looks depend on
 * each other (docs/decisions/0120; `npm run bench -- statistics`). 0.99 for five looks. Errors: INVALID_ARGUMENT.
 */
export function gateConfidence(
  plannedLooks: number,
  falsePromotionMax: number = FALSE_PROMOTION_MAX,
): number {
  if (!Number.isInteger(plannedLooks) || plannedLooks < 1)
    throw new SwitchyardError(
      'INVALID_ARGUMENT',
      `planned looks ${plannedLooks} must be a whole number >= 1`,
    );
  return 1 - (2 * KEPT_BACK * falsePromotionMax) / plannedLooks;
}

/** Queries to see a loss of `margin` with 80 % power at this interval: 155, 348, 619 for SD .10, .15, .20 at 2 points. */
export function queriesNeeded(pairedSd: number, margin: number, confidence: number): number {
  const z = normalQuantile(1 - (1 - confidence) / 2) + normalQuantile(POWER);
  return Math.max(QUERIES_MIN, Math.ceil(((z * pairedSd) / margin) ** 2));
}

/** Queries to have versions that do not differ found equivalent with 80 % power: both one-sided tests must hold. */
export function queriesNeededForEquivalence(pairedSd: number, margin: number, confidence: number): number {
  const z = normalQuantile(1 - (1 - confidence) / 2) + normalQuantile((1 + POWER) / 2);
  return Math.max(QUERIES_MIN, Math.ceil(((z * pairedSd) / margin) ** 2));
}

/**
 * Paired, query by query. Deterministic for a seed. Errors: INVALID_ARGUMENT when the two were not measured alike or
 * an option is out of range.
 */
export async function compareEvaluations(
  baseline: ScoredVersion,
  candidate: ScoredVersion,
  given: Partial<CompareOptions> = {},
): Promise<EvaluationComparison> {
  const options = { ...COMPARE_DEFAULTS, ...given };
  checkOptions(options);
  checkAlike(baseline, candidate);
  const { metric, marginAbsolute, confidence, seed, resamples } = options;
  const pairs = [...baseline.scores]
    .map(([queryId, scores]) => ({
      queryId,
      baseline: scores[metric],
      candidate: candidate.scores.get(queryId)?.[metric] ?? 0,
    }))
    // The same pairs in the same order, however the scores were stored: the interval depends on it.
    .sort((a, b) => (a.queryId < b.queryId ? -1 : 1));
  const differences = pairs.map((pair) => pair.candidate - pair.baseline);
  const difference = mean(differences);
  const pairedSd = standardDeviation(differences, difference);
  const interval = await meanInterval(differences, { confidence, resamples, seed });
  const judged = (version: ScoredVersion): number =>
    mean([...version.scores.values()].map((scores) => scores.judged));
  const judgedAt10 = { baseline: judged(baseline), candidate: judged(candidate) };
  const isEnough = pairs.length >= QUERIES_MIN;
  return {
    metric,
    verdict: isEnough ? verdictOf(interval, marginAbsolute) : 'underpowered',
    queryCount: pairs.length,
    baseline: mean(pairs.map((pair) => pair.baseline)),
    candidate: mean(pairs.map((pair) => pair.candidate)),
    difference,
    interval,
    confidence,
    marginAbsolute,
    pairedSd,
    wins: differences.filter((one) => one > 0).length,
    ties: differences.filter((one) => one === 0).length,
    losses: differences.filter((one) => one < 0).length,
    isNonInferior: isEnough && interval.low > -marginAbsolute,
    queriesNeeded: queriesNeeded(pairedSd, marginAbsolute, confidence),
    queriesNeededForEquivalence: queriesNeededForEquivalence(pairedSd, marginAbsolute, confidence),
    judgedAt10,
    warnings: warningsOf(judgedAt10, pairedSd, pairs.length),
    worst: pairs
      .filter((pair) => pair.candidate < pair.baseline)
      .sort((a, b) => a.candidate - a.baseline - (b.candidate - b.baseline))
      .slice(0, WORST_KEPT),
  };
}

/** Equivalence comes first: a difference that is certain and smaller than δ is no reason to stop, nor to hurry. */
export function verdictOf({ low, high }: Interval, margin: number): Verdict {
  if (low > -margin && high < margin) return 'equivalent';
  if (low > 0) return 'better';
  if (high < 0) return 'worse';
  return 'underpowered';
}

function warningsOf(
  judged: EvaluationComparison['judgedAt10'],
  pairedSd: number,
  queryCount: number,
): readonly string[] {
  const gap = judged.candidate - judged.baseline;
  const percent = (share: number): string => `${(share * 100).toFixed(0)} %`;
  const warnings: string[] = [];
  if (Math.abs(gap) > JUDGED_GAP_MAX)
    warnings.push(
      `judged@10 is ${percent(judged.baseline)} of the baseline's hits and ${percent(judged.candidate)} of the candidate's: unjudged hits count as wrong, so the ${gap < 0 ? 'candidate' : 'baseline'} looks worse than it is; have its hits judged too`,
    );
  if (queryCount < QUERIES_MIN)
    warnings.push(`${queryCount} queries are too few for any verdict: at least ${QUERIES_MIN} are needed`);
  else if (pairedSd === 0)
    warnings.push('no query tells the two apart: they answer alike, or the golden set is too easy');
  return warnings;
}

function checkOptions({ marginAbsolute, confidence, seed, resamples }: CompareOptions): void {
  const refuse = (message: string): never => {
    throw new SwitchyardError('INVALID_ARGUMENT', message);
  };
  if (!(marginAbsolute > 0 && marginAbsolute < 1))
    refuse(`margin ${marginAbsolute} must be above 0 and below 1`);
  if (!(confidence > 0.5 && confidence < 1)) refuse(`confidence ${confidence} must be above 0.5 and below 1`);
  if (!Number.isSafeInteger(seed)) refuse(`seed ${seed} must be a whole number`);
  if (!Number.isInteger(resamples) || resamples < 100 || resamples > 100_000)
    refuse(`resamples ${resamples} must be 100..100000`);
}

function checkAlike(baseline: ScoredVersion, candidate: ScoredVersion): void {
  for (const field of ['goldenSetId', 'k', 'depth', 'gain'] as const)
    if (baseline[field] !== candidate[field])
      throw new SwitchyardError(
        'INVALID_ARGUMENT',
        `the two were measured with another ${field === 'goldenSetId' ? 'golden set' : field} (${baseline[field]} and ${candidate[field]}): evaluate both alike`,
      );
  const isSame =
    baseline.scores.size === candidate.scores.size &&
    [...baseline.scores.keys()].every((queryId) => candidate.scores.has(queryId));
  if (!isSame || baseline.scores.size === 0)
    throw new SwitchyardError(
      'INVALID_ARGUMENT',
      `the two were measured on other queries (${baseline.scores.size} and ${candidate.scores.size}): evaluate both on all of one golden set`,
    );
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

const standardDeviation = (values: readonly number[], around: number): number =>
  values.length < 2
    ? 0
    : Math.sqrt(values.reduce((sum, value) => sum + (value - around) ** 2, 0) / (values.length - 1));

export const isQualityMetric = (text: string): text is QualityMetric =>
  QUALITY_METRICS.some((metric) => metric === text);
