import { setTimeout as sleep } from 'node:timers/promises';
import { SeededRandom } from '../../src/index/seeded-random.js';
import type { Checker } from '../judge/checker.js';
import type { ChaosAnswer, ChaosClient, Outcome } from './client.js';

export const CORPUS = 'chaos';
export const TOP_K = 5;
/** Answers in a row after which the service counts as well again. */
const WELL_IN_A_ROW = 5;
const PROBE_INTERVAL_MS = 20;

export interface Tally {
  requests: number;
  answered: number;
  refused: number;
  lost: number;
  /** Sent before `mark`, and of these the lost ones. Null: nothing was marked yet. */
  sentBefore: number | null;
  lostBefore: number;
  wrong: number;
  mispaired: number;
  /** What was lost or wrong, for whoever reads the report; a few of each kind. */
  readonly examples: Set<string>;
  /** How often each reason was given to those who were refused. */
  readonly reasons: Map<string, number>;
}

export interface LoadOptions {
  readonly client: ChaosClient;
  readonly checker: Checker;
  readonly queries: readonly string[];
  /** Model reference by build, as the registry has it: what `served_by` is compared with. */
  readonly modelOfBuild: ReadonlyMap<string, string>;
  /** Vectors by model reference, in the order of the queries. */
  readonly vectors: ReadonlyMap<string, readonly Float32Array[]>;
  readonly perSecond: number;
  readonly deadlineMs: number;
  readonly seed: number;
}

const EXAMPLES_MAX = 4;
const nothing = (): Tally => ({
  requests: 0,
  answered: 0,
  refused: 0,
  lost: 0,
  sentBefore: null,
  lostBefore: 0,
  wrong: 0,
  mispaired: 0,
  examples: new Set(),
  reasons: new Map(),
});

/**
 * Requests at a constant rate whatever becomes of them: texts that may be remembered, texts that may not, and raw vectors
 * of either model. Each is judged when it ends and counted for the phase in which it began.
 */
export class ConstantLoad {
  readonly #options: LoadOptions;
  readonly #random: SeededRandom;
  #phase = nothing();
  /** Requests under way, and since when. */
  readonly #open = new Map<Promise<void>, number>();
  #number = 0;
  #isStopped = false;
  #running: Promise<void> | null = null;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#random = new SeededRandom(options.seed);
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
    await Promise.all(this.#open.keys());
  }

  /** Ends a phase: what was sent in it, once all of that has ended. */
  async endPhase(): Promise<Tally> {
    const tally = this.#phase;
    this.#phase = nothing();
    await Promise.all(this.#open.keys());
    return tally;
  }

  /** The fault of this phase begins now: what is sent from now on is not counted as sent before. */
  mark(): void {
    this.#phase.sentBefore = this.#phase.requests;
  }

  /** Requests under way that have waited longer. */
  waitingOver(ms: number): number {
    const nowMs = performance.now();
    return [...this.#open.values()].filter((sinceMs) => nowMs - sinceMs > ms).length;
  }

  /** Requests of this phase so far. */
  get phaseRequests(): number {
    return this.#phase.requests;
  }

  /**
   * Milliseconds until requests that nothing remembers are answered rightly by both models, several in a row. Looks for at
   * least `watchMs`: what becomes unwell again meanwhile is well only afterwards.
   */
  async untilWell(capMs: number, watchMs = 0): Promise<number> {
    const startedAtMs = performance.now();
    let wellAfterMs = 0;
    for (let row = 0; ; ) {
      const at = Math.floor(this.#random.next() * this.#options.queries.length);
      const request = { ...this.#text(at), bypass_cache: true, corpus_version: row % 2 === 0 ? 'v1' : 'v2' };
      const outcome = await this.#options.client.search(request, this.#options.deadlineMs);
      const elapsedMs = performance.now() - startedAtMs;
      row = outcome.kind === 'answer' && this.#verdict(at, outcome.answer) === 'right' ? row + 1 : 0;
      if (row === WELL_IN_A_ROW) wellAfterMs = elapsedMs;
      if (row >= WELL_IN_A_ROW && elapsedMs >= watchMs) return wellAfterMs;
      if (row < WELL_IN_A_ROW && elapsedMs > capMs)
        throw new Error(`requests are not answered again after ${capMs} ms`);
      await sleep(PROBE_INTERVAL_MS);
    }
  }

  /** One request more than the rate asks for. */
  sendOne(): void {
    const number = this.#number++;
    const tally = this.#phase;
    const at = Math.floor(this.#random.next() * this.#options.queries.length);
    const nth = ++tally.requests;
    const ended: Promise<void> = this.#options.client
      .search(this.#requestOf(number, at), this.#options.deadlineMs)
      .then((outcome) => {
        this.#count(tally, at, outcome);
        if (outcome.kind === 'lost' && nth <= (tally.sentBefore ?? nth)) tally.lostBefore++;
        this.#open.delete(ended);
      });
    this.#open.set(ended, performance.now());
  }

  async #run(): Promise<void> {
    const intervalMs = 1000 / this.#options.perSecond;
    const startedAtMs = performance.now();
    for (let sent = 0; !this.#isStopped; sent++) {
      const waitMs = startedAtMs + sent * intervalMs - performance.now();
      if (waitMs > 0) await sleep(waitMs);
      this.sendOne();
    }
  }

  #text(at: number): Record<string, unknown> {
    return { corpus: CORPUS, text: this.#options.queries[at], top_k: TOP_K };
  }

  #requestOf(number: number, at: number): object {
    const affinity = { affinity_key: `user-${number % 97}` };
    switch (number % 4) {
      case 0:
        return { ...this.#text(at), ...affinity };
      case 1:
        return { ...this.#text(at), ...affinity, bypass_cache: true };
      default: {
        const models = [...this.#options.vectors.keys()];
        const model = models[number % models.length] as string;
        const values = this.#options.vectors.get(model)?.[at] as Float32Array;
        const f32le = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
        return { corpus: CORPUS, vector: { f32le }, model, top_k: TOP_K, bypass_cache: number % 8 > 3 };
      }
    }
  }

  #count(tally: Tally, at: number, outcome: Outcome): void {
    const note = (what: string): void => {
      if (tally.examples.size < EXAMPLES_MAX) tally.examples.add(what);
    };
    if (outcome.kind === 'refused') {
      tally.refused++;
      tally.reasons.set(outcome.reason, (tally.reasons.get(outcome.reason) ?? 0) + 1);
    } else if (outcome.kind === 'lost') {
      tally.lost++;
      note(`lost: ${outcome.why}`);
    } else {
      tally.answered++;
      const verdict = this.#verdict(at, outcome.answer);
      if (verdict === 'right') return;
      tally[verdict]++;
      note(`${verdict}: ${outcome.answer.served_by.build} for query ${at}`);
    }
  }

  #verdict(at: number, answer: ChaosAnswer): 'right' | 'wrong' | 'mispaired' {
    const { checker, queries, modelOfBuild } = this.#options;
    if (modelOfBuild.get(answer.served_by.build) !== answer.served_by.model) return 'mispaired';
    return checker.verdict(queries[at] as string, answer);
  }
}
