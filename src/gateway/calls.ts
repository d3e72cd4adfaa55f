import type { Limits } from '../config/config.js';
import { SwitchyardError, toSwitchyardError } from '../errors.js';
import type { EmbedCall, EmbedOutcome, QueryService, SearchCall, SearchOutcome } from '../router/query.js';
import type { Priority } from '../vocabulary.js';
import type { Caller } from './auth/caller.js';
import { itemsAnswered } from './batch-items.js';
import { deadlineExceeded, type InFlight } from './in-flight.js';
import { checkBatch, checkEmbed, checkSearch, type EmbedInput, type SearchInput } from './limits.js';
import type { Overload, WorkKind } from './overload/overload.js';
import type { RequestScope } from './requests.js';
import type { TrafficCounter } from './traffic.js';

/** What both protocols do with a decoded request: deadline, limits, room, the query service, the clock on the answer. */
export class Calls {
  readonly #service: QueryService;
  readonly #limits: Limits;
  readonly #inFlight: InFlight;
  readonly #overload: Overload;
  readonly #traffic: TrafficCounter | null;
  /** Made once: a closure for each request would be garbage of every one. */
  readonly #search = (call: SearchCall): Promise<SearchOutcome> => this.#service.search(call);
  readonly #batchSearch = (calls: readonly SearchCall[]) => this.#service.batchSearch(calls);
  readonly #embed = (call: EmbedCall): Promise<EmbedOutcome> => this.#service.embed(call);

  constructor(
    service: QueryService,
    limits: Limits,
    inFlight: InFlight,
    overload: Overload,
    traffic: TrafficCounter | null = null,
  ) {
    this.#service = service;
    this.#limits = limits;
    this.#inFlight = inFlight;
    this.#overload = overload;
    this.#traffic = traffic;
  }

