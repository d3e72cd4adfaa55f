import type { CacheKey } from '../cache/keys.js';
import { SwitchyardError, toSwitchyardError } from '../errors.js';
import type { Timers } from '../process/timers.js';
import { digestPrefix, modelRef, type QueryVector } from '../vocabulary.js';
import {
  assertText,
  assertVector,
  assertWithinLimits,
  eligibleTargets,
  type QueryLimits,
} from './admission.js';
import { type AdmittedCall, assertSpace, type CallVector, labelsOf, vectorGiven } from './admitted-call.js';
import { EncodeTogether } from './batch-encode.js';
import { type Ejections, isFault } from './ejection.js';
import { encodeText } from './encode-text.js';
import { EncodedHits } from './encoded-hits.js';
import { type Found, type FoundResult, type ResultEntry, type Run, ran, remembered } from './found.js';
import type { RouterMetrics } from './metrics.js';
import type { Mirrors } from './mirror.js';
import { EncodedOutcome } from './outcome.js';
import { pickAtRandom, pickByKey } from './pick.js';
import type { EmbedCall, EmbedOutcome, SearchCall, SearchOutcome } from './query.js';
import type { QueryCaches } from './query-caches.js';
import type { ResultCache } from './result-cache.js';
import type { RouteTable } from './route-table.js';
import type { RouteSnapshot, SnapshotTarget } from './snapshot.js';
import type { TargetStore } from './targets.js';
import { inSpan, recordCache, recordPick, targetAttributes } from './traced.js';

export interface QueryPathOptions {
  readonly routes: RouteTable;
  readonly store: TargetStore;
  readonly mirrors: Mirrors;
  readonly ejections: Ejections;
  readonly caches: QueryCaches;
  readonly limits: QueryLimits;
  readonly metrics: RouterMetrics;
  readonly timers: Timers;
  /** [0, 1) */
  readonly random: () => number;
  readonly queryId: () => string;
  readonly isKnownModel: (model: string) => boolean;
  /** What is worse than it should be in this process, for every response. */
  readonly degraded: () => readonly string[];
}

/** The way of one query: snapshot → pick → remembered answer, or encode → search. */
export class QueryPath {
  private readonly options: QueryPathOptions;

  constructor(options: QueryPathOptions) {
    this.options = options;
  }

  async search(call: SearchCall): Promise<SearchOutcome> {
    const startedAtMs = this.options.timers.nowMs();
    const admitted = this.admit(call, this.read(call.corpus), startedAtMs);
    try {
      return await this.orElsewhere(admitted, (item) => this.answer(item));
    } finally {
      this.letGo(admitted);
    }
  }

  /** The answer of the target that was picked or, where it fails by its own fault, of another of its model. */
  private async orElsewhere(
    admitted: AdmittedCall,
    answer: (admitted: AdmittedCall) => Promise<SearchOutcome>,
    answerThere = answer,
  ): Promise<SearchOutcome> {
    try {
      return await answer(admitted);
    } catch (thrown) {
      this.failed(admitted, thrown);
      const second = this.admitElsewhere(admitted, thrown);
      if (second === null) throw thrown;
      try {
        return await answerThere(second);
      } catch (again) {
        throw this.failed(second, again);
      } finally {
        this.letGo(second);
      }
    }
  }

  /** Lets go of the target. */
  private letGo({ target }: AdmittedCall): void {
    this.options.ejections.passed(target);
    target.shared.release();
  }

