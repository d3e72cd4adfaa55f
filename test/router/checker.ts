import type { SearchOutcome } from '../../src/router/query.js';
import type { Digest } from '../../src/vocabulary.js';
import { type BuildPlan, buildOf, embedText } from './small-engines.js';

const TOLERANCE = 1e-4;

interface Answer {
  readonly id: string;
  readonly score: number;
}

/**
 * An independent judge of what was served: answers for every pair of build and query are computed beforehand, without
 * router, encoder or index. A response is mispaired when its hits are not the answer of any build, whatever
 * `served_by` claims; it is mislabelled when they are another build's than it claims.
 */
export class Checker {
  private readonly answers = new Map<string, ReadonlyMap<Digest, readonly Answer[]>>();
  readonly mispaired: string[] = [];
  readonly mislabelled: string[] = [];
  checked = 0;

  constructor(plans: readonly BuildPlan[], queries: readonly string[]) {
    for (const query of queries)
      this.answers.set(query, new Map(plans.map((plan) => [buildOf(plan.name), answersOf(plan, query)])));
  }

  check(query: string, topK: number, outcome: SearchOutcome): void {
    this.checked++;
    const byBuild = this.answers.get(query);
    if (byBuild === undefined) throw new Error(`no answers were computed for ${query}`);
    const served = [...byBuild].filter(([, answers]) => isAnswer(answers.slice(0, topK), outcome));
    const claim = `revision ${outcome.servedBy.routeRevision} ${outcome.servedBy.corpusVersion}: ${query}`;
    if (served.length === 0) this.mispaired.push(claim);
    else if (!served.some(([build]) => build === outcome.servedBy.build)) this.mislabelled.push(claim);
  }
}

const isAnswer = (answers: readonly Answer[], { hits }: SearchOutcome): boolean =>
  answers.length === hits.length &&
  answers.every(({ id, score }, at) => {
    const hit = hits[at];
    return hit !== undefined && hit.id === id && Math.abs(hit.score - score) <= TOLERANCE;
  });

function answersOf(plan: BuildPlan, query: string): readonly Answer[] {
  const asked = embedText(plan.model, query);
  const answers: Answer[] = [];
  for (const id of plan.documents) {
    const row = embedText(plan.model, id);
    let score = 0;
    for (let at = 0; at < row.length; at++) score += (row[at] as number) * (asked[at] as number);
    answers.push({ id, score });
  }
  return answers.sort((a, b) => b.score - a.score);
}
