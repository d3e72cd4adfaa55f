import { setTimeout as sleep } from 'node:timers/promises';
import { SeededRandom } from '../../src/index/seeded-random.js';
import type { SearchClient, SearchRequest } from './client.js';
import { type End, type Sent, Tally } from './tally.js';
import { endOf, type Known } from './verdict.js';

export const CORPUS = 'chaos';
export const TOP_K = 5;
/** Versions that serve, each by a model of its own. */
const VERSIONS = ['v1', 'v2'] as const;
/** Answers in a row after which the service counts as well again. */
const WELL_IN_A_ROW = 5;
const PROBE_INTERVAL_MS = 20;

export interface LoadOptions extends Known {
  readonly client: SearchClient;
  /** Vectors by model reference, in the order of the queries. */
  readonly vectors: ReadonlyMap<string, readonly Float32Array[]>;
  readonly perSecond: number;
  readonly deadlineMs: number;
  readonly seed: number;
}

export interface Watch {
  /** From when on recovery counts, by `performance.now()`. */
  readonly sinceMs: number;
  /** What becomes unwell again before enough was seen is well only afterwards. */
  hasSeenEnough(): boolean;
}

/**
 * Requests at a constant rate whatever becomes of them: texts that may be remembered, texts that may not, some for one
 * version alone, and raw vectors of either model. Each is judged when it ends and counted for the fault that it met.
 */
export class ConstantLoad {
  readonly #options: LoadOptions;
  readonly #random: SeededRandom;
  /** Of what is sent while no fault is at work and all are healed. */
  readonly between = new Tally();
  #tally = this.between;
  readonly #open = new Map<Sent, Promise<End>>();
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
    await Promise.all(this.#open.values());
  }

  /** A fault begins: what is under way, and what is sent from now on, is counted for it. */
  begin(): void {
    this.#tally = new Tally();
    for (const sent of this.#open.keys()) this.#tally.adopt(sent);
    this.mark();
  }

  /** What is under way now was sent before the fault, also where it was sent to be met by it. */
  mark(): void {
    for (const sent of this.#open.keys()) sent.isBefore = true;
    this.#tally.sentBefore = this.#open.size;
  }

  /** The gateway was away and listens again: what is sent from now on has no excuse. */
  back(): void {
    this.#tally.isBack = true;
  }

  /** The fault is over; resolves once all that met it has ended. */
  async end(): Promise<Tally> {
    const tally = this.#tally;
    this.#tally = this.between;
    const met = [...this.#open].filter(([sent]) => sent.tally === tally);
    await Promise.all(met.map(([, ended]) => ended));
    return tally;
  }

  get isConnected(): boolean {
    return this.#options.client.isConnected;
  }

  /** Requests under way. */
  get openCount(): number {
    return this.#open.size;
  }

  /** Requests of this fault so far. */
  get requestCount(): number {
    return this.#tally.requestCount;
  }

  /** Requests under way that have waited longer. */
  waitingOver(ms: number): number {
    const nowMs = performance.now();
    return [...this.#open.keys()].filter(({ sentAtMs }) => nowMs - sentAtMs > ms).length;
  }

  /**
   * Milliseconds until requests that nothing remembers are answered rightly by both models in turn, several in a row.
   * What they are answered is counted as the load's is.
   */
  async untilWell(capMs: number, watch?: Watch): Promise<number> {
    const sinceMs = watch?.sinceMs ?? performance.now();
    let wellAfterMs = 0;
    for (let row = 0; ; ) {
      const version = VERSIONS[row % VERSIONS.length] as string;
      const at = this.#someQuery();
      const request = { ...this.#text(at), bypass_cache: true, corpus_version: version };
      const end = await this.#ask(request, at, true);
      const elapsedMs = performance.now() - sinceMs;
      row = end.kind === 'right' ? row + 1 : 0;
      if (row === WELL_IN_A_ROW) wellAfterMs = elapsedMs;
      if (row >= WELL_IN_A_ROW && (watch?.hasSeenEnough() ?? true)) return wellAfterMs;
      if (row < WELL_IN_A_ROW && elapsedMs > capMs)
        throw new Error(`requests are not answered again after ${capMs} ms: ${JSON.stringify(end)}`);
      await sleep(PROBE_INTERVAL_MS);
    }
  }

  /** One request more than the rate asks for. */
  sendOne(): void {
    const at = this.#someQuery();
    void this.#ask(this.#requestOf(this.#number++, at), at, false);
  }

  /** A text that no cache answers, one more than the rate asks for. */
  sendText(): void {
    const at = this.#someQuery();
    void this.#ask({ ...this.#text(at), bypass_cache: true }, at, false);
  }

  #ask(request: SearchRequest, at: number, isProbe: boolean): Promise<End> {
    const { client, deadlineMs } = this.#options;
    const sent = this.#tally.send(request.vector === undefined ? 'text' : 'vector', isProbe);
    const ended = client.search(request, deadlineMs).then((outcome) => {
      const end = endOf(outcome, request, at, this.#options);
      sent.tally.end(sent, end);
      this.#open.delete(sent);
      return end;
    });
    this.#open.set(sent, ended);
    return ended;
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

  #someQuery(): number {
    return this.#random.below(this.#options.queries.length);
  }

  #text(at: number): SearchRequest {
    return { corpus: CORPUS, text: this.#options.queries[at] as string, top_k: TOP_K };
  }

  #requestOf(number: number, at: number): SearchRequest {
    const affinity = { affinity_key: `user-${number % 97}` };
    switch (number % 8) {
      case 0:
      case 4:
        return { ...this.#text(at), ...affinity };
      case 1:
        return { ...this.#text(at), ...affinity, bypass_cache: true };
      case 5: {
        const version = VERSIONS[(number >> 3) % VERSIONS.length] as string;
        return { ...this.#text(at), bypass_cache: true, corpus_version: version };
      }
      default: {
        const models = [...this.#options.vectors.keys()];
        const model = models[number % models.length] as string;
        const values = this.#options.vectors.get(model)?.[at] as Float32Array;
        const f32le = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
        return { corpus: CORPUS, vector: { f32le }, model, top_k: TOP_K, bypass_cache: number % 8 > 3 };
      }
    }
  }
}