  private async answer(
    admitted: AdmittedCall,
    vectorOf: () => Promise<CallVector> = () => this.vectorOf(admitted),
  ): Promise<SearchOutcome> {
    const { call } = admitted;
    const results = this.resultsFor(call);
    if (results === null) return this.conclude(admitted, ran(await this.run(admitted, vectorOf), 'BYPASS'));
    const lookedUpAtMs = call.trace === undefined ? 0 : this.options.timers.nowMs();
    const key = results.keyOf(call, admitted.open);
    const known = results.recall(key, admitted.open);
    if (known !== null) {
      this.tracedCache(admitted, 'memory', lookedUpAtMs);
      return this.conclude(admitted, remembered(known));
    }
    return await this.once(results, key, admitted, async () => {
      const shared = await results.fetch(key, admitted.open);
      this.tracedCache(admitted, shared === null ? 'miss' : 'redis', lookedUpAtMs);
      if (shared !== null) return { entry: shared, run: null };
      return this.remember(results, key, admitted, await this.run(admitted, vectorOf));
    });
  }

  async batchSearch(calls: readonly SearchCall[]): Promise<readonly (SearchOutcome | Error)[]> {
    const startedAtMs = this.options.timers.nowMs();
    const corpus = calls[0]?.corpus;
    if (corpus === undefined) return [];
    if (calls.some((call) => call.corpus !== corpus))
      throw new SwitchyardError('INVALID_ARGUMENT', 'all requests of a batch must name one corpus');
    const snapshot = this.read(corpus);
    const admitted = calls.map((call) => orError(() => this.admit(call, snapshot, startedAtMs)));
    const accepted = admitted.filter((item): item is AdmittedCall => !(item instanceof Error));
    try {
      const known = await Promise.all(accepted.map((item) => this.lookUp(item)));
      const together = new EncodeTogether(this.options.caches.embeddings, (item) =>
        this.assertInTime(item.call, 'encode'),
      );
      const answers = accepted.map((item, at) =>
        this.orElsewhere(
          item,
          () => this.answerItem(item, known[at] ?? null, () => together.vectorOf(item)),
          (second) => this.answer(second, () => together.vectorOf(second)),
        ).catch(toSwitchyardError),
      );
      together.start();
      const outcomes = (await Promise.all(answers)).values();
      return admitted.map((item) =>
        item instanceof Error ? item : (outcomes.next().value as SearchOutcome | Error),
      );
    } finally {
      for (const item of accepted) this.letGo(item);
    }
  }

  async embed(call: EmbedCall): Promise<EmbedOutcome> {
    const { store, caches, limits, timers, isKnownModel } = this.options;
    const shared = store.findEncoder(call.model);
    const encoder = shared?.value;
    if (!shared || !encoder) {
      const models = store
        .openEncoders()
        .map(({ model }) => modelRef(model))
        .sort()
        .join(', ');
      const why = isKnownModel(call.model) ? 'is not loaded: no route uses it' : 'does not exist';
      throw new SwitchyardError(
        'UNKNOWN_MODEL',
        `model ${JSON.stringify(call.model.slice(0, 160))} ${why}; loaded: ${models}`,
        { details: { models } },
      );
    }
    assertText(call.text, limits.textBytesMax);
    assertInTime(timers, call.deadlineAtMs, 'encode');
    shared.retain();
    try {
      const { text, role, priority, deadlineAtMs, trace } = call;
      const encoded = await encodeText(caches.embeddings, {
        encoder,
        text,
        role,
        lane: priority,
        deadlineAtMs,
        trace,
      });
      return {
        model: modelRef(encoder.model),
        fingerprint: encoded.fingerprint,
        values: encoded.values,
        tokenCount: encoded.tokenCount,
        truncated: encoded.isTruncated,
        queueUs: encoded.queueUs,
      };
    } finally {
      shared.release();
    }
  }

  /** The one read of the route (invariant 2). Names no other corpora: a client need not know what else is served. */
  private read(corpus: string): RouteSnapshot {
    const { routes } = this.options;
    const snapshot = routes.snapshot(corpus);
    if (snapshot !== null) return snapshot;
    if (routes.has(corpus)) {
      // Its message may hold paths, which are the operator's: `gateway status` and the log have them.
      const failure = routes.status().find((status) => status.corpus === corpus)?.error ?? null;
      throw new SwitchyardError(
        'INDEX_UNAVAILABLE',
        failure === null
          ? 'the corpus is still being loaded: try again soon'
          : `the corpus cannot be loaded (${failure.reason}): the operator finds why in \`switchyard gateway status\` and the gateway's log`,
      );
    }
    throw new SwitchyardError(
      'UNKNOWN_CORPUS',
      `corpus ${JSON.stringify(corpus.slice(0, 64))} does not exist or has no route`,
    );
  }