  /** `timeoutMs`: what the client left, null when it named none. */
  async search(
    input: SearchInput,
    timeoutMs: number | null,
    caller: Caller,
    scope: RequestScope | null = null,
  ): Promise<SearchOutcome> {
    if (scope !== null) scope.priority = input.priority;
    const call = traced(checkSearch(input, this.#limits, this.#deadlineAtMs(timeoutMs)), scope);
    caller.checkCorpus(call.corpus);
    const outcome = await this.#admitted(call.query.kind, call, this.#search, call, waitedMs, scope);
    if (scope !== null) scope.answer = outcome;
    if (input.isEvaluation !== true) this.#count(call, outcome, caller);
    return outcome;
  }

  /** An item beyond a limit gets its own error; the others are answered under one revision. */
  async batchSearch(
    inputs: readonly SearchInput[],
    timeoutMs: number | null,
    caller: Caller,
    scope: RequestScope | null = null,
  ): Promise<readonly (SearchOutcome | SwitchyardError)[]> {
    const items = await this.#answerItems(inputs, timeoutMs, caller, scope);
    if (scope !== null) scope.items = itemsAnswered(items);
    return items;
  }

  async #answerItems(
    inputs: readonly SearchInput[],
    timeoutMs: number | null,
    caller: Caller,
    scope: RequestScope | null,
  ): Promise<readonly (SearchOutcome | SwitchyardError)[]> {
    checkBatch(inputs, this.#limits);
    caller.charge(inputs.length - 1);
    caller.checkCorpus(inputs[0]?.corpus ?? '');
    const deadlineAtMs = this.#deadlineAtMs(timeoutMs);
    const checked = inputs.map((input) => this.#check(input, deadlineAtMs));
    const calls = checked.filter((item): item is SearchCall => !(item instanceof SwitchyardError));
    if (calls.length === 0) return checked as readonly SwitchyardError[];
    const ready = calls.map((call) => traced(call, scope));
    const kind = calls.some(({ query }) => query.kind === 'text') ? 'text' : 'vector';
    const priority = calls.some((call) => call.priority === 'live') ? 'live' : 'bulk';
    if (scope !== null) scope.priority = priority;
    const outcomes = await this.#admitted(
      kind,
      { deadlineAtMs, priority },
      this.#batchSearch,
      ready,
      leastWait,
      scope,
      calls.length,
    );
    if (outcomes.length !== calls.length) {
      throw new SwitchyardError(
        'INTERNAL',
        `${outcomes.length} answers came back for ${calls.length} searches of a batch`,
      );
    }
    const shedCount = outcomes.filter(wasShed).length;
    if (shedCount > 0) this.#overload.dropped(kind, priority, shedCount);
    let next = 0;
    return checked.map((item, at) => {
      if (item instanceof SwitchyardError) return item;
      const outcome = outcomes[next++];
      if (outcome === undefined || outcome instanceof Error) return toSwitchyardError(outcome);
      if (inputs[at]?.isEvaluation !== true) this.#count(item, outcome, caller);
      return outcome;
    });
  }

  async embed(
    input: EmbedInput,
    timeoutMs: number | null,
    scope: RequestScope | null = null,
  ): Promise<EmbedOutcome> {
    if (scope !== null) scope.priority = input.priority;
    const call = traced(checkEmbed(input, this.#limits, this.#deadlineAtMs(timeoutMs)), scope);
    return this.#admitted('text', call, this.#embed, call, embedWaitedMs, scope);
  }

  /** Which version answered whom: that decides when a version may be retired. */
  #count(call: SearchCall, outcome: SearchOutcome, caller: Caller): void {
    // Who names a model is as bound to the versions of that model as who names one of them.
    const kind = call.corpusVersion === null && call.model === null ? 'split' : 'pinned';
    this.#traffic?.count(call.corpus, outcome, caller.keyName, kind);
  }

  /** Lets a request in, or refuses it, and learns from how long it waited. Errors: OVERLOADED, DEADLINE_EXCEEDED. */
  async #admitted<Argument, T>(
    kind: WorkKind,
    { priority, deadlineAtMs }: { readonly priority: Priority; readonly deadlineAtMs: number },
    work: (argument: Argument) => Promise<T>,
    argument: Argument,
    waitOf: (outcome: T) => Wait,
    scope: RequestScope | null,
    weight = 1,
  ): Promise<T> {
    const nowMs = performance.now();
    // Nothing is begun for it, and nothing learnt from it: clients without any time must not move the limit of the others.
    if (deadlineAtMs <= nowMs) throw deadlineExceeded();
    try {
      this.#overload.enter(kind, priority, weight);
    } catch (thrown) {
      // It took no time, and many of those would hide others that are late.
      if (scope !== null) scope.arrivedAtMs = null;
      throw thrown;
    }
    let wait: Wait = null;
    try {
      const outcome = await this.#inFlight.run(deadlineAtMs, nowMs, work, argument);
      wait = waitOf(outcome);
      return outcome;
    } catch (error) {
      wait = waitInVain(error);
      if (wasShed(error)) this.#overload.dropped(kind, priority, 1);
      throw error;
    } finally {
      if (wait === 'cut_short') this.#overload.leave(kind, priority, weight, performance.now() - nowMs, true);
      else this.#overload.leave(kind, priority, weight, wait);
    }
  }

  #check(input: SearchInput, deadlineAtMs: number): SearchCall | SwitchyardError {
    try {
      return checkSearch(input, this.#limits, deadlineAtMs);
    } catch (error) {
      return toSwitchyardError(error);
    }
  }

  #deadlineAtMs(timeoutMs: number | null): number {
    const { deadlineMsDefault, deadlineMsMax } = this.#limits;
    return performance.now() + (timeoutMs === null ? deadlineMsDefault : Math.min(timeoutMs, deadlineMsMax));
  }
}

/** The call itself where it is not traced. */
const traced = <Call extends SearchCall | EmbedCall>(call: Call, scope: RequestScope | null): Call =>
  scope === null || scope.trace === null ? call : { ...call, trace: scope.trace };

/**
 * Milliseconds in queues, infinite where they had no room; null: nothing is known, as of an answer that was remembered;
 * `cut_short`: its deadline passed, wherever it was.
 */
type Wait = number | null | 'cut_short';

function waitedMs({ servedBy, timings }: SearchOutcome): number | null {
  return servedBy.resultCache === 'HIT' ? null : timings.queueUs / 1000;
}

const embedWaitedMs = ({ queueUs }: EmbedOutcome): number | null => (queueUs === 0 ? null : queueUs / 1000);

/** Who was dropped waited longer than anybody does; one alone changes nothing, since the least of an interval counts. */
function waitInVain(error: unknown): Wait {
  const { reason } = toSwitchyardError(error);
  if (reason === 'DEADLINE_EXCEEDED') return 'cut_short';
  return reason === 'QUEUE_FULL' || reason === 'OVERLOADED' ? Number.POSITIVE_INFINITY : null;
}

const wasShed = (outcome: unknown): boolean =>
  outcome instanceof SwitchyardError && outcome.reason === 'OVERLOADED';

/** The items of a batch wait for each other, so only the first of them tells of others. */
function leastWait(outcomes: readonly (SearchOutcome | Error)[]): Wait {
  let least: Wait = null;
  for (const outcome of outcomes) {
    const wait = outcome instanceof Error ? waitInVain(outcome) : waitedMs(outcome);
    if (typeof wait !== 'number') least ??= wait;
    else if (typeof least !== 'number' || wait < least) least = wait;
  }
  return least;
}
