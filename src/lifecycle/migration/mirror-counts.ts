import type { Comparison } from '../../router/comparison.js';
import { type HistogramCounts, LogHistogram } from '../../telemetry/log-histogram.js';
import type { Digest } from '../../vocabulary.js';
import type { ScoreQuantiles } from '../retire/score-thresholds.js';

/** Mirrored reads to one build of a version, as one gateway writes them down. Times in microseconds. */
export interface MirrorSample {
  /** Absent in samples of before. */
  readonly build?: Digest;
  readonly compared: number;
  readonly shorter: number;
  readonly failed: number;
  /** Not answered by the mirrors' deadline. Absent in samples of before. */
  readonly late?: number;
  readonly overlap_sum: number;
  readonly rbo_sum: number;
  readonly primary: HistogramCounts;
  readonly shadow: HistogramCounts;
  /** Compared, and not timed on both sides, since one was remembered. Absent in samples of before. */
  readonly remembered?: number;
  /** Quantiles within each answer, added up over those where both had hits. Absent: none had, or a sample of before. */
  readonly scores?: { readonly answers: number } & BothScores;
}

/** Of the old version's answers and the new one's. */
export interface BothScores {
  readonly primary: ScoreQuantiles;
  readonly shadow: ScoreQuantiles;
}

export interface MirrorTotals {
  readonly compared: number;
  /** In which the new version had fewer hits. */
  readonly shorter: number;
  readonly failed: number;
  /** Not answered by the mirrors' deadline. */
  readonly late: number;
  /** Null while nothing was compared. */
  readonly overlapMean: number | null;
  readonly rboMean: number | null;
  readonly primary: LogHistogram;
  readonly shadow: LogHistogram;
  readonly remembered: number;
  /** On average over the answers; null while none was compared. */
  readonly scores: BothScores | null;
}

const NO_SCORES: ScoreQuantiles = Object.freeze({ p25: 0, median: 0, p75: 0 });

const plus = (left: ScoreQuantiles, right: ScoreQuantiles): ScoreQuantiles => ({
  p25: left.p25 + right.p25,
  median: left.median + right.median,
  p75: left.p75 + right.p75,
});

const scaled = ({ p25, median, p75 }: ScoreQuantiles, factor: number): ScoreQuantiles => ({
  p25: p25 * factor,
  median: median * factor,
  p75: p75 * factor,
});

/** Sums over mirrored reads: of one gateway as they come, and of the samples of all. */
export class MirrorCounts {
  failed = 0;
  late = 0;
  #compared = 0;
  #shorter = 0;
  #overlapSum = 0;
  #rboSum = 0;
  readonly #primary = new LogHistogram();
  readonly #shadow = new LogHistogram();
  #remembered = 0;
  /** Of those that were compared, where both sides had hits. */
  #answers = 0;
  #primaryScores = NO_SCORES;
  #shadowScores = NO_SCORES;

  compare(comparison: Comparison): void {
    this.#compared++;
    if (comparison.shadowUnderfill > comparison.primaryUnderfill) this.#shorter++;
    this.#overlapSum += comparison.overlap;
    this.#rboSum += comparison.rbo;
    const { primaryServiceUs, shadowServiceUs, primaryScores, shadowScores } = comparison;
    if (primaryScores !== null && shadowScores !== null) this.#addScores(1, primaryScores, shadowScores);
    // Both or neither: the same reads on either side.
    if (primaryServiceUs === null || shadowServiceUs === null) {
      this.#remembered++;
      return;
    }
    this.#primary.observe(primaryServiceUs);
    this.#shadow.observe(shadowServiceUs);
  }

  add(sample: MirrorSample): void {
    this.#compared += sample.compared;
    this.#shorter += sample.shorter;
    this.failed += sample.failed;
    this.late += sample.late ?? 0;
    this.#overlapSum += sample.overlap_sum;
    this.#rboSum += sample.rbo_sum;
    this.#primary.add(sample.primary);
    this.#shadow.add(sample.shadow);
    this.#remembered += sample.remembered ?? 0;
    const { scores } = sample;
    if (scores !== undefined) this.#addScores(scores.answers, scores.primary, scores.shadow);
  }

  sample(build: Digest): MirrorSample {
    return {
      build,
      compared: this.#compared,
      shorter: this.#shorter,
      failed: this.failed,
      late: this.late,
      overlap_sum: this.#overlapSum,
      rbo_sum: this.#rboSum,
      primary: this.#primary.counts(),
      shadow: this.#shadow.counts(),
      remembered: this.#remembered,
      ...(this.#answers === 0
        ? {}
        : {
            scores: { answers: this.#answers, primary: this.#primaryScores, shadow: this.#shadowScores },
          }),
    };
  }

  totals(): MirrorTotals {
    const mean = (sum: number) => (this.#compared === 0 ? null : sum / this.#compared);
    const each = (scores: ScoreQuantiles) => scaled(scores, 1 / this.#answers);
    return {
      compared: this.#compared,
      shorter: this.#shorter,
      failed: this.failed,
      late: this.late,
      overlapMean: mean(this.#overlapSum),
      rboMean: mean(this.#rboSum),
      primary: this.#primary,
      shadow: this.#shadow,
      remembered: this.#remembered,
      scores:
        this.#answers === 0 ? null : { primary: each(this.#primaryScores), shadow: each(this.#shadowScores) },
    };
  }

  #addScores(answers: number, primary: ScoreQuantiles, shadow: ScoreQuantiles): void {
    this.#answers += answers;
    this.#primaryScores = plus(this.#primaryScores, primary);
    this.#shadowScores = plus(this.#shadowScores, shadow);
  }
}