  /** No await from the read of the snapshot to here, so what the snapshot says is open can still be retained. */
  private admit(call: SearchCall, snapshot: RouteSnapshot, startedAtMs: number): AdmittedCall {
    const { limits, isKnownModel, random, mirrors } = this.options;
    assertWithinLimits(call, limits);
    const table = eligibleTargets(snapshot, call, isKnownModel);
    const { affinityKey } = call;
    const picked =
      affinityKey === null || affinityKey === ''
        ? pickAtRandom(table, random)
        : pickByKey(table, snapshot.salt, affinityKey);
    const target = picked === null ? null : this.options.ejections.choose(snapshot, picked, call);
    const open = target?.shared.value;
    if (!picked || !target || !open)
      throw new SwitchyardError('INDEX_UNAVAILABLE', `${snapshot.corpus} has no open target for this query`);
    assertVector(call.query, open);
    const kind = call.corpusVersion === null ? 'split' : 'pinned';
    target.shared.retain();
    const sampled = kind === 'split' ? mirrors.sample(snapshot, target) : [];
    const insteadOf = target === picked ? null : picked;
    const admitted = {
      call,
      snapshot,
      target,
      open,
      insteadOf,
      kind,
      startedAtMs,
      mirrors: sampled,
    } as const;
    if (call.trace !== undefined) recordPick(admitted, this.options.timers.nowMs());
    return admitted;
  }

  /**
   * The same call at another target of the same model and snapshot, when the first one failed by its own fault and
   * there is time left; null for none. Once only: what fails twice is told to the client.
   */
  private admitElsewhere(first: AdmittedCall, thrown: unknown): AdmittedCall | null {
    const { ejections, timers } = this.options;
    const { call, snapshot, target, insteadOf } = first;
    const error = toSwitchyardError(thrown);
    if (insteadOf !== null || error.reason === 'DEADLINE_EXCEEDED' || !isFault(error)) return null;
    if (timers.nowMs() >= call.deadlineAtMs) return null;
    const other = ejections.another(snapshot, target, call);
    const open = other?.shared.value;
    if (!other || !open) return null;
    other.shared.retain();
    return { ...first, target: other, open, insteadOf: target };
  }

  private async vectorOf(admitted: AdmittedCall): Promise<CallVector> {
    const { call, open } = admitted;
    if (call.query.kind === 'vector') return vectorGiven(admitted);
    this.assertInTime(call, 'encode');
    const { fingerprint, values, queueUs, encodeUs } = await encodeText(
      call.bypassCache ? null : this.options.caches.embeddings,
      {
        encoder: open.encoder,
        text: call.query.text,
        role: 'query',
        lane: call.priority,
        deadlineAtMs: call.deadlineAtMs,
        trace: call.trace,
      },
    );
    assertSpace({ fingerprint }, open.spec.fingerprint);
    return { vector: { fingerprint, values }, queueUs, encodeUs };
  }

  /** Encodes and searches, and remembers of the target how that went. */
  private async run(admitted: AdmittedCall, vectorOf: () => Promise<CallVector>): Promise<Run> {
    const { ejections } = this.options;
    const { call, target, startedAtMs } = admitted;
    try {
      const run = await this.work(admitted, vectorOf);
      ejections.succeeded(target);
      return run;
    } catch (thrown) {
      ejections.failed(target, toSwitchyardError(thrown), call.deadlineAtMs - startedAtMs);
      throw thrown;
    }
  }

