import { setTimeout as sleep } from 'node:timers/promises';
import type { Checker, SeenAnswer } from '../bench/judge/checker.js';

interface Answer extends SeenAnswer {
  readonly served_by: SeenAnswer['served_by'] & { readonly corpus_version: string };
}

export interface LoadCounts {
  readonly answered: Readonly<Record<string, number>>;
  readonly failed: number;
  readonly mispaired: number;
  /** Reasons of what failed, for a person. */
  readonly failures: readonly string[];
}

const FAILURES_KEPT = 10;

/**
 * Constant load over HTTP, so many requests a second for as long as they are answered in time, each answer judged by the
 * independent checker when it is counted: a build that a migration makes is learned after its first answers. Counts from
 * `reset` on.
 */
export class CheckedLoad {
  readonly #checker: Checker;
  readonly #url: string;
  readonly #corpus: string;
  readonly #queries: readonly string[];
  readonly #topK: number;
  readonly #pauseMs: number;
  #answered: Record<string, number> = {};
  #failed = 0;
  #unjudged: { readonly text: string; readonly answer: Answer }[] = [];
  #failures: string[] = [];
  #isStopped = false;
  readonly #done: Promise<unknown>;

  constructor(options: {
    readonly checker: Checker;
    readonly url: string;
    readonly corpus: string;
    readonly queries: readonly string[];
    readonly topK: number;
    readonly callers: number;
    readonly requestsPerS: number;
  }) {
    this.#checker = options.checker;
    this.#url = options.url;
    this.#corpus = options.corpus;
    this.#queries = options.queries;
    this.#topK = options.topK;
    this.#pauseMs = (1000 * options.callers) / options.requestsPerS;
    this.#done = Promise.all(
      Array.from({ length: options.callers }, (_, caller) => this.#call(caller, options.callers)),
    );
  }

  reset(): void {
    this.#answered = {};
    this.#failed = 0;
    this.#unjudged = [];
    this.#failures = [];
  }

  /** Once, at the end: the checker knows every build that was served. */
  counts(): LoadCounts {
    const mispaired = this.#unjudged.filter(({ text, answer }) => !this.#checker.check(text, answer)).length;
    return {
      answered: { ...this.#answered },
      failed: this.#failed,
      mispaired,
      failures: [...this.#failures],
    };
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#done;
  }

  async #call(first: number, step: number): Promise<void> {
    for (let at = first; !this.#isStopped; at += step) {
      const text = this.#queries[at % this.#queries.length] ?? '';
      const next = sleep(this.#pauseMs);
      try {
        const response = await fetch(`${this.#url}/v1/search`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ corpus: this.#corpus, text, top_k: this.#topK }),
        });
        const body: unknown = await response.json();
        if (response.status !== 200) throw new Error(`${response.status} ${JSON.stringify(body)}`);
        const answer = body as Answer;
        const version = answer.served_by.corpus_version;
        this.#answered[version] = (this.#answered[version] ?? 0) + 1;
        this.#unjudged.push({ text, answer });
      } catch (error) {
        this.#failed++;
        if (this.#failures.length < FAILURES_KEPT) this.#failures.push(String(error));
      }
      await next;
    }
  }
}
