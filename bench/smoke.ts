import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Index, MetricKind, ScalarKind } from 'usearch';
import { buildBundle } from '../src/index/build-bundle.js';
import { openIndex } from '../src/index/open-index.js';
import { SeededRandom } from '../src/index/seeded-random.js';
import type { Fingerprint } from '../src/vocabulary.js';
import { alternate, type Bench, inputHash, median } from './report.js';

const DIMENSIONS = 64;
const ROWS = 4_000;
const QUERIES = 256;
const ROUNDS = 7;
const TOP_K = 10;
const FINGERPRINT = `mf1_${'5'.repeat(32)}` as Fingerprint;

/** Builds a small bundle and searches it through the search workers and, in turn, with usearch alone on one thread. */
export const smoke: Bench = {
  name: 'smoke',
  about: 'index workers beside usearch alone, tiny: that the benches work at all',
  run: async ({ seed }) => {
    const random = new SeededRandom(seed);
    const vectors = Float32Array.from({ length: ROWS * DIMENSIONS }, () => random.normal());
    const queries = Array.from({ length: QUERIES }, () =>
      Float32Array.from({ length: DIMENSIONS }, () => random.normal()),
    );
    const folder = await mkdtemp(path.join(tmpdir(), 'switchyard-bench-'));
    try {
      const bundle = await buildBundle(
        {
          bundlesFolder: folder,
          corpus: 'bench',
          version: 'v1',
          model: { name: 'seeded', version: '1', fingerprint: FINGERPRINT },
          dimensions: DIMENSIONS,
          metric: 'cosine',
          documentTemplate: '{text}',
          textNormalisation: 'none',
          storeDocuments: false,
          truncatedShareMax: 1,
          source: { name: 'seeded', sha256: '0'.repeat(64), watermark: null },
        },
        rowsOf(vectors),
      );
      const expected = { fingerprint: FINGERPRINT, dimensions: DIMENSIONS, metric: 'cosine' };
      const index = await openIndex(bundle, { workers: 1, queueLengthMax: QUERIES, expected });
      const raw = new Index({
        dimensions: DIMENSIONS,
        metric: MetricKind.Cos,
        quantization: ScalarKind.BF16,
        connectivity: bundle.manifest.connectivity,
        expansion_add: bundle.manifest.expansion_add,
        expansion_search: bundle.manifest.expansion_search,
        multi: false,
      });
      raw.view(path.join(bundle.folder, 'index.usearch'));
      const { aMs, bMs } = await alternate(
        ROUNDS,
        () => {
          for (const query of queries) raw.search(query, TOP_K, 1);
        },
        () =>
          Promise.all(
            queries.map((values) =>
              index.search({
                vector: { fingerprint: FINGERPRINT, values },
                topK: TOP_K,
                lane: 'live',
                deadlineAtMs: Number.POSITIVE_INFINITY,
                withDocument: false,
              }),
            ),
          ),
      );
      await index.close();
      return {
        input: inputHash(vectors, ...queries),
        ratio: median(aMs.map((ms, round) => ms / (bMs[round] ?? Number.NaN))),
        results: [
          { side: 'usearch alone', wall_us_per_query: (median(aMs) * 1000) / QUERIES },
          { side: 'search workers', wall_us_per_query: (median(bMs) * 1000) / QUERIES },
          { side: 'recall@10', value: bundle.manifest.recall_at_10.value },
        ],
      };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};

async function* rowsOf(vectors: Float32Array) {
  yield {
    vectors,
    rows: Array.from({ length: ROWS }, (_, row) => ({ documentId: `d${row}`, chunk: 0, truncated: false })),
  };
}