  private async work(admitted: AdmittedCall, vectorOf: () => Promise<CallVector>): Promise<Run> {
    const { call, open } = admitted;
    const { vector, queueUs, encodeUs } = await vectorOf();
    this.assertInTime(call, 'search');
    const { topK, deadlineAtMs, withDocument, priority, trace } = call;
    const work = () => open.index.search({ vector, topK, lane: priority, deadlineAtMs, withDocument });
    const found =
      trace === undefined
        ? await work()
        : await inSpan(trace, 'search', this.options.timers, work, (answer) => ({
            ...targetAttributes(open),
            lane: priority,
            top_k: topK,
            ...(answer === null
              ? {}
              : { hits: answer.hits.length, queue_us: answer.queueUs, search_us: answer.searchUs }),
          }));
    return { hits: found.hits, vector, queueUs: queueUs + found.queueUs, encodeUs, searchUs: found.searchUs };
  }

  /** The result cache for this call, or null. */
  private resultsFor(call: SearchCall): ResultCache | null {
    return call.bypassCache ? null : this.options.caches.results;
  }

  /** What is remembered of one call of a batch. */
  private async lookUp({ call, open }: AdmittedCall): Promise<LookedUp | null> {
    const results = this.resultsFor(call);
    if (results === null) return null;
    const startMs = call.trace === undefined ? 0 : this.options.timers.nowMs();
    const key = results.keyOf(call, open);
    const entry = results.recall(key, open) ?? (await results.fetch(key, open));
    this.tracedCache({ call }, entry === null ? 'miss' : 'found', startMs);
    return { results, key, entry };
  }

  private tracedCache(
    { call }: Pick<AdmittedCall, 'call'>,
    outcome: 'memory' | 'redis' | 'found' | 'miss' | 'joined',
    startMs: number,
  ): void {
    if (call.trace !== undefined)
      recordCache(call.trace, 'result', outcome, startMs, this.options.timers.nowMs());
  }

  private async answerItem(
    admitted: AdmittedCall,
    known: LookedUp | null,
    vectorOf: () => Promise<CallVector>,
  ): Promise<SearchOutcome> {
    if (known === null) return this.conclude(admitted, ran(await this.run(admitted, vectorOf), 'BYPASS'));
    const { results, key, entry } = known;
    if (entry !== null) return this.conclude(admitted, remembered(entry));
    return this.once(results, key, admitted, async () =>
      this.remember(results, key, admitted, await this.run(admitted, vectorOf)),
    );
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
    this.tracedCache(admitted, 'joined', fromMs);
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
    metrics.served(labelsOf(snapshot.corpus, target), admitted.kind, timings);
    if (admitted.mirrors.length > 0)
      mirrors.offer(admitted, found.vector ?? givenTo(admitted), outcome, found);
    return outcome;
  }

  private failed({ snapshot, target, kind }: AdmittedCall, error: unknown): unknown {
    this.options.metrics.failed(labelsOf(snapshot.corpus, target), kind, error);
    return error;
  }

  private assertInTime(call: SearchCall, stage: string): void {
    assertInTime(this.options.timers, call.deadlineAtMs, stage);
  }
}

/** `fallback_from:<version>/<build>`: the target that the route meant. */
const fallbackFrom = ({ route }: SnapshotTarget): string =>
  `fallback_from:${route.version}/${digestPrefix(route.build)}`;

interface LookedUp {
  readonly results: ResultCache;
  readonly key: CacheKey;
  readonly entry: ResultEntry | null;
}

/** The client's own vector is there even when nothing was searched with it. */
const givenTo = (admitted: AdmittedCall): QueryVector | null =>
  admitted.call.query.kind === 'vector' ? vectorGiven(admitted).vector : null;

function assertInTime(timers: Timers, deadlineAtMs: number, stage: string): void {
  if (timers.nowMs() < deadlineAtMs) return;
  throw new SwitchyardError('DEADLINE_EXCEEDED', `the deadline passed before ${stage}`, {
    details: { stage },
  });
}

function orError<T>(compute: () => T): T | SwitchyardError {
  try {
    return compute();
  } catch (thrown) {
    return toSwitchyardError(thrown);
  }
}
