import type { MigrationSample } from '../../registry/corpus-migrations.js';
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
  readonly answered: number;
  readonly failed: number;
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

/** The samples of all gateways over a time, as one. */
export class SampleTotals {
  readonly #samples: readonly Sample[];

  constructor(samples: readonly MigrationSample[]) {
    this.#samples = samples.map(({ sample }) => sample as Sample);
  }

  version(version: string): VersionTotals {
    const parts = this.#samples.flatMap(({ versions }) => versions[version] ?? []);
    return {
      answered: sum(parts.map(({ answered }) => answered)),
      failed: sum(parts.map(({ failed }) => failed)),
      encoded: LogHistogram.of(...parts.map(({ encoded }) => encoded)),
      searched: LogHistogram.of(...parts.map(({ searched }) => searched)),
      total: LogHistogram.of(...parts.map(({ total }) => total)),
    };
  }

  mirrored(version: string): MirrorTotals {
    const parts = this.#samples.flatMap(({ mirrored }) => mirrored[version] ?? []);
    const compared = sum(parts.map((part) => part.compared));
    const mean = (values: readonly number[]) => (compared === 0 ? null : sum(values) / compared);
    return {
      compared,
      shorter: sum(parts.map(({ shorter }) => shorter)),
      failed: sum(parts.map(({ failed }) => failed)),
      overlapMean: mean(parts.map(({ overlap_sum }) => overlap_sum)),
      rboMean: mean(parts.map(({ rbo_sum }) => rbo_sum)),
      primary: LogHistogram.of(...parts.map(({ primary }) => primary)),
      shadow: LogHistogram.of(...parts.map(({ shadow }) => shadow)),
    };
  }
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
