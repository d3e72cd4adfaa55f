import type { Hit } from '../index/search-index.js';
import type { Timers } from '../process/timers.js';
import type { OpenSpan } from '../telemetry/trace.js';
import { type QueryVector, WEIGHT_TOTAL_BPS } from '../vocabulary.js';
import { type AdmittedCall, labelsOf } from './admitted-call.js';
import { compareAnswers, type RankedAnswer } from './comparison.js';
import type { ComparedPair, ComparedTarget, ComparisonRecorder } from './comparison-recorder.js';
import type { EmbeddingCache } from './embedding-cache.js';
import type { RouterMetrics, TargetLabels } from './metrics.js';
import {
  type MirroredQuery,
  type MirrorJob,
  MirrorLane,
  type MirrorLaneState,
  type MirrorOptions,
  type ServiceTimes,
} from './mirror-lane.js';
import { pairKind } from './pair-kind.js';
import type { SearchOutcome } from './query.js';
import type { Shared } from './shared-pool.js';
import type { RouteSnapshot, SnapshotTarget } from './snapshot.js';
import type { OpenTarget } from './targets.js';

export interface MirrorsOptions {
  readonly mirror: MirrorOptions;
  readonly timers: Timers;
  /** [0, 1) */
  readonly random: () => number;
  readonly metrics: RouterMetrics;
  readonly recorder: ComparisonRecorder;
  /** Where a shadow finds and leaves vectors of its own model: all of the caches that a mirror may touch (invariant 3). */
  readonly embeddings: EmbeddingCache | null;
  /** Whether what is served leaves no room for one more beside those that run. Asked before anything is copied. */
  readonly primaryIsBusy: (running: number) => boolean;
  readonly onError: (what: string, error: unknown) => void;
}

const NONE: readonly SnapshotTarget[] = Object.freeze([]);

/**
 * Copies of served reads for shadow targets (invariant 3). Nothing here is awaited by a request, and nothing
 * here throws into one.
 */
export class Mirrors {
  private readonly options: MirrorsOptions;
  /** A lane lives as long as its target is held. */
  private readonly lanes = new Map<Shared<OpenTarget>, MirrorLane>();
  private isClosed = false;

  constructor(options: MirrorsOptions) {
    this.options = options;
  }

  /** The shadows this call is mirrored to if it is served. Decided before any cache is asked, so hits count as well. */
  sample(snapshot: RouteSnapshot, primary: SnapshotTarget): readonly SnapshotTarget[] {
    if (snapshot.mirrors.length === 0) return NONE;
    const { random } = this.options;
    return snapshot.mirrors.filter(
      (shadow) =>
        shadow.route.build !== primary.route.build && random() * WEIGHT_TOTAL_BPS < shadow.route.mirrorBps,
    );
  }

  /**
   * Called when the primary's answer is complete. Whatever is kept is copied here, before the answer leaves;
   * whatever is dropped is dropped before anything is copied. `vector` is null for a text that nobody encoded, since
   * its answer was remembered. `took`: what encoding and searching took this time.
   */
  offer(
    admitted: AdmittedCall,
    vector: QueryVector | null,
    outcome: SearchOutcome,
    took: ServiceTimes,
  ): void {
    for (const shadow of admitted.mirrors) {
      try {
        this.offerTo(shadow, admitted, vector, outcome, took);
      } catch (error) {
        this.options.onError('mirror', error);
      }
    }
  }

  /** Per shadow that was mirrored to: how busy it is, and its breaker. */
  states(): readonly { readonly corpus: string; readonly build: string; readonly lane: MirrorLaneState }[] {
    this.forgetClosed();
    return [...this.lanes].flatMap(([{ value }, lane]) =>
      value === null ? [] : [{ corpus: value.spec.corpus, build: value.spec.build, lane: lane.state }],
    );
  }

  close(): void {
    this.isClosed = true;
    for (const lane of this.lanes.values()) lane.close();
    this.lanes.clear();
  }

  private offerTo(
    shadow: SnapshotTarget,
    admitted: AdmittedCall,
    vector: QueryVector | null,
    outcome: SearchOutcome,
    took: ServiceTimes,
  ): void {
    const { metrics, mirror, timers, primaryIsBusy } = this.options;
    const { call, snapshot } = admitted;
    const labels = labelsOf(snapshot.corpus, shadow);
    metrics.mirrorOffered(labels);
    const text = call.query.kind === 'text' ? call.query.text : null;
    const ownVector = vector?.fingerprint === shadow.route.fingerprint ? vector : null;
    const lane = this.laneOf(shadow.shared);
    const bytes = (text?.length ?? 0) * 2 + (ownVector?.values.byteLength ?? 0);
    const shadowOpen = shadow.shared.value;
    const refusal =
      ownVector === null && text === null
        ? 'no_text'
        : (lane.refusal(bytes) ?? (primaryIsBusy(lane.state.running) ? 'primary_busy' : null));
    const trace = call.trace?.open('mirror', timers.nowMs());
    if (refusal !== null || shadowOpen === null) {
      metrics.mirrorDropped(labels, refusal ?? 'not_ready');
      trace?.end(timers.nowMs(), { corpus_version: labels.version, outcome: refusal ?? 'not_ready' });
      return;
    }
    const { primaryLabels, pair } = pairOf(admitted, shadow, shadowOpen);
    const copy: CopiedRead = {
      pair,
      primaryLabels,
      shadowLabels: labels,
      text,
      vector:
        ownVector === null ? null : { fingerprint: ownVector.fingerprint, values: ownVector.values.slice() },
      topK: call.topK,
      bytes,
      trace,
      primary: rankedAnswer(outcome.hits, call.topK, serviceUs(pair, took)),
    };
    lane.add(this.jobOf(copy, timers.nowMs() + mirror.deadlineMs));
  }

