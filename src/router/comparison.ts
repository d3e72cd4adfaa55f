/** What one side of a comparison answered. */
export interface RankedAnswer {
  /** Documents, best first, each once. */
  readonly ids: readonly string[];
  /** Scores of `ids`, larger is better. */
  readonly scores: readonly number[];
  /**
   * What the model and the index took, without waiting in queues; null where they were not asked, as for an answer or a
   * vector that was remembered.
   */
  readonly serviceUs: number | null;
}

export const SCORE_QUANTILES = ['min', 'p25', 'median', 'p75', 'max'] as const;
/** Of one answer's scores. Null where there were no hits. Linear interpolation between the closest ranks. */
export type ScoreQuantiles = Readonly<Record<(typeof SCORE_QUANTILES)[number], number>>;

/**
 * How far a mirrored answer is from the primary's. It measures change, not quality: a better model changes answers too.
 * All shares are 0..1 in full precision, and 1 for two empty answers: they are identical.
 */
export interface Comparison {
  /** Documents asked for. */
  readonly k: number;
  /** Common documents / the longer answer's length (k unless both are shorter). */
  readonly overlap: number;
  /** Common documents / documents in either. */
  readonly jaccard: number;
  readonly rbo: number;
  readonly top1Match: boolean;
  /** How many of k are missing. */
  readonly primaryUnderfill: number;
  readonly shadowUnderfill: number;
  readonly primaryScores: ScoreQuantiles | null;
  readonly shadowScores: ScoreQuantiles | null;
  /** Null where it was remembered. */
  readonly primaryServiceUs: number | null;
  readonly shadowServiceUs: number | null;
  /** Shadow's minus primary's; null where one of them was remembered. */
  readonly serviceDeltaUs: number | null;
}

export const RBO_PERSISTENCE = 0.9;

/** Only the first `k` of each answer count, so a shadow that returns more than it was asked for changes nothing. */
export function compareAnswers(k: number, primary: RankedAnswer, shadow: RankedAnswer): Comparison {
  const left = primary.ids.slice(0, k);
  const right = shadow.ids.slice(0, k);
  const inLeft = new Set(left);
  const common = right.filter((id) => inLeft.has(id)).length;
  const longer = Math.max(left.length, right.length);
  const either = left.length + right.length - common;
  return {
    k,
    overlap: longer === 0 ? 1 : common / longer,
    jaccard: either === 0 ? 1 : common / either,
    rbo: rankBiasedOverlap(left, right, RBO_PERSISTENCE),
    top1Match: left[0] === right[0],
    primaryUnderfill: k - left.length,
    shadowUnderfill: k - right.length,
    primaryScores: scoreQuantiles(primary.scores.slice(0, k)),
    shadowScores: scoreQuantiles(shadow.scores.slice(0, k)),
    primaryServiceUs: primary.serviceUs,
    shadowServiceUs: shadow.serviceUs,
    serviceDeltaUs:
      shadow.serviceUs === null || primary.serviceUs === null ? null : shadow.serviceUs - primary.serviceUs,
  };
}

/**
 * Rank-biased overlap, truncated at the longer list's depth D and divided by what identical lists would get there:
 * Σ p^(d−1)·A_d / Σ p^(d−1), d = 1..D, with A_d the common share of the first d of each. Equal lists have exactly 1;
 * the undivided truncated sum of Webber, Moffat and Zobel (2010) is this times 1 − p^D.
 */
export function rankBiasedOverlap(
  left: readonly string[],
  right: readonly string[],
  persistence: number,
): number {
  const depth = Math.max(left.length, right.length);
  if (depth === 0) return 1;
  const seenLeft = new Set<string>();
  const seenRight = new Set<string>();
  let common = 0;
  let weight = 1;
  let sum = 0;
  let sumWhenEqual = 0;
  for (let at = 0; at < depth; at++) {
    const a = left[at];
    const b = right[at];
    if (a !== undefined) seenLeft.add(a);
    if (b !== undefined) seenRight.add(b);
    if (a !== undefined && seenRight.has(a)) common++;
    if (b !== undefined && a !== b && seenLeft.has(b)) common++;
    sum += (weight * common) / (at + 1);
    sumWhenEqual += weight;
    weight *= persistence;
  }
  return sum / sumWhenEqual;
}

export function scoreQuantiles(scores: readonly number[]): ScoreQuantiles | null {
  if (scores.length === 0) return null;
  const sorted = [...scores].sort((a, b) => a - b);
  const at = (share: number): number => {
    const position = share * (sorted.length - 1);
    const below = sorted[Math.floor(position)] as number;
    const above = sorted[Math.ceil(position)] as number;
    return below + (above - below) * (position - Math.floor(position));
  };
  return { min: at(0), p25: at(0.25), median: at(0.5), p75: at(0.75), max: at(1) };
}
