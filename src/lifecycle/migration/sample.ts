import { type HistogramCounts, LogHistogram } from '../../telemetry/log-histogram.js';
import type { Digest } from '../../vocabulary.js';
import { MirrorCounts, type MirrorSample, type MirrorTotals } from './mirror-counts.js';

/** What one gateway measured of one version within one interval. Times in microseconds. */
export interface VersionSample {
  readonly answered: number;
  /** For a reason of the server's, after a target was picked. */
  readonly failed: number;
  /** So many failures made them fail, as ejection counts: one that many share is one. Absent in samples of before. */
  readonly causes?: number;
  /** Encoding and searching, without queues, of requests that were encoded. */
  readonly encoded: HistogramCounts;
  /** Searching alone, of requests that brought or remembered their vector. */
  readonly searched: HistogramCounts;
  readonly total: HistogramCounts;
}

export interface Sample {
  /** Over how many milliseconds before it was written; none in samples of versions that did not say. */
  readonly spanMs?: number;
  readonly versions: Readonly<Record<string, VersionSample>>;
  /** By version; where it has several builds, the others' keys are `version@build`. */
  readonly mirrored: Readonly<Record<string, MirrorSample>>;
}

/** Without what was mirrored to another build of the version than this one. */
export const ofBuild = ({ mirrored, ...sample }: Sample, version: string, wanted: Digest): Sample => ({
  ...sample,
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
  /** Failures that made them fail: one that many share is one. */
  causes: number;
  readonly encoded: LogHistogram;
  readonly searched: LogHistogram;
  readonly total: LogHistogram;
}

export const noTotals = (): VersionTotals => ({
  answered: 0,
  failed: 0,
  causes: 0,
  encoded: new LogHistogram(),
  searched: new LogHistogram(),
  total: new LogHistogram(),
});

/** The samples of all gateways over a time, added up. */
export class SampleTotals {
  readonly #versions = new Map<string, VersionTotals>();
  readonly #mirrored = new Map<string, MirrorCounts>();

  add({ versions, mirrored }: Sample): void {
    for (const [version, part] of Object.entries(versions)) {
      const totals = this.version(version);
      this.#versions.set(version, totals);
      totals.answered += part.answered;
      totals.failed += part.failed;
      totals.causes += part.causes ?? part.failed;
      totals.encoded.add(part.encoded);
      totals.searched.add(part.searched);
      totals.total.add(part.total);
    }
    for (const [key, part] of Object.entries(mirrored)) {
      const version = versionOf(key);
      const counts = this.#mirrored.get(version) ?? new MirrorCounts();
      this.#mirrored.set(version, counts);
      counts.add(part);
    }
  }

  version(version: string): VersionTotals {
    return this.#versions.get(version) ?? noTotals();
  }

  mirrored(version: string): MirrorTotals {
    return (this.#mirrored.get(version) ?? new MirrorCounts()).totals();
  }
}
