import { EVALUATION, TRAFFIC_HEADER } from '../gateway/traffic-header.js';
import type { VersionSearch } from '../lifecycle/evaluation/version-search.js';
import type { GatewayClient } from './gateway-client.js';

interface Answer {
  readonly hits: readonly { readonly id: string; readonly score: number }[];
  readonly served_by: { readonly build: string; readonly model: string; readonly fingerprint: string };
}

/** Searches of a running gateway, as any client's are; but nobody depends on a version by evaluating it. */
export const httpVersionSearch = (client: GatewayClient, corpus: string): VersionSearch => ({
  search: async (text, version, topK) => {
    const body = { corpus, text, top_k: topK, corpus_version: version, priority: 'bulk' };
    const headers = { [TRAFFIC_HEADER]: EVALUATION };
    const { hits, served_by } = await client.request<Answer>('POST', '/v1/search', body, headers);
    const { build, model, fingerprint } = served_by;
    return { hits: hits.map(({ id, score }) => ({ id, score })), servedBy: { build, model, fingerprint } };
  },
});
