import type { CacheKey } from '../cache/keys.js';
import type { Timers } from '../process/timers.js';
import { digestPrefix, type QueryVector } from '../vocabulary.js';
import { type AdmittedCall, assertSpace, labelsOf, vectorGiven } from './admitted-call.js';
import { EncodedHits } from './encoded-hits.js';
import type { EngineRuns } from './engine-run.js';
import { type Found, type FoundResult, type ResultEntry, type Run, ran, remembered } from './found.js';
import type { RouterMetrics } from './metrics.js';
import type { Mirrors } from './mirror.js';
import { EncodedOutcome } from './outcome.js';
import type { SearchCall, SearchOutcome } from './query.js';
import type { ResultCache } from './result-cache.js';
import type { RouteTable } from './route-table.js';
import type { VectorSource } from './single-encode.js';
import type { RouteSnapshot, SnapshotTarget } from './snapshot.js';
import { recordCache } from './traced.js';

export interface AnswersOptions {
  readonly routes: RouteTable;
  readonly mirrors: Mirrors;
  /** Null: nothing is remembered. */
  readonly results: ResultCache | null;
  readonly engines: EngineRuns;
  readonly metrics: RouterMetrics;
  readonly timers: Timers;
  readonly queryId: () => string;
  /** What is worse than it should be in this process, for every response. */
  readonly degraded: () => readonly string[];
}

/** What is remembered of a call, or null for `entry`, and where it would be. */
export interface LookedUp {
  readonly results: ResultCache;
  readonly key: CacheKey;
  readonly entry: ResultEntry | null;
}

/** Answers of admitted calls: remembered ones, or what the engines find. */
export class Answers {
  private readonly options: AnswersOptions;

  constructor(options: AnswersOptions) {
    this.options = options;
  }

  async answer(admitted: AdmittedCall, vectors: VectorSource): Promise<SearchOutcome> {
    const { call, open } = admitted;
    const { engines, timers } = this.options;
    const results = this.resultsFor(call);
    if (results === null) return this.conclude(admitted, ran(await engines.run(admitted, vectors), 'BYPASS'));
    const lookedUpAtMs = call.trace === undefined ? 0 : timers.nowMs();
    const key = results.keyOf(call, open);
    const known = results.recall(key, open);
    if (known !== null) {
      this.tracedCache(call, 'memory', lookedUpAtMs);
      return this.conclude(admitted, remembered(known));
    }
    return await this.once(results, key, admitted, async () => {
      const shared = await results.fetch(key, open);
      this.tracedCache(call, shared === null ? 'miss' : 'redis', lookedUpAtMs);
      if (shared !== null) return { entry: shared, run: null };
      return this.remember(results, key, admitted, await engines.run(admitted, vectors));
    });
  }

  /** What is remembered of one call of a batch; null where nothing may be. */
  async lookUp({ call, open }: AdmittedCall): Promise<LookedUp | null> {
    const results = this.resultsFor(call);
    if (results === null) return null;
    const startMs = call.trace === undefined ? 0 : this.options.timers.nowMs();
    const key = results.keyOf(call, open);
    const entry = results.recall(key, open) ?? (await results.fetch(key, open));
    this.tracedCache(call, entry === null ? 'miss' : 'found', startMs);
    return { results, key, entry };
  }

  /** The answer of one call of a batch, which was looked up before. */
  async answerLookedUp(
    admitted: AdmittedCall,
    known: LookedUp | null,
    vectors: VectorSource,
  ): Promise<SearchOutcome> {
    const { engines } = this.options;
    if (known === null) return this.conclude(admitted, ran(await engines.run(admitted, vectors), 'BYPASS'));
    const { results, key, entry } = known;
    if (entry !== null) return this.conclude(admitted, remembered(entry));
    return this.once(results, key, admitted, async () =>
      this.remember(results, key, admitted, await engines.run(admitted, vectors)),
    );
  }

  /** The result cache for this call, or null. */
  private resultsFor(call: SearchCall): ResultCache | null {
    return call.bypassCache ? null : this.options.results;
  }

