import { type HistogramCounts, LogHistogram } from '../../telemetry/log-histogram.js';

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

/** Mirrored reads to one version. */
export interface MirrorSample {
  readonly compared: number;
  readonly shorter: number;
  readonly failed: number;
  readonly overlap_sum: number;
  readonly rbo_sum: number;
  readonly primary: HistogramCounts;
  readonly shadow: HistogramCounts;
}

export interface Sample {
  readonly versions: Readonly<Record<string, VersionSample>>;
  readonly mirrored: Readonly<Record<string, MirrorSample>>;
}

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
}

interface MirrorSums {
  compared: number;
  shorter: number;
  failed: number;
  overlapSum: number;
  rboSum: number;
  readonly primary: LogHistogram;
  readonly shadow: LogHistogram;
}

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
    for (const [version, part] of Object.entries(mirrored)) {
      const sums = this.#sums(version);
      this.#mirrored.set(version, sums);
      sums.compared += part.compared;
      sums.shorter += part.shorter;
      sums.failed += part.failed;
      sums.overlapSum += part.overlap_sum;
      sums.rboSum += part.rbo_sum;
      sums.primary.add(part.primary);
      sums.shadow.add(part.shadow);
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
    const { compared, shorter, failed, overlapSum, rboSum, primary, shadow } = this.#sums(version);
    const mean = (sum: number) => (compared === 0 ? null : sum / compared);
    return {
      ...{ compared, shorter, failed, primary, shadow },
      overlapMean: mean(overlapSum),
      rboMean: mean(rboSum),
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
      }
    );
  }
}
