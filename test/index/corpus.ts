import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { buildBundle } from '../../src/index/build-bundle.js';
import type { BuildBatch, BuildOptions, BuildRow } from '../../src/index/build-options.js';
import type { Bundle } from '../../src/index/manifest.js';
import type { IndexQuery } from '../../src/index/search-index.js';
import type { ExpectedModel } from '../../src/index/search-pool.js';
import type { Fingerprint } from '../../src/vocabulary.js';
import { clusteredVectors, TestRandom } from '../fixtures/random.js';

export const FINGERPRINT = `mf1_${'a1'.repeat(16)}` as Fingerprint;
export const OTHER_FINGERPRINT = `mf1_${'b2'.repeat(16)}` as Fingerprint;

/** A folder that goes away with the test. */
export function temporaryFolder(t: { teardown(fn: () => void): unknown }): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'switchyard-index-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export function optionsOf(bundlesFolder: string, more: Partial<BuildOptions> = {}): BuildOptions {
  return {
    bundlesFolder,
    corpus: 'docs_kb',
    version: 'v1',
    model: { name: 'test-model', version: '1', fingerprint: FINGERPRINT },
    dimensions: 32,
    metric: 'cosine',
    documentTemplate: '{text}',
    textNormalisation: 'none',
    storeDocuments: false,
    truncatedShareMax: 1,
    source: { name: 'synthetic', sha256: '0'.repeat(64), watermark: null },
    ...more,
  };
}

export const expectedOf = (options: BuildOptions): ExpectedModel => ({
  fingerprint: options.model.fingerprint,
  dimensions: options.dimensions,
  metric: options.metric,
});

export interface TestCorpus {
  readonly vectors: Float32Array<ArrayBuffer>;
  readonly rows: readonly BuildRow[];
  readonly dimensions: number;
}

/** `documents` documents of 1 to `chunksMax` chunks each. */
export function testCorpus(
  seed: number,
  documents: number,
  dimensions = 32,
  chunksMax = 1,
  unit = true,
): TestCorpus {
  const random = new TestRandom(seed);
  const rows: BuildRow[] = [];
  for (let i = 0; i < documents; i++) {
    const chunks = 1 + random.below(chunksMax);
    for (let chunk = 0; chunk < chunks; chunk++)
      rows.push({
        documentId: `doc-${seed}-${i}`,
        chunk,
        truncated: false,
        document: {
          title: `Title ${i}`,
          text: `Text of ${seed}/${i} — ünï${'!'.repeat(seed % 7)}`,
          attributes: { n: i },
        },
      });
  }
  return { vectors: clusteredVectors(random, rows.length, dimensions, unit), rows, dimensions };
}

export async function* batchesOf(corpus: TestCorpus, batchRows = 100): AsyncGenerator<BuildBatch> {
  const { vectors, rows, dimensions } = corpus;
  for (let start = 0; start < rows.length; start += batchRows)
    yield {
      vectors: vectors.subarray(start * dimensions, Math.min(rows.length, start + batchRows) * dimensions),
      rows: rows.slice(start, start + batchRows),
    };
}

export function buildTestBundle(
  bundlesFolder: string,
  corpus: TestCorpus,
  more: Partial<BuildOptions> = {},
): Promise<Bundle> {
  return buildBundle(optionsOf(bundlesFolder, { dimensions: corpus.dimensions, ...more }), batchesOf(corpus));
}

export function queryOf(values: Float32Array, more: Partial<IndexQuery> = {}): IndexQuery {
  return {
    vector: { fingerprint: FINGERPRINT, values },
    topK: 10,
    lane: 'live',
    deadlineAtMs: Number.POSITIVE_INFINITY,
    withDocument: false,
    ...more,
  };
}

export const rowOf = (corpus: TestCorpus, row: number): Float32Array<ArrayBuffer> =>
  corpus.vectors.slice(row * corpus.dimensions, (row + 1) * corpus.dimensions);

/** What a promise was rejected with; undefined when it was not. */
export async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    return error;
  }
}
