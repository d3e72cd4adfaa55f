import { SwitchyardError, toSwitchyardError } from '../errors.js';
import type { Timers } from '../process/timers.js';
import { modelRef } from '../vocabulary.js';
import {
  assertText,
  assertVector,
  assertWithinLimits,
  eligibleTargets,
  type QueryLimits,
} from './admission.js';
import { type AdmittedCall, assertSpace, type CallVector, labelsOf, vectorGiven } from './admitted-call.js';
import { encodeTogether } from './batch-encode.js';
import type { RouterMetrics } from './metrics.js';
import type { Mirrors } from './mirror.js';
import { pickAtRandom, pickByKey } from './pick.js';
import type { EmbedCall, EmbedOutcome, SearchCall, SearchOutcome } from './query.js';
import type { RouteTable } from './route-table.js';
import type { RouteSnapshot } from './snapshot.js';
import type { TargetStore } from './targets.js';

export interface QueryPathOptions {
  readonly routes: RouteTable;
  readonly store: TargetStore;
  readonly mirrors: Mirrors;
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

/** The way of one query: snapshot → pick → encode → search. */
export class QueryPath {
  private readonly options: QueryPathOptions;

  constructor(options: QueryPathOptions) {
    this.options = options;
  }

  async search(call: SearchCall): Promise<SearchOutcome> {
    const startedAtMs = this.options.timers.nowMs();
    const admitted = this.admit(call, this.read(call.corpus), startedAtMs);
    try {
      return await this.answer(admitted, await this.vectorOf(admitted));
    } finally {
      admitted.target.shared.release();
    }
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
      const vectors = await encodeTogether(accepted, (item) => this.assertInTime(item.call, 'encode'));
      return await Promise.all(
        admitted.map(async (item) => {
          if (item instanceof Error) return item;
          const vector = vectors.get(item) ?? vectorGiven(item);
          if (vector instanceof Error) return vector;
          return this.answer(item, vector).catch(toSwitchyardError);
        }),
      );
    } finally {
      for (const { target } of accepted) target.shared.release();
    }
  }

  async embed(call: EmbedCall): Promise<EmbedOutcome> {
    const { store, limits, timers, isKnownModel } = this.options;
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
      const batch = await encoder.encode({
        texts: [call.text],
        role: call.role,
        lane: 'live',
        deadlineAtMs: call.deadlineAtMs,
      });
      assertSpace(batch, encoder.model.fingerprint);
      return {
        model: modelRef(encoder.model),
        fingerprint: batch.fingerprint,
        values: batch.values,
        tokenCount: batch.tokenCounts[0] ?? 0,
        truncated: batch.truncatedCount > 0,
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
      // Its message may hold paths, which are the operator's: /readyz and the log have them.
      const failure = routes.status().find((status) => status.corpus === corpus)?.error ?? null;
      throw new SwitchyardError(
        'INDEX_UNAVAILABLE',
        failure === null
          ? 'the corpus is still being loaded: try again soon'
          : `the corpus cannot be loaded (${failure.reason}): the operator finds why in /readyz and the gateway's log`,
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
    const target =
      affinityKey === null || affinityKey === ''
        ? pickAtRandom(table, random)
        : pickByKey(table, snapshot.salt, affinityKey);
    const open = target?.shared.value;
    if (!target || !open)
      throw new SwitchyardError('INDEX_UNAVAILABLE', `${snapshot.corpus} has no open target for this query`);
    assertVector(call.query, open);
    const kind = call.corpusVersion === null ? 'split' : 'pinned';
    target.shared.retain();
    const sampled = kind === 'split' ? mirrors.sample(snapshot, target) : [];
    return { call, snapshot, target, open, kind, startedAtMs, mirrors: sampled };
  }

  private async vectorOf(admitted: AdmittedCall): Promise<CallVector> {
    const { call, open } = admitted;
    if (call.query.kind === 'vector') return vectorGiven(admitted);
    this.assertInTime(call, 'encode');
    const batch = await open.encoder.encode({
      texts: [call.query.text],
      role: 'query',
      lane: 'live',
      deadlineAtMs: call.deadlineAtMs,
    });
    assertSpace(batch, open.spec.fingerprint);
    const { fingerprint, values, queueUs, encodeUs } = batch;
    return { vector: { fingerprint, values }, queueUs, encodeUs };
  }

  private async answer(admitted: AdmittedCall, encoded: CallVector): Promise<SearchOutcome> {
    const { queryId, metrics, timers, mirrors, routes, degraded } = this.options;
    const { call, snapshot, target, open, startedAtMs } = admitted;
    this.assertInTime(call, 'search');
    const found = await open.index.search({
      vector: encoded.vector,
      topK: call.topK,
      lane: 'live',
      deadlineAtMs: call.deadlineAtMs,
      withDocument: call.withDocument,
    });
    const timings = {
      queueUs: encoded.queueUs + found.queueUs,
      encodeUs: encoded.encodeUs,
      searchUs: found.searchUs,
      totalUs: Math.round((timers.nowMs() - startedAtMs) * 1000),
    };
    const behind = routes.isBehind(snapshot.corpus);
    const { spec } = open;
    const outcome: SearchOutcome = {
      queryId: queryId(),
      hits: found.hits,
      servedBy: {
        corpusVersion: spec.version,
        build: spec.build,
        model: spec.modelRef,
        fingerprint: encoded.vector.fingerprint,
        routeRevision: snapshot.revision,
        tier: spec.tier,
        resultCache: 'BYPASS',
      },
      degraded: behind ? [...degraded(), 'route_revision_behind'] : degraded(),
      timings,
    };
    metrics.served(labelsOf(snapshot.corpus, target), admitted.kind, timings);
    if (admitted.mirrors.length > 0) mirrors.offer(admitted, encoded.vector, outcome);
    return outcome;
  }

  private assertInTime(call: SearchCall, stage: string): void {
    assertInTime(this.options.timers, call.deadlineAtMs, stage);
  }
}

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
