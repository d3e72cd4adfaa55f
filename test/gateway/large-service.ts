import type { SearchCall, SearchOutcome } from '../../src/router/query.js';
import { BruteForceService } from './brute-force-service.js';

/** Answers with documents of this text, where documents are asked for. */
export class LargeService extends BruteForceService {
  readonly #text: string;

  constructor(text: string) {
    super();
    this.#text = text;
  }

  override async search(call: SearchCall): Promise<SearchOutcome> {
    const outcome = await super.search(call);
    if (!call.withDocument) return outcome;
    const document = { title: 'large', text: this.#text, attributes: {} };
    return { ...outcome, hits: outcome.hits.map((hit) => ({ ...hit, document })) };
  }
}
