import type { Comparison } from '../../router/comparison.js';
import type { Blame, RouterMetrics, StageTimes, TargetLabels, TrafficKind } from '../../router/metrics.js';
import type { MirrorDrop } from '../../router/mirror-drop.js';
import type { Digest } from '../../vocabulary.js';
import { MirrorCounts, type MirrorSample } from './mirror-counts.js';
import { noTotals, type Sample, type VersionSample, type VersionTotals } from './sample.js';

interface Pair {
  readonly version: string;
  readonly counts: MirrorCounts;
}

/**
 * What one gateway sees of the corpora that migrate: served and failed requests per version, mirrored reads compared.
 * Every other corpus costs one look into a map. `take` gives what came since it was last called.
 */
export class MigrationMeter implements Pick<RouterMetrics, 'served' | 'mirrorDropped' | 'mirrorCompared'> {
  readonly #corpora = new Map<string, CorpusMeter>();
  readonly #nowMs: () => number;

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** Measures these corpora from now on, and no others. */
  watch(corpora: ReadonlySet<string>): void {
    for (const corpus of this.#corpora.keys()) if (!corpora.has(corpus)) this.#corpora.delete(corpus);
    for (const corpus of corpora)
      if (!this.#corpora.has(corpus)) this.#corpora.set(corpus, new CorpusMeter(this.#nowMs()));
  }

  take(corpus: string): Sample | null {
    return this.#corpora.get(corpus)?.take(this.#nowMs()) ?? null;
  }

  served(target: TargetLabels, kind: TrafficKind, times: StageTimes): void {
    if (this.#corpora.size > 0 && kind === 'split') this.#corpora.get(target.corpus)?.served(target, times);
  }

  /** What is not the version's fault counts as nothing: else whoever may search could end a migration by his hurry. */
  failed(target: TargetLabels, kind: TrafficKind, blame: Blame): void {
    if (blame !== 'none' && kind === 'split') this.#corpora.get(target.corpus)?.failed(target, blame);
  }

  mirrorDropped(shadow: TargetLabels, why: MirrorDrop): void {
    // What was dropped for want of room or a text is not the new version's doing: mirrors yield to what serves. What came
    // too late may be: those that were compared are then the quick ones.
    if (why !== 'error' && why !== 'deadline') return;
    const counts = this.#corpora.get(shadow.corpus)?.mirrored(shadow);
    if (counts === undefined) return;
    if (why === 'error') counts.failed++;
    else counts.late++;
  }

  mirrorCompared(primary: TargetLabels, shadow: TargetLabels, comparison: Comparison): void {
    this.#corpora.get(primary.corpus)?.mirrored(shadow).compare(comparison);
  }
}

class CorpusMeter {
  readonly #versions = new Map<string, VersionTotals>();
  /** By the shadow's build; a shadow of the primary's own version is the noise floor. */
  readonly #pairs = new Map<Digest, Pair>();
  /** When it was taken from last. */
  #sinceMs: number;

  constructor(nowMs: number) {
    this.#sinceMs = nowMs;
  }

  served({ version }: TargetLabels, times: StageTimes): void {
    const counts = this.#version(version);
    counts.answered++;
    counts.total.observe(times.totalUs);
    // What was remembered says nothing about the version's speed.
    if (times.encodeUs > 0) counts.encoded.observe(times.encodeUs + times.searchUs);
    else if (times.searchUs > 0) counts.searched.observe(times.searchUs);
  }

  failed({ version }: TargetLabels, blame: Blame): void {
    const counts = this.#version(version);
    counts.failed++;
    if (blame === 'own') counts.causes++;
  }

  /** Of mirrored reads to the shadow. */
  mirrored({ version, build }: TargetLabels): MirrorCounts {
    const pair = this.#pairs.get(build) ?? { version, counts: new MirrorCounts() };
    this.#pairs.set(build, pair);
    return pair.counts;
  }

  take(nowMs: number): Sample {
    const spanMs = nowMs - this.#sinceMs;
    this.#sinceMs = nowMs;
    const versions: Record<string, VersionSample> = {};
    for (const [version, counts] of this.#versions)
      versions[version] = {
        answered: counts.answered,
        failed: counts.failed,
        causes: counts.causes,
        encoded: counts.encoded.counts(),
        searched: counts.searched.counts(),
        total: counts.total.counts(),
      };
    const mirrored: Record<string, MirrorSample> = {};
    for (const [build, { version, counts }] of this.#pairs)
      mirrored[mirrored[version] === undefined ? version : `${version}@${build}`] = counts.sample(build);
    this.#versions.clear();
    this.#pairs.clear();
    return { spanMs, versions, mirrored };
  }

  #version(version: string): VersionTotals {
    const counts = this.#versions.get(version) ?? noTotals();
    this.#versions.set(version, counts);
    return counts;
  }
}