  /** Reaches nothing but the copy, so that a waiting mirror keeps no request, snapshot or document alive. */
  private jobOf(copy: CopiedRead, deadlineAtMs: number): MirrorJob {
    const { metrics, timers, onError } = this.options;
    const { text, vector, topK, bytes, trace } = copy;
    const version = copy.shadowLabels.version;
    const ended = (outcome: string): void => trace?.end(timers.nowMs(), { corpus_version: version, outcome });
    const query: MirroredQuery =
      vector === null ? { kind: 'text', text: text ?? '' } : { kind: 'vector', vector };
    return {
      query,
      topK,
      bytes,
      deadlineAtMs,
      trace,
      failed: (error) => metrics.mirrorFailed(copy.shadowLabels, error),
      dropped: (why) => {
        metrics.mirrorDropped(copy.shadowLabels, why);
        ended(why);
      },
      done: (hits, took) => {
        try {
          this.compare(copy, rankedAnswer(hits, topK, serviceUs(copy.pair, took)));
          ended('compared');
        } catch (error) {
          metrics.mirrorDropped(copy.shadowLabels, 'error');
          ended('error');
          onError('comparison', error);
        }
      },
    };
  }

  private compare(copy: CopiedRead, shadow: RankedAnswer): void {
    const { metrics, recorder } = this.options;
    const { pair, primary, topK, text, vector } = copy;
    const comparison = compareAnswers(topK, primary, shadow);
    recorder.record(pair, comparison, {
      text,
      vector: vector?.values ?? null,
      primaryIds: primary.ids,
      shadowIds: shadow.ids,
    });
    metrics.mirrorCompared(copy.primaryLabels, copy.shadowLabels, comparison);
  }

  private laneOf(shared: Shared<OpenTarget>): MirrorLane {
    const known = this.lanes.get(shared);
    if (known !== undefined) return known;
    this.forgetClosed();
    const lane = new MirrorLane(shared, this.options.mirror, this.options.timers, this.options.embeddings);
    if (this.isClosed) lane.close();
    else this.lanes.set(shared, lane);
    return lane;
  }

  private forgetClosed(): void {
    for (const shared of this.lanes.keys()) if (shared.state.kind === 'closed') this.lanes.delete(shared);
  }
}

/** Everything a mirror needs of a served read, owned by the mirror. */
interface CopiedRead {
  readonly pair: ComparedPair;
  readonly primaryLabels: TargetLabels;
  readonly shadowLabels: TargetLabels;
  readonly text: string | null;
  /** Only when the shadow is of the same model: else it encodes the text itself. */
  readonly vector: QueryVector | null;
  readonly topK: number;
  readonly bytes: number;
  readonly trace: OpenSpan | undefined;
  readonly primary: RankedAnswer;
}

function pairOf(
  { snapshot, target, open }: AdmittedCall,
  shadow: SnapshotTarget,
  shadowOpen: OpenTarget,
): { readonly primaryLabels: TargetLabels; readonly pair: ComparedPair } {
  const { corpus } = snapshot;
  return {
    primaryLabels: labelsOf(corpus, target),
    pair: {
      corpus,
      kind: pairKind(open.index.bundle.manifest, shadowOpen.index.bundle.manifest),
      primary: comparedTarget(target),
      shadow: comparedTarget(shadow),
    },
  };
}

const comparedTarget = ({ route }: SnapshotTarget): ComparedTarget => ({
  version: route.version,
  build: route.build,
  model: route.modelRef,
  fingerprint: route.fingerprint,
});

/**
 * What is comparable of both sides. Of one model the searches alone: both have the vector that was encoded once. Of two
 * models all of it, but only where each was really asked: a remembered vector would make its side look fast.
 */
function serviceUs({ primary, shadow }: ComparedPair, { encodeUs, searchUs }: ServiceTimes): number | null {
  if (searchUs === 0) return null;
  if (primary.fingerprint === shadow.fingerprint) return searchUs;
  return encodeUs === 0 ? null : encodeUs + searchUs;
}

/** At most `k` hits are looked at, whatever came back. */
function rankedAnswer(hits: readonly Hit[], k: number, serviceUs: number | null): RankedAnswer {
  const ids: string[] = [];
  const scores: number[] = [];
  for (let at = 0; at < hits.length && at < k; at++) {
    const hit = hits[at] as Hit;
    ids.push(hit.id);
    scores.push(hit.score);
  }
  return { ids, scores, serviceUs };
}
