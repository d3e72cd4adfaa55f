import type { MigrationView } from '../../src/gateway/admin/migration-views.js';
import type { Gateway } from '../../src/gateway/gateway.js';
import { sleep, until } from '../control/yard.js';

export const adminUrl = ({ addresses }: Gateway): string =>
  `http://${addresses.adminHttp.host}:${addresses.adminHttp.port}`;

export interface Answered<T> {
  readonly status: number;
  readonly body: T;
}

/** A machine that others keep busy may open a breaker: what says "try again" is tried again. */
export async function ask<T>(url: string, method = 'GET', body?: object): Promise<Answered<T>> {
  const { value } = await until(`an answer of ${url}`, async () => {
    const answered = await askOnce<T>(url, method, body);
    return answered.status === 503 ? null : answered;
  });
  return value;
}

export async function askOnce<T>(url: string, method = 'GET', body?: object): Promise<Answered<T>> {
  const response = await fetch(url, {
    method,
    signal: AbortSignal.timeout(300_000),
    ...(body === undefined
      ? {}
      : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  });
  return { status: response.status, body: (await response.json()) as T };
}

/** Until the latest migration of the corpus is as `wanted` says. */
export async function untilMigration(
  admin: string,
  corpus: string,
  what: string,
  wanted: (view: MigrationView) => boolean,
  capMs = 240_000,
): Promise<MigrationView> {
  let last: MigrationView | null = null;
  try {
    const { value } = await until(
      `the migration of ${corpus} ${what}`,
      async () => {
        const { body } = await ask<MigrationView>(`${admin}/v1/migrations/${corpus}`);
        last = body;
        return wanted(body) ? body : null;
      },
      capMs,
    );
    return value;
  } catch (error) {
    throw new Error(`${String(error)}; it is ${JSON.stringify(last)}`, { cause: error });
  }
}

/** Load, and room for what is tested. */
const PAUSE_MS = 5;

/** Constant load over HTTP until stopped: what was answered by which version, and what failed. */
export class Load {
  readonly answered = new Map<string, number>();
  readonly failures: string[] = [];
  readonly revisions = new Map<number, Set<string>>();
  #isStopped = false;
  readonly #done: Promise<unknown>;

  /** `pauseMs`: of each caller between two requests. */
  constructor(url: string, corpus: string, texts: readonly string[], callers = 2, pauseMs = PAUSE_MS) {
    this.#done = Promise.all(
      Array.from({ length: callers }, async (_, caller) => {
        for (let at = caller; !this.#isStopped; at += callers) {
          // Never the same again: a text that is remembered says nothing of the models' speed.
          const text = `${texts[at % texts.length]} ${Math.floor(at / texts.length)}`;
          try {
            const response = await fetch(`${url}/v1/search`, {
              method: 'POST',
              headers: { 'content-type': 'application/json' },
              body: JSON.stringify({ corpus, text, top_k: 3 }),
            });
            const body = (await response.json()) as {
              readonly served_by?: { readonly corpus_version: string };
            };
            if (response.status !== 200 || body.served_by === undefined)
              this.failures.push(`${response.status} ${JSON.stringify(body)}`);
            else {
              const version = body.served_by.corpus_version;
              this.answered.set(version, (this.answered.get(version) ?? 0) + 1);
            }
          } catch (error) {
            this.failures.push(String(error));
          }
          await sleep(pauseMs);
        }
      }),
    );
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#done;
  }
}

/** By then it is Inconclusive, and says why. */
const timeout_s = 100;

/** Quick: every step is there, no one waits long. */
export const QUICK_PLAN = {
  steps: [
    { build: {} },
    { verify: {} },
    { shadow: { duration_s: 0.2, compared_min: 20, timeout_s } },
    {
      analysis: {
        shadow: { compared_min: 20 },
        service_time: { samples_min: 20, allowance_ms: 10_000 },
        cost: {},
        interval_s: 0.1,
        timeout_s,
      },
    },
    { set_weight: { weight: 1_000, timeout_s } },
    {
      analysis: {
        service_time: { samples_min: 10, allowance_ms: 10_000 },
        error_rate: { samples_min: 10 },
        interval_s: 0.1,
        timeout_s,
      },
    },
    { pause: { duration_s: 0.1 } },
    { set_weight: { weight: 10_000, timeout_s } },
    { analysis: { error_rate: { samples_min: 10 }, interval_s: 0.1, timeout_s } },
    { complete: {} },
  ],
};
