import { SwitchyardError } from '../../errors.js';
import { checkGoldenQuery, type GoldenQuery } from '../../registry/golden-sets.js';
import { refuseInput } from './input-lines.js';

/** What was read of a golden set. */
export interface ReadGoldenSet {
  /** Base name of what was read. */
  readonly source: string;
  readonly queries: readonly GoldenQuery[];
  /** Queries left out because no document is relevant to them: nothing can be measured by those. */
  readonly unusedQueryCount: number;
}

/** Puts queries and judgements together, refusing what contradicts itself. `where`: file and line. */
export class GoldenBuilder {
  readonly #texts = new Map<string, string>();
  readonly #judgements = new Map<string, Map<string, number>>();

  addQuery(id: string, text: string, where: string): void {
    if (id === '') refuseInput(where, 'the query has no id');
    if (text.trim() === '') refuseInput(where, `query ${shown(id)} has no text`);
    if (this.#texts.has(id)) refuseInput(where, `query ${shown(id)} is there twice`);
    this.#texts.set(id, text);
  }

  /** A judgement of a query that was added. */
  addJudgement(queryId: string, documentId: string, grade: number, where: string): void {
    if (!this.#texts.has(queryId)) refuseInput(where, `there is no query ${shown(queryId)}`);
    if (documentId === '') refuseInput(where, 'the document has no id');
    const judged = this.#judgements.get(queryId) ?? new Map<string, number>();
    const known = judged.get(documentId);
    if (known !== undefined && known !== grade)
      refuseInput(
        where,
        `document ${shown(documentId)} has grade ${known} and ${grade} for query ${shown(queryId)}`,
      );
    judged.set(documentId, grade);
    this.#judgements.set(queryId, judged);
  }

  /** Errors: INVALID_INPUT_FILE when nothing can be asked. */
  finish(source: string): ReadGoldenSet {
    const all = [...this.#texts].map(
      ([id, text]): GoldenQuery => ({ id, text, judgements: this.#judgements.get(id) ?? new Map() }),
    );
    const queries = all.filter(({ judgements }) => [...judgements.values()].some((grade) => grade > 0));
    if (queries.length === 0) refuseInput(source, 'no query has a relevant document (a grade above 0)');
    for (const query of queries) {
      try {
        checkGoldenQuery(query);
      } catch (error) {
        if (error instanceof SwitchyardError) refuseInput(source, error.message);
        throw error;
      }
    }
    return { source, queries, unusedQueryCount: all.length - queries.length };
  }
}

const shown = (id: string): string => JSON.stringify(id.slice(0, 64));
