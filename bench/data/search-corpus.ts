import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import type { ModelFolder } from '../../src/encoder/manifest.js';
import { exactBlock } from '../../src/index/graph.js';
import { SeededRandom } from '../../src/index/seeded-random.js';
import { benchFolder, type GlossVectors, glossVectors } from './gloss-vectors.js';

export const TOP_K = 10;
/** Length of the noise beside that of a unit vector: a grown row has a cosine of about 0.89 to its gloss. */
const JITTER = 0.5;
/** Raised when the rows or queries change on purpose. */
const REVISION = 1;
const QUERIES_PER_EXACT_SEARCH = 256;

export interface CorpusPlan {
  readonly rowCount: number;
  readonly queryCount: number;
  /** Every n-th gloss of WordNet; 1 for all. */
  readonly glossStep: number;
  readonly seed: number;
}

/** Rows to build from and held-out queries with their true nearest rows. */
export interface SearchCorpus {
  readonly model: ModelFolder;
  readonly dimensions: number;
  readonly rowCount: number;
  /** Of the glosses that are rows; rows beyond are jittered copies. */
  readonly glossCount: number;
  readonly queries: readonly Float32Array<ArrayBuffer>[];
  /** The gloss of each query. */
  readonly queryTexts: readonly string[];
  /** Per query the TOP_K nearest rows by exact search. */
  readonly truth: readonly Uint32Array[];
  /** Says which rows and queries these are: names what is made of them. */
  readonly key: string;
  /** rowCount × dimensions; made again at each call, since a million rows are 1.5 GB. */
  rows(): Float32Array<ArrayBuffer>;
}

/**
 * WordNet's glosses by MiniLM: some held out as queries, the others as rows, grown with seeded jitter where more rows
 * are asked for. The exact answers are kept under `var/bench/truth`.
 */
export async function searchCorpus(plan: CorpusPlan): Promise<SearchCorpus> {
  const glosses = await glossVectors(plan.glossStep);
  const { dimensions, model } = glosses;
  const key = createHash('sha256')
    .update(
      JSON.stringify([
        REVISION,
        plan.rowCount,
        plan.queryCount,
        plan.glossStep,
        plan.seed,
        model.manifest.fingerprint,
        glosses.texts.length,
        JITTER,
      ]),
    )
    .digest('hex')
    .slice(0, 16);
  const { queryAt, rowAt } = holdOut(glosses.texts.length, plan.queryCount);
  const vector = (at: number): Float32Array<ArrayBuffer> =>
    glosses.values.slice(at * dimensions, (at + 1) * dimensions);
  const queries = queryAt.map(vector);
  const rows = (): Float32Array<ArrayBuffer> => grow(glosses, rowAt, plan);
  return {
    model,
    dimensions,
    rowCount: plan.rowCount,
    glossCount: Math.min(rowAt.length, plan.rowCount),
    queries,
    queryTexts: queryAt.map((at) => glosses.texts[at] as string),
    truth: await truthOf(key, queries, dimensions, rows),
    key,
    rows,
  };
}

/** Queries are spread over the whole of WordNet; what is a query is no row. */
function holdOut(count: number, queryCount: number): { queryAt: number[]; rowAt: number[] } {
  const step = Math.floor(count / queryCount);
  if (step < 2) throw new RangeError(`${count} glosses are too few to hold ${queryCount} out`);
  const queryAt: number[] = [];
  const rowAt: number[] = [];
  for (let at = 0; at < count; at++)
    if (at % step === 0 && queryAt.length < queryCount) queryAt.push(at);
    else rowAt.push(at);
  return { queryAt, rowAt };
}

function grow(
  { values, dimensions }: GlossVectors,
  rowAt: readonly number[],
  { rowCount, seed }: CorpusPlan,
): Float32Array<ArrayBuffer> {
  const random = new SeededRandom(seed);
  const rows = new Float32Array(rowCount * dimensions);
  const deviation = JITTER / Math.sqrt(dimensions);
  for (let row = 0; row < rowCount; row++) {
    const from = (rowAt[row % rowAt.length] as number) * dimensions;
    const to = row * dimensions;
    rows.set(values.subarray(from, from + dimensions), to);
    if (row < rowAt.length) continue;
    let squares = 0;
    for (let at = to; at < to + dimensions; at++) {
      const value = (rows[at] as number) + deviation * random.normal();
      rows[at] = value;
      squares += value * value;
    }
    const norm = Math.sqrt(squares);
    for (let at = to; at < to + dimensions; at++) rows[at] = (rows[at] as number) / norm;
  }
  return rows;
}

async function truthOf(
  key: string,
  queries: readonly Float32Array[],
  dimensions: number,
  rows: () => Float32Array,
): Promise<readonly Uint32Array[]> {
  const folder = path.join(benchFolder(), 'truth');
  const file = path.join(folder, `${key}.u32`);
  if (!existsSync(file)) {
    const block = rows();
    const truth = new Uint32Array(queries.length * TOP_K);
    for (let first = 0; first < queries.length; first += QUERIES_PER_EXACT_SEARCH) {
      const some = queries.slice(first, first + QUERIES_PER_EXACT_SEARCH);
      const asked = new Float32Array(some.length * dimensions);
      for (const [at, query] of some.entries()) asked.set(query, at * dimensions);
      const { keys } = exactBlock(block, asked, dimensions, TOP_K, 'cos', availableParallelism());
      truth.set(Uint32Array.from(keys, Number), first * TOP_K);
    }
    await mkdir(folder, { recursive: true });
    const partial = `${file}.partial-${process.pid}`;
    await writeFile(partial, new Uint8Array(truth.buffer));
    await rename(partial, file);
  }
  const bytes = await readFile(file);
  const truth = new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  return queries.map((_, at) => truth.subarray(at * TOP_K, (at + 1) * TOP_K));
}
