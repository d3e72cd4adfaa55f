import type { Bundle } from '../../src/index/manifest.js';
import { CORPUS, documentId } from '../data/built-bundle.js';
import { type SearchCorpus, TOP_K } from '../data/search-corpus.js';
import { LoadGenerator } from '../load/load-generator.js';
import type { Teardown } from './folders.js';
import { type GatewayRig, PATIENT, smallCaches, startGatewayRig } from './gateway.js';
import { SEARCH_METHOD, searchBody } from './search-bodies.js';

/**
 * A gateway with one search thread and one encoder thread, and what asks it held-out glosses as texts. Texts come round
 * again in a long run, when nothing of them is remembered any more.
 */
export async function openTextSide(
  t: Teardown,
  corpus: SearchCorpus,
  bundle: Bundle,
): Promise<{ readonly gateway: GatewayRig; readonly load: LoadGenerator }> {
  const gateway = await startGatewayRig({
    model: corpus.model,
    targets: [{ bundle, role: 'active', mirrorBps: 0 }],
    searchWorkers: 1,
    settings: { ...PATIENT, ...smallCaches(corpus.queries.length) },
  });
  t.teardown(() => gateway.close());
  const load = await LoadGenerator.start(
    { ...gateway.grpc, method: SEARCH_METHOD, connections: 2 },
    {
      bodies: corpus.queryTexts.map((query) =>
        searchBody({ corpus: CORPUS, query: { text: query }, topK: TOP_K }),
      ),
      expected: corpus.truth.map((rows) => Array.from(rows, documentId)),
    },
  );
  t.teardown(() => load.close());
  return { gateway, load };
}
