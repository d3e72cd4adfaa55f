import type { QueryService } from '../../router/query.js';

/** One answer of a corpus version, best first, with what gave it. */
export interface VersionAnswer {
  readonly hits: readonly { readonly id: string; readonly score: number }[];
  readonly servedBy: { readonly build: string; readonly model: string; readonly fingerprint: string };
}

/** Searches one version of one corpus by the way that clients' searches take, pinned to the version. */
export interface VersionSearch {
  search(text: string, version: string, topK: number): Promise<VersionAnswer>;
}

/** By the router of this process: for what runs inside a gateway. Errors: those of a search. */
export function versionSearchOf(
  service: Pick<QueryService, 'search'>,
  corpus: string,
  {
    deadlineMs,
    nowMs = () => performance.now(),
  }: { readonly deadlineMs: number; readonly nowMs?: () => number },
): VersionSearch {
  return {
    search: async (text, version, topK) => {
      const { hits, servedBy } = await service.search({
        corpus,
        query: { kind: 'text', text },
        topK,
        model: null,
        corpusVersion: version,
        affinityKey: null,
        withDocument: false,
        bypassCache: false,
        priority: 'bulk',
        deadlineAtMs: nowMs() + deadlineMs,
      });
      return {
        hits: hits.map(({ id, score }) => ({ id, score })),
        servedBy: { build: servedBy.build, model: servedBy.model, fingerprint: servedBy.fingerprint },
      };
    },
  };
}
