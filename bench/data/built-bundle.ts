import { existsSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import path from 'node:path';
import { buildBundle } from '../../src/index/build-bundle.js';
import type { Bundle } from '../../src/index/manifest.js';
import { readBundle } from '../../src/index/read-bundle.js';
import { benchFolder } from './gloss-vectors.js';
import type { SearchCorpus } from './search-corpus.js';

export const CORPUS = 'bench';
/** Raised when builds change on purpose. */
const REVISION = 1;
const ROWS_PER_BATCH = 10_000;

export interface BenchBundle {
  readonly bundle: Bundle;
  /** Holds `<corpus>/<version>/<digest prefix>`. */
  readonly bundlesFolder: string;
}

/** Every bench's bundles lie below it: a gateway reads them below one folder alone. */
export const benchBundles = (): string => path.join(benchFolder(), 'bundles');

export const documentId = (row: number): string => `g${row}`;

/**
 * A bf16 build of the corpus with the product's defaults, made once per checkout and kept under `var/bench/bundles`.
 * `order`: rows are inserted from the first to the last or the other way round, which gives another graph.
 */
export async function builtBundle(
  corpus: SearchCorpus,
  version: string,
  order: 'forwards' | 'backwards' = 'forwards',
): Promise<BenchBundle> {
  const bundlesFolder = path.join(benchBundles(), `${corpus.key}-${REVISION}-${version}-${order}`);
  const versionFolder = path.join(bundlesFolder, CORPUS, version);
  const found = existsSync(versionFolder)
    ? (await readdir(versionFolder)).filter((name) => !name.startsWith('.'))[0]
    : undefined;
  if (found !== undefined)
    return { bundle: await readBundle(path.join(versionFolder, found)), bundlesFolder };
  await mkdir(bundlesFolder, { recursive: true });
  const { manifest } = corpus.model;
  const bundle = await buildBundle(
    {
      bundlesFolder,
      corpus: CORPUS,
      version,
      model: { name: manifest.name, version: manifest.version, fingerprint: manifest.fingerprint },
      dimensions: corpus.dimensions,
      metric: manifest.metric,
      documentTemplate: '{text}',
      textNormalisation: 'none',
      storeDocuments: false,
      truncatedShareMax: 1,
      source: { name: 'wordnet glosses', sha256: corpus.key.padEnd(64, '0'), watermark: null },
    },
    batches(corpus, order),
  );
  return { bundle, bundlesFolder };
}

async function* batches({ rows, rowCount, dimensions }: SearchCorpus, order: 'forwards' | 'backwards') {
  const values = rows();
  for (let first = 0; first < rowCount; first += ROWS_PER_BATCH) {
    const numbers = Array.from({ length: Math.min(ROWS_PER_BATCH, rowCount - first) }, (_, at) =>
      order === 'forwards' ? first + at : rowCount - 1 - first - at,
    );
    const vectors = new Float32Array(numbers.length * dimensions);
    numbers.forEach((row, at) => {
      vectors.set(values.subarray(row * dimensions, (row + 1) * dimensions), at * dimensions);
    });
    yield {
      vectors,
      rows: numbers.map((row) => ({ documentId: documentId(row), chunk: 0, truncated: false })),
    };
  }
}
