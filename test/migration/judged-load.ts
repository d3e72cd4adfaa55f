import type { Checker, SeenAnswer } from '../../bench/judge/checker.js';
import { sleep } from '../control/yard.js';

interface Answer extends SeenAnswer {
  readonly served_by: {
    readonly build: string;
    readonly corpus_version: string;
    readonly route_revision: number;
  };
}

/** One answer as its client saw it. Times by this process's clock. */
export interface Seen {
  readonly replica: string;
  readonly startedMs: number;
  readonly endedMs: number;
  readonly version: string;
  readonly revision: number;
  /** Of the independent checker. */
  readonly verdict: ReturnType<Checker['verdict']>;
}

/** Of each caller between two requests. */
const PAUSE_MS = 15;

export interface JudgedLoadOptions {
  readonly checker: Checker;
  /** URLs. */
  readonly replicas: readonly string[];
  readonly corpus: string;
  readonly queries: readonly string[];
  readonly topK: number;
  /** Of each replica. */
  readonly callers: number;
}

/** Constant load on every replica until stopped. Nothing is remembered: each answer is encoded and searched, and judged. */
export class JudgedLoad {
  readonly seen: Seen[] = [];
  readonly failures: string[] = [];
  readonly #options: JudgedLoadOptions;
  readonly #done: Promise<unknown>;
  #isStopped = false;

  constructor(options: JudgedLoadOptions) {
    this.#options = options;
    const { replicas, callers } = options;
    this.#done = Promise.all(
      replicas.flatMap((replica) =>
        Array.from({ length: callers }, (_, caller) => this.#call(replica, caller)),
      ),
    );
  }

  /** Answers of one replica that were begun after a moment. */
  since(replica: string, startedMs: number): readonly Seen[] {
    return this.seen.filter((seen) => seen.replica === replica && seen.startedMs > startedMs);
  }

  /** Many questions as one request, under one revision of the route: long in flight. */
  async batch(replica: string, size: number): Promise<readonly Seen[]> {
    const { corpus, queries, topK } = this.#options;
    const texts = Array.from({ length: size }, (_, at) => queries[at % queries.length] ?? '');
    const startedMs = performance.now();
    const requests = texts.map((text) => ({ corpus, text, top_k: topK, bypass_cache: true }));
    const { status, body } = await post(`${replica}/v1/search:batch`, { requests });
    const endedMs = performance.now();
    const items = (body as { readonly items?: readonly { readonly response?: Answer }[] }).items ?? [];
    if (status !== 200 || items.length !== size) throw new Error(`${status} ${JSON.stringify(body)}`);
    return items.map(({ response }, at) => {
      if (response === undefined)
        throw new Error(`item ${at} of a batch failed: ${JSON.stringify(items[at])}`);
      return this.#judged(replica, texts[at] ?? '', response, startedMs, endedMs);
    });
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#done;
  }

  async #call(replica: string, caller: number): Promise<void> {
    const { corpus, queries, topK, callers } = this.#options;
    for (let at = caller; !this.#isStopped; at += callers) {
      const text = queries[at % queries.length] ?? '';
      const startedMs = performance.now();
      try {
        const { status, body } = await post(`${replica}/v1/search`, {
          corpus,
          text,
          top_k: topK,
          bypass_cache: true,
        });
        if (status !== 200) this.failures.push(`${status} ${JSON.stringify(body)}`);
        else this.seen.push(this.#judged(replica, text, body as Answer, startedMs, performance.now()));
      } catch (error) {
        this.failures.push(String(error));
      }
      await sleep(PAUSE_MS);
    }
  }

  #judged(replica: string, text: string, answer: Answer, startedMs: number, endedMs: number): Seen {
    const { corpus_version: version, route_revision: revision } = answer.served_by;
    const verdict = this.#options.checker.verdict(text, answer);
    return { replica, startedMs, endedMs, version, revision, verdict };
  }
}

async function post(url: string, body: object): Promise<{ readonly status: number; readonly body: unknown }> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
}
