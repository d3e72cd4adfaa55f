import { existsSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import path from 'node:path';
import { buildBundle } from '../../src/index/build-bundle.js';
import type { BuildBatch, BuildOptions } from '../../src/index/build-options.js';
import type { Bundle } from '../../src/index/manifest.js';
import { readBundle } from '../../src/index/read-bundle.js';
import type { Quantization } from '../../src/vocabulary.js';
import { benchFolder } from './gloss-vectors.js';
import type { SearchCorpus } from './search-corpus.js';

export interface BuildFormat {
  readonly quantization: Quantization;
  /** Of the graph; fewer than the corpus has for a truncated build. */
  readonly dimensions: number;
}

/** Raised when builds change on purpose. */
const REVISION = 1;
const ROWS_PER_BATCH = 1024;
const VERSION = 'v1';

export const formatName = ({ quantization, dimensions }: BuildFormat): string =>
  `${quantization}@${dimensions}`;

/** A build of the corpus in a format, made once per checkout and kept under `var/bench/formats`. */
export async function formatBuild(corpus: SearchCorpus, format: BuildFormat): Promise<Bundle> {
  const bundlesFolder = path.join(
    benchFolder(),
    'formats',
    `${corpus.key}-${REVISION}-${format.quantization}-${format.dimensions}`,
  );
  const versionFolder = path.join(bundlesFolder, 'bench', VERSION);
  const found = existsSync(versionFolder)
    ? (await readdir(versionFolder)).find((name) => !name.startsWith('.'))
    : undefined;
  if (found !== undefined) return readBundle(path.join(versionFolder, found));
  await mkdir(bundlesFolder, { recursive: true });
  return buildBundle(
    buildOptions(corpus, format, bundlesFolder),
    batchesOf(corpus.rows(), corpus.dimensions),
  );
}

export function buildOptions(corpus: SearchCorpus, format: BuildFormat, bundlesFolder: string): BuildOptions {
  const { name, version, fingerprint, metric } = corpus.model.manifest;
  return {
    bundlesFolder,
    corpus: 'bench',
    version: VERSION,
    model: { name, version, fingerprint },
    dimensions: corpus.dimensions,
    indexDimensions: format.dimensions,
    metric,
    quantization: format.quantization,
    documentTemplate: '{text}',
    textNormalisation: 'none',
    storeDocuments: false,
    truncatedShareMax: 1,
    source: { name: 'wordnet glosses', sha256: corpus.key.padEnd(64, '0'), watermark: null },
  };
}

export async function* batchesOf(values: Float32Array, dimensions: number): AsyncGenerator<BuildBatch> {
  const rowCount = values.length / dimensions;
  for (let first = 0; first < rowCount; first += ROWS_PER_BATCH) {
    const count = Math.min(ROWS_PER_BATCH, rowCount - first);
    yield {
      vectors: values.subarray(first * dimensions, (first + count) * dimensions) as Float32Array<ArrayBuffer>,
      rows: Array.from({ length: count }, (_, at) => ({
        documentId: `g${first + at}`,
        chunk: 0,
        truncated: false,
      })),
    };
  }
}
