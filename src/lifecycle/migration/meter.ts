import { REASONS, toSwitchyardError } from '../../errors.js';
import type { Comparison } from '../../router/comparison.js';
import type { RouterMetrics, StageTimes, TargetLabels, TrafficKind } from '../../router/metrics.js';
import type { MirrorDrop } from '../../router/mirror-drop.js';
import { LogHistogram } from '../../telemetry/log-histogram.js';
import type { Digest } from '../../vocabulary.js';
import type { ScoreQuantiles } from '../retire/score-thresholds.js';
import { type MirrorSample, NO_SCORES, plusScores, type Sample, type VersionSample } from './sample.js';

interface VersionCounts {
  answered: number;
  failed: number;
  readonly encoded: LogHistogram;
  readonly searched: LogHistogram;
  readonly total: LogHistogram;
}

interface PairCounts {
  readonly version: string;
  compared: number;
  shorter: number;
  failed: number;
  overlapSum: number;
  rboSum: number;
  readonly primary: LogHistogram;
  readonly shadow: LogHistogram;
  remembered: number;
  /** Of which both sides had hits. */
  answers: number;
  primaryScores: ScoreQuantiles;
  shadowScores: ScoreQuantiles;
}

/**
 * What one gateway sees of the corpora that migrate: served and failed requests per version, mirrored reads compared.
 * Every other corpus costs one look into a map. `take` gives what came since it was last called.
 */
export class MigrationMeter
  implements Pick<RouterMetrics, 'served' | 'failed' | 'mirrorDropped' | 'mirrorCompared'>
{
  readonly #corpora = new Map<string, CorpusMeter>();

  /** Measures these corpora from now on, and no others. */
  watch(corpora: ReadonlySet<string>): void {
    for (const corpus of this.#corpora.keys()) if (!corpora.has(corpus)) this.#corpora.delete(corpus);
    for (const corpus of corpora)
      if (!this.#corpora.has(corpus)) this.#corpora.set(corpus, new CorpusMeter());
  }

  take(corpus: string): Sample | null {
    return this.#corpora.get(corpus)?.take() ?? null;
  }

  served(target: TargetLabels, kind: TrafficKind, times: StageTimes): void {
    if (this.#corpora.size > 0 && kind === 'split') this.#corpora.get(target.corpus)?.served(target, times);
  }

  failed(target: TargetLabels, kind: TrafficKind, error: unknown): void {
    if (this.#corpora.size === 0 || kind !== 'split') return;
    if (REASONS[toSwitchyardError(error).reason].http >= 500)
      this.#corpora.get(target.corpus)?.failed(target);
  }

  mirrorDropped(shadow: TargetLabels, why: MirrorDrop): void {
    // What was dropped for want of room, time or a text is not the new version's doing: mirrors yield to what serves.
    if (why === 'error') this.#corpora.get(shadow.corpus)?.mirrorFailed(shadow);
  }

  mirrorCompared(primary: TargetLabels, shadow: TargetLabels, comparison: Comparison): void {
    this.#corpora.get(primary.corpus)?.compared(shadow, comparison);
  }
}

class CorpusMeter {
  readonly #versions = new Map<string, VersionCounts>();
  /** By the shadow's build; a shadow of the primary's own version is the noise floor. */
  readonly #pairs = new Map<Digest, PairCounts>();

  served({ version }: TargetLabels, times: StageTimes): void {
    const counts = this.#versionCounts(version);
    counts.answered++;
    counts.total.observe(times.totalUs);
    // What was remembered says nothing about the version's speed.
    if (times.encodeUs > 0) counts.encoded.observe(times.encodeUs + times.searchUs);
    else if (times.searchUs > 0) counts.searched.observe(times.searchUs);
  }

  failed({ version }: TargetLabels): void {
    this.#versionCounts(version).failed++;
  }

  mirrorFailed(shadow: TargetLabels): void {
    this.#pairCounts(shadow).failed++;
  }

  compared(shadow: TargetLabels, comparison: Comparison): void {
    const counts = this.#pairCounts(shadow);
    counts.compared++;
    if (comparison.shadowUnderfill > comparison.primaryUnderfill) counts.shorter++;
    counts.overlapSum += comparison.overlap;
    counts.rboSum += comparison.rbo;
    const { primaryServiceUs, shadowServiceUs, primaryScores, shadowScores } = comparison;
    if (primaryScores !== null && shadowScores !== null) {
      counts.answers++;
      counts.primaryScores = plusScores(counts.primaryScores, primaryScores);
      counts.shadowScores = plusScores(counts.shadowScores, shadowScores);
    }
    // Both or neither: the same reads on either side.
    if (primaryServiceUs === null || shadowServiceUs === null) {
      counts.remembered++;
      return;
    }
    counts.primary.observe(primaryServiceUs);
    counts.shadow.observe(shadowServiceUs);
  }

  take(): Sample {
    const versions: Record<string, VersionSample> = {};
    for (const [version, counts] of this.#versions)
      versions[version] = {
        answered: counts.answered,
        failed: counts.failed,
        encoded: counts.encoded.take(),
        searched: counts.searched.take(),
        total: counts.total.take(),
      };
    const mirrored: Record<string, MirrorSample> = {};
    for (const [build, counts] of this.#pairs) {
      const { version } = counts;
      mirrored[mirrored[version] === undefined ? version : `${version}@${build}`] = {
        build,
        compared: counts.compared,
        shorter: counts.shorter,
        failed: counts.failed,
        overlap_sum: counts.overlapSum,
        rbo_sum: counts.rboSum,
        primary: counts.primary.take(),
        shadow: counts.shadow.take(),
        remembered: counts.remembered,
        ...(counts.answers === 0
          ? {}
          : {
              scores: {
                answers: counts.answers,
                primary: counts.primaryScores,
                shadow: counts.shadowScores,
              },
            }),
      };
    }
    this.#versions.clear();
    this.#pairs.clear();
    return { versions, mirrored };
  }

  #versionCounts(version: string): VersionCounts {
    const known = this.#versions.get(version);
    if (known !== undefined) return known;
    const fresh: VersionCounts = {
      answered: 0,
      failed: 0,
      encoded: new LogHistogram(),
      searched: new LogHistogram(),
      total: new LogHistogram(),
    };
    this.#versions.set(version, fresh);
    return fresh;
  }

  #pairCounts({ version, build }: TargetLabels): PairCounts {
    const known = this.#pairs.get(build);
    if (known !== undefined) return known;
    const fresh: PairCounts = {
      version,
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
    };
    this.#pairs.set(build, fresh);
    return fresh;
  }
}
