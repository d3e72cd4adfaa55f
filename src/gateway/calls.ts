import type { Limits } from '../config/config.js';
import { SwitchyardError, toSwitchyardError } from '../errors.js';
import type { EmbedCall, EmbedOutcome, QueryService, SearchCall, SearchOutcome } from '../router/query.js';
import type { Caller } from './auth/caller.js';
import type { InFlight } from './in-flight.js';
import { checkBatch, checkEmbed, checkSearch, type EmbedInput, type SearchInput } from './limits.js';
import type { RequestScope } from './requests.js';

/** What both protocols do with a decoded request: deadline, limits, the query service, the clock on the answer. */
export class Calls {
  readonly #service: QueryService;
  readonly #limits: Limits;
  readonly #inFlight: InFlight;

  constructor(service: QueryService, limits: Limits, inFlight: InFlight) {
    this.#service = service;
    this.#limits = limits;
    this.#inFlight = inFlight;
  }

  /** `timeoutMs`: what the client left, null when it named none. */
  async search(
    input: SearchInput,
    timeoutMs: number | null,
    caller: Caller,
    scope: RequestScope | null = null,
  ): Promise<SearchOutcome> {
    const call = traced(checkSearch(input, this.#limits, this.#deadlineAtMs(timeoutMs)), scope);
    caller.checkCorpus(call.corpus);
    const outcome = await this.#inFlight.run(call.deadlineAtMs, () => this.#service.search(call));
    if (scope !== null) scope.answer = outcome;
    return outcome;
  }

  /** An item beyond a limit gets its own error; the others are answered under one revision. */
  async batchSearch(
    inputs: readonly SearchInput[],
    timeoutMs: number | null,
    caller: Caller,
    scope: RequestScope | null = null,
  ): Promise<readonly (SearchOutcome | SwitchyardError)[]> {
    checkBatch(inputs, this.#limits);
    caller.charge(inputs.length - 1);
    caller.checkCorpus(inputs[0]?.corpus ?? '');
    const deadlineAtMs = this.#deadlineAtMs(timeoutMs);
    const checked = inputs.map((input) => this.#check(input, deadlineAtMs));
    const calls = checked.filter((item): item is SearchCall => !(item instanceof SwitchyardError));
    if (calls.length === 0) return checked as readonly SwitchyardError[];
    const ready = calls.map((call) => traced(call, scope));
    const outcomes = await this.#inFlight.run(deadlineAtMs, () => this.#service.batchSearch(ready));
    if (outcomes.length !== calls.length) {
      throw new SwitchyardError(
        'INTERNAL',
        `${outcomes.length} answers came back for ${calls.length} searches of a batch`,
      );
    }
    let next = 0;
    return checked.map((item) => {
      if (item instanceof SwitchyardError) return item;
      const outcome = outcomes[next++];
      return outcome === undefined || outcome instanceof Error ? toSwitchyardError(outcome) : outcome;
    });
  }

  async embed(
    input: EmbedInput,
    timeoutMs: number | null,
    scope: RequestScope | null = null,
  ): Promise<EmbedOutcome> {
    const call = traced(checkEmbed(input, this.#limits, this.#deadlineAtMs(timeoutMs)), scope);
    return this.#inFlight.run(call.deadlineAtMs, () => this.#service.embed(call));
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