  private tracedCache(
    { trace }: SearchCall,
    outcome: 'memory' | 'redis' | 'found' | 'miss' | 'joined',
    startMs: number,
  ): void {
    if (trace !== undefined) recordCache(trace, 'result', outcome, startMs, this.options.timers.nowMs());
  }

  /** Runs `work` unless an equal call is under way; every call concludes for itself. */
  private async once(
    results: ResultCache,
    key: CacheKey,
    admitted: AdmittedCall,
    work: () => Promise<FoundResult>,
  ): Promise<SearchOutcome> {
    const { timers } = this.options;
    const fromMs = timers.nowMs();
    const { value, joined } = await results.once(key, admitted.call, work);
    const { entry, run } = value;
    if (run === null) return this.conclude(admitted, remembered(entry));
    if (!joined) return this.conclude(admitted, ran(run, 'MISS', entry.hits));
    this.tracedCache(admitted.call, 'joined', fromMs);
    const waitedUs = Math.round((timers.nowMs() - fromMs) * 1000);
    return this.conclude(admitted, {
      ...remembered(entry),
      vector: run.vector,
      use: 'MISS',
      queueUs: waitedUs,
    });
  }

  /** Only whole answers are kept: nothing that was found in a degraded state, or that has fewer hits than it should. */
  private remember(results: ResultCache, key: CacheKey, admitted: AdmittedCall, run: Run): FoundResult {
    const { call, open } = admitted;
    const entry: ResultEntry = {
      fingerprint: run.vector.fingerprint,
      hits: EncodedHits.of(run.hits, run.encodeUs + run.searchUs),
    };
    const wanted = Math.min(call.topK, open.index.bundle.manifest.document_count);
    // Who answered in whose place says nothing against the answer of a build.
    if (run.hits.length >= wanted && this.degradedNow(admitted.snapshot).length === 0)
      results.put(key, entry);
    return { entry, run };
  }

  private degradedNow({ corpus }: RouteSnapshot): readonly string[] {
    const { degraded, routes } = this.options;
    return routes.isBehind(corpus) ? [...degraded(), 'route_revision_behind'] : degraded();
  }

  private conclude(admitted: AdmittedCall, found: Found): SearchOutcome {
    const { queryId, metrics, timers, mirrors } = this.options;
    const { snapshot, target, open, startedAtMs } = admitted;
    const { spec } = open;
    assertSpace(found, spec.fingerprint);
    const timings = {
      queueUs: found.queueUs,
      encodeUs: found.encodeUs,
      searchUs: found.searchUs,
      totalUs: Math.round((timers.nowMs() - startedAtMs) * 1000),
    };
    const fields = {
      queryId: queryId(),
      servedBy: {
        corpusVersion: spec.version,
        build: spec.build,
        model: spec.modelRef,
        fingerprint: found.fingerprint,
        routeRevision: snapshot.revision,
        tier: spec.tier,
        resultCache: found.use,
      },
      degraded:
        admitted.insteadOf === null
          ? this.degradedNow(snapshot)
          : [...this.degradedNow(snapshot), fallbackFrom(admitted.insteadOf)],
      timings,
    };
    const { hits } = found;
    const outcome: SearchOutcome =
      hits instanceof EncodedHits ? new EncodedOutcome(fields, hits) : { ...fields, hits };
    metrics.served(labelsOf(snapshot.corpus, target), admitted.kind, timings, admitted.call.priority);
    if (admitted.mirrors.length > 0)
      mirrors.offer(admitted, found.vector ?? givenTo(admitted), outcome, found);
    return outcome;
  }
}

/** `fallback_from:<version>/<build>`: the target that the route meant. */
const fallbackFrom = ({ route }: SnapshotTarget): string =>
  `fallback_from:${route.version}/${digestPrefix(route.build)}`;

/** The client's own vector is there even when nothing was searched with it. */
const givenTo = (admitted: AdmittedCall): QueryVector | null =>
  admitted.call.query.kind === 'vector' ? vectorGiven(admitted).vector : null;
