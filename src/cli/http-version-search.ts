import type { VersionSearch } from '../lifecycle/evaluation/version-search.js';
import type { GatewayClient } from './gateway-client.js';

interface Answer {
  readonly hits: readonly { readonly id: string; readonly score: number }[];
  readonly served_by: { readonly build: string; readonly model: string; readonly fingerprint: string };
}

/** Searches of a running gateway, as any client's are. */
export const httpVersionSearch = (client: GatewayClient, corpus: string): VersionSearch => ({
  search: async (text, version, topK) => {
    const { hits, served_by } = await client.post<Answer>('/v1/search', {
      corpus,
      text,
      top_k: topK,
      corpus_version: version,
      priority: 'bulk',
    });
    const { build, model, fingerprint } = served_by;
    return { hits: hits.map(({ id, score }) => ({ id, score })), servedBy: { build, model, fingerprint } };
  },
});
