import { type HistogramCounts, LogHistogram } from '../../telemetry/log-histogram.js';
import type { Digest } from '../../vocabulary.js';
import type { ScoreQuantiles } from '../retire/score-thresholds.js';

/** What one gateway measured of one version within one interval. Times in microseconds. */
export interface VersionSample {
  readonly answered: number;
  /** For a reason of the server's, after a target was picked. */
  readonly failed: number;
  /** Encoding and searching, without queues, of requests that were encoded. */
  readonly encoded: HistogramCounts;
  /** Searching alone, of requests that brought or remembered their vector. */
  readonly searched: HistogramCounts;
  readonly total: HistogramCounts;
}

/** Mirrored reads to one build of a version. */
export interface MirrorSample {
  /** Absent in samples of before. */
  readonly build?: Digest;
  readonly compared: number;
  readonly shorter: number;
  readonly failed: number;
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

export const plusScores = (left: ScoreQuantiles, right: ScoreQuantiles): ScoreQuantiles => ({
  p25: left.p25 + right.p25,
  median: left.median + right.median,
  p75: left.p75 + right.p75,
});

export const NO_SCORES: ScoreQuantiles = Object.freeze({ p25: 0, median: 0, p75: 0 });

export interface Sample {
  readonly versions: Readonly<Record<string, VersionSample>>;
  /** By version; where it has several builds, the others' keys are `version@build`. */
  readonly mirrored: Readonly<Record<string, MirrorSample>>;
}

/** Without what was mirrored to another build of the version than this one. */
export const ofBuild = ({ versions, mirrored }: Sample, version: string, wanted: Digest): Sample => ({
  versions,
  mirrored: Object.fromEntries(
    Object.entries(mirrored).filter(
      ([key, { build }]) => versionOf(key) !== version || build === undefined || build === wanted,
    ),
  ),
});

const versionOf = (key: string): string => key.split('@')[0] ?? key;

export interface VersionTotals {
  answered: number;
  failed: number;
  readonly encoded: LogHistogram;
  readonly searched: LogHistogram;
  readonly total: LogHistogram;
}

export interface MirrorTotals {
  readonly compared: number;
  readonly shorter: number;
  readonly failed: number;
  /** Null while nothing was compared. */
  readonly overlapMean: number | null;
  readonly rboMean: number | null;
  readonly primary: LogHistogram;
  readonly shadow: LogHistogram;
  readonly remembered: number;
  /** On average over the answers; null while none was compared. */
  readonly scores: BothScores | null;
}

interface MirrorSums {
  compared: number;
  shorter: number;
  failed: number;
  overlapSum: number;
  rboSum: number;
  readonly primary: LogHistogram;
  readonly shadow: LogHistogram;
  remembered: number;
  answers: number;
  primaryScores: ScoreQuantiles;
  shadowScores: ScoreQuantiles;
}

const scaled = ({ p25, median, p75 }: ScoreQuantiles, factor: number): ScoreQuantiles => ({
  p25: p25 * factor,
  median: median * factor,
  p75: p75 * factor,
});

/** The samples of all gateways over a time, added up. */
export class SampleTotals {
  readonly #versions = new Map<string, VersionTotals>();
  readonly #mirrored = new Map<string, MirrorSums>();

  add({ versions, mirrored }: Sample): void {
    for (const [version, part] of Object.entries(versions)) {
      const totals = this.version(version);
      this.#versions.set(version, totals);
      totals.answered += part.answered;
      totals.failed += part.failed;
      totals.encoded.add(part.encoded);
      totals.searched.add(part.searched);
      totals.total.add(part.total);
    }
    for (const [key, part] of Object.entries(mirrored)) {
      const version = versionOf(key);
      const sums = this.#sums(version);
      this.#mirrored.set(version, sums);
      sums.compared += part.compared;
      sums.shorter += part.shorter;
      sums.failed += part.failed;
      sums.overlapSum += part.overlap_sum;
      sums.rboSum += part.rbo_sum;
      sums.primary.add(part.primary);
      sums.shadow.add(part.shadow);
      sums.remembered += part.remembered ?? 0;
      if (part.scores === undefined) continue;
      sums.answers += part.scores.answers;
      sums.primaryScores = plusScores(sums.primaryScores, part.scores.primary);
      sums.shadowScores = plusScores(sums.shadowScores, part.scores.shadow);
    }
  }

  version(version: string): VersionTotals {
    return (
      this.#versions.get(version) ?? {
        answered: 0,
        failed: 0,
        encoded: new LogHistogram(),
        searched: new LogHistogram(),
        total: new LogHistogram(),
      }
    );
  }

  mirrored(version: string): MirrorTotals {
    const sums = this.#sums(version);
    const { compared, shorter, failed, primary, shadow, remembered, answers } = sums;
    const mean = (sum: number) => (compared === 0 ? null : sum / compared);
    return {
      ...{ compared, shorter, failed, primary, shadow, remembered },
      overlapMean: mean(sums.overlapSum),
      rboMean: mean(sums.rboSum),
      scores:
        answers === 0
          ? null
          : {
              primary: scaled(sums.primaryScores, 1 / answers),
              shadow: scaled(sums.shadowScores, 1 / answers),
            },
    };
  }

  #sums(version: string): MirrorSums {
    return (
      this.#mirrored.get(version) ?? {
        compared: 0,
        shorter: 0,
        failed: 0,
        overlapSum: 0,
        rboSum: 0,
        primary: new LogHistogram(),
        shadow: new LogHistogram(),
        remembered: 0,
        answers: 0,
        primaryScores: NO_SCORES,
        shadowScores: NO_SCORES,
      }
    );
  }
}
