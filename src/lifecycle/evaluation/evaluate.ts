import { REASONS, SwitchyardError } from '../../errors.js';
import { meansOf, type QueryScores } from '../../registry/evaluations.js';
import type { GoldenQuery } from '../../registry/golden-sets.js';
import type { Gain } from '../../registry/schema.js';
import { CUTOFF, scoreQuery } from './metrics.js';
import type { VersionAnswer, VersionSearch } from './version-search.js';

export interface EvaluationPlan {
  readonly version: string;
  readonly queries: readonly GoldenQuery[];
  /** Of recall@k. */
  readonly k: number;
  /** Documents asked for, for MAP. At least k and 10. */
  readonly depth: number;
  readonly gain: Gain;
}

export interface EvaluationServices {
  readonly search: VersionSearch;
  /** Queries under way at once: few, so that live traffic is not kept waiting. */
  readonly concurrency: number;
  readonly signal: AbortSignal;
  readonly onQuery?: (done: number) => void;
  readonly sleep?: (ms: number) => Promise<void>;
}

export type RankedHits = VersionAnswer['hits'];

export interface EvaluatedVersion {
  readonly version: string;
  readonly servedBy: VersionAnswer['servedBy'];
  readonly scores: ReadonlyMap<string, QueryScores>;
  readonly means: QueryScores;
  /** Query id → the deepest answer it got. */
  readonly ranked: ReadonlyMap<string, RankedHits>;
}

export const CONCURRENCY_DEFAULT = 4;
export const DEPTH_DEFAULT = 100;
export const DEPTH_MAX = 1_000;
/** With the pauses between them a little more than a minute: live traffic goes first, and may leave nothing for so long. */
const ATTEMPTS_MAX = 20;
const PAUSE_MS_MIN = 100;
const PAUSE_MS_MAX = 5_000;

/**
 * Puts every query to one version by the way of clients' searches and scores the answers. What says "try again" is
 * tried again, with growing pauses. Ranks up to 10 and k are those of an answer of that length, as a client gets it: a
 * longer one would look further into the index and flatter it. MAP has a longer answer of its own.
 * Errors: INVALID_ARGUMENT, STATUS_CONFLICT when the version's build changed under way, those of a search, and what
 * the signal was aborted with.
 */
export async function evaluateVersion(
  plan: EvaluationPlan,
  services: EvaluationServices,
): Promise<EvaluatedVersion> {
  checkPlan(plan, services.concurrency);
  const { version, queries } = plan;
  const scores = new Map<string, QueryScores>();
  const ranked = new Map<string, RankedHits>();
  let servedBy: VersionAnswer['servedBy'] | null = null;
  let next = 0;
  let failed = false;
  const note = (answer: VersionAnswer): readonly string[] => {
    servedBy ??= answer.servedBy;
    if (servedBy.build !== answer.servedBy.build)
      throw new SwitchyardError(
        'STATUS_CONFLICT',
        `the build of ${version} changed while it was evaluated (${servedBy.build.slice(0, 16)}, then ${answer.servedBy.build.slice(0, 16)}): evaluate it again`,
      );
    return answer.hits.map(({ id }) => id);
  };
  const worker = async (): Promise<void> => {
    while (next < queries.length && !failed) {
      const query = queries[next++] as GoldenQuery;
      const short = await ask(query, shortDepth(plan), plan, services);
      const deep = plan.depth > shortDepth(plan) ? await ask(query, plan.depth, plan, services) : short;
      scores.set(query.id, scoreQuery(note(short), note(deep), query.judgements, plan));
      ranked.set(query.id, deep.hits);
      services.onQuery?.(scores.size);
    }
  };
  const workers = Array.from({ length: Math.min(services.concurrency, queries.length) }, () =>
    worker().catch((error: unknown) => {
      failed = true;
      throw error;
    }),
  );
  await Promise.all(workers);
  if (servedBy === null) throw new TypeError('nothing was asked');
  return { version, servedBy, scores, means: meansOf([...scores.values()]), ranked };
}

const shortDepth = ({ k }: EvaluationPlan): number => Math.max(k, CUTOFF);

async function ask(
  { id, text }: GoldenQuery,
  topK: number,
  { version }: EvaluationPlan,
  { search, signal, sleep = pause }: EvaluationServices,
): Promise<VersionAnswer> {
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted();
    try {
      return await search.search(text, version, topK);
    } catch (error) {
      if (!(error instanceof SwitchyardError)) throw error;
      if (REASONS[error.reason].retry === 'never' || attempt >= ATTEMPTS_MAX)
        throw new SwitchyardError(
          error.reason,
          `query ${JSON.stringify(id.slice(0, 64))}: ${error.message}`,
          {
            details: error.details,
            cause: error,
          },
        );
      // A hint tells when a place may be free, not that others are not waiting for it too.
      const grown = Math.min(PAUSE_MS_MAX, PAUSE_MS_MIN * 2 ** (attempt - 1));
      await sleep(Math.max(error.retryAfterMs ?? 0, grown));
    }
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function checkPlan({ queries, k, depth }: EvaluationPlan, concurrency: number): void {
  const refuse = (message: string): never => {
    throw new SwitchyardError('INVALID_ARGUMENT', message);
  };
  if (queries.length === 0) refuse('the golden set has no queries');
  if (!Number.isInteger(k) || k < 1 || k > DEPTH_MAX) refuse(`k ${k} must be 1..${DEPTH_MAX}`);
  const least = Math.max(k, CUTOFF);
  if (!Number.isInteger(depth) || depth < least || depth > DEPTH_MAX)
    refuse(`depth ${depth} must be ${least}..${DEPTH_MAX}`);
  if (!Number.isInteger(concurrency) || concurrency < 1)
    refuse(`concurrency ${concurrency} must be at least 1`);
}
