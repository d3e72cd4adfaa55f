import { SwitchyardError, toSwitchyardError } from '../errors.js';
import type { Timers } from '../process/timers.js';
import { assertVector, assertWithinLimits, eligibleTargets, type QueryLimits } from './admission.js';
import { type AdmittedCall, labelsOf } from './admitted-call.js';
import { Answers, type LookedUp } from './answers.js';
import { EncodeTogether } from './batch-encode.js';
import { BatchFailures } from './batch-failures.js';
import { type Ejections, isFault } from './ejection.js';
import { embed } from './embed.js';
import { EngineRuns } from './engine-run.js';
import type { RouterMetrics } from './metrics.js';
import type { Mirrors } from './mirror.js';
import { pickAtRandom, pickByKey } from './pick.js';
import type { EmbedCall, EmbedOutcome, SearchCall, SearchOutcome } from './query.js';
import type { QueryCaches } from './query-caches.js';
import type { RouteTable } from './route-table.js';
import { EncodeSingly, type VectorSource } from './single-encode.js';
import type { RouteSnapshot } from './snapshot.js';
import type { TargetStore } from './targets.js';
import { recordPick } from './traced.js';

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

/** The way of one query: snapshot → pick → remembered answer, or encode → search; and another target where one fails. */
export class QueryPath {
  private readonly options: QueryPathOptions;
  private readonly answers: Answers;
  private readonly singly: EncodeSingly;

  constructor(options: QueryPathOptions) {
    this.options = options;
    const { caches, ejections, timers } = options;
    const engines = new EngineRuns(ejections, timers);
    this.answers = new Answers({ ...options, results: caches.results, engines });
    this.singly = new EncodeSingly(caches.embeddings, timers);
  }

  async search(call: SearchCall): Promise<SearchOutcome> {
    const startedAtMs = this.options.timers.nowMs();
    const admitted = this.admit(call, this.read(call.corpus), startedAtMs);
    try {
      return await this.answers.answer(admitted, this.singly);
    } catch (thrown) {
      return await this.answerElsewhere(admitted, thrown, this.singly, null);
    } finally {
      this.letGo(admitted);
    }
  }

  async batchSearch(calls: readonly SearchCall[]): Promise<readonly (SearchOutcome | Error)[]> {
    const { caches, timers } = this.options;
    const startedAtMs = timers.nowMs();
    const corpus = calls[0]?.corpus;
    if (corpus === undefined) return [];
    if (calls.some((call) => call.corpus !== corpus))
      throw new SwitchyardError('INVALID_ARGUMENT', 'all requests of a batch must name one corpus');
    const snapshot = this.read(corpus);
    const admitted = calls.map((call) => orError(() => this.admit(call, snapshot, startedAtMs)));
    const accepted = admitted.filter((item): item is AdmittedCall => !(item instanceof Error));
    try {
      const known = await Promise.all(accepted.map((item) => this.answers.lookUp(item)));
      const together = new EncodeTogether(caches.embeddings, timers);
      const failures = new BatchFailures();
      const answers = accepted.map((item, at) =>
        this.answerItem(item, known[at] ?? null, together, failures).catch(toSwitchyardError),
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

  embed(call: EmbedCall): Promise<EmbedOutcome> {
    return embed(this.options, call);
  }

  private async answerItem(
    admitted: AdmittedCall,
    known: LookedUp | null,
    vectors: VectorSource,
    failures: BatchFailures,
  ): Promise<SearchOutcome> {
    try {
      return await this.answers.answerLookedUp(admitted, known, vectors);
    } catch (thrown) {
      return await this.answerElsewhere(admitted, thrown, vectors, failures);
    }
  }

  /** The answer of another target of its model, where the one that was picked failed by its own fault; else what it threw. */
  private async answerElsewhere(
    first: AdmittedCall,
    thrown: unknown,
    vectors: VectorSource,
    failures: BatchFailures | null,
  ): Promise<SearchOutcome> {
    this.failed(first, thrown, failures);
    const second = this.admitElsewhere(first, thrown);
    if (second === null) throw thrown;
    try {
      return await this.answers.answer(second, vectors);
    } catch (again) {
      this.failed(second, again, failures);
      throw again;
    } finally {
      this.letGo(second);
    }
  }

  /** Lets go of the target. */
  private letGo({ target }: AdmittedCall): void {
    this.options.ejections.passed(target);
    target.shared.release();
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
      attemptAtMs: startedAtMs,
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
    const attemptAtMs = timers.nowMs();
    if (attemptAtMs >= call.deadlineAtMs) return null;
    const other = ejections.another(snapshot, target, call);
    const open = other?.shared.value;
    if (!other || !open) return null;
    other.shared.retain();
    return { ...first, target: other, open, insteadOf: target, attemptAtMs };
  }

  /** The one place where a failure counts: ejection judges it by the time that this target had, and metrics are told the same. */
  private failed(
    { call, snapshot, target, kind, attemptAtMs }: AdmittedCall,
    thrown: unknown,
    failures: BatchFailures | null,
  ): void {
    const { ejections, metrics } = this.options;
    const error = toSwitchyardError(thrown);
    const judged = failures?.firstLike(target, error) ?? error;
    const blame = ejections.failed(target, kind, judged, call.deadlineAtMs - attemptAtMs);
    metrics.failed(labelsOf(snapshot.corpus, target), kind, error, blame);
  }
}

function orError<T>(compute: () => T): T | SwitchyardError {
  try {
    return compute();
  } catch (thrown) {
    return toSwitchyardError(thrown);
  }
}
