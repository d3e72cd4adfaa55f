import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { Index, MetricKind, ScalarKind } from 'usearch';
import { buildBundle } from '../src/index/build-bundle.js';
import { formatOf } from '../src/index/formats.js';
import { Graph } from '../src/index/graph.js';
import type { Bundle } from '../src/index/manifest.js';
import { filesIn, residentBytes } from '../src/index/placement.js';
import { graphParametersOf, RowSearcher } from '../src/index/row-searcher.js';
import { toGraphVectors } from '../src/index/vector-check.js';
import { QUANTIZATIONS } from '../src/vocabulary.js';
import { type BuildFormat, batchesOf, buildOptions, formatBuild, formatName } from './data/format-builds.js';
import { benchFolder } from './data/gloss-vectors.js';
import { type SearchCorpus, searchCorpus, TOP_K } from './data/search-corpus.js';
import { type Bench, inputHash, median } from './report.js';

const SIZES = {
  smoke: { rowCount: 1_000, queryCount: 40, glossStep: 200, rounds: 1, buildRows: 1_000, buildRounds: 1 },
  full: { rowCount: 50_000, queryCount: 500, glossStep: 1, rounds: 7, buildRows: 50_000, buildRounds: 10 },
} as const;

const NOT_RESCORED =
  "usearch's own distances are precise enough to be the answer: there is nothing to order again";

interface Variant {
  readonly name: string;
  readonly bundle: Bundle;
  readonly dramBytes: number;
  search(query: Float32Array): Uint32Array;
  close(): void;
}

/** What every format costs and finds, with and without rescoring and truncation; and what a build adds to usearch's own time. */
export const formats: Bench = {
  name: 'formats',
  about: 'recall, time, bytes of every format; ratio: recall@10 of i8 rescored ÷ bf16',
  run: async ({ size, seed }) => {
    const plan = SIZES[size];
    const corpus = await searchCorpus({ ...plan, seed });
    const { dimensions } = corpus;
    const builds: BuildFormat[] = [dimensions, dimensions / 2].flatMap((count) =>
      QUANTIZATIONS.map((quantization) => ({ quantization, dimensions: count })),
    );
    const variants: Variant[] = [];
    const leftOut: { readonly format: string; readonly left_out: string }[] = [];
    const digests: string[] = [];
    try {
      for (const format of builds) {
        const bundle = await formatBuild(corpus, format);
        digests.push(bundle.digest);
        variants.push(graphAlone(bundle));
        if (formatOf(bundle.manifest).rescoring !== null) variants.push(rescored(bundle));
        else leftOut.push({ format: `${formatName(bundle.manifest)} rescored`, left_out: NOT_RESCORED });
      }
      const times = timeInTurns(variants, corpus, plan.rounds);
      const bytesRead = variants.map((variant) => bytesReadPerQuery(variant, corpus));
      const results = variants.map((variant, at) => ({
        format: variant.name,
        recall_at_10: Number(recallOf(variant, corpus).toFixed(4)),
        cpu_us: Number(median(times[at] ?? []).toFixed(1)),
        index_bytes_per_row: perRow(
          variant.bundle,
          variant.bundle.manifest.files['index.usearch']?.bytes ?? 0,
        ),
        dram_bytes_per_row: perRow(variant.bundle, variant.dramBytes),
        bytes_read_per_query: bytesRead[at] ?? Number.NaN,
        in_flight: 1,
      }));
      const of = (format: string) => results.find((row) => row.format === format);
      const [i8, bf16] = [of(`i8@${dimensions} rescored`), of(`bf16@${dimensions}`)];
      const build = await buildOverhead(corpus, plan.buildRows, plan.buildRounds);
      return {
        input: inputHash(...digests, ...corpus.queries),
        ratio: (i8?.recall_at_10 ?? 0) / (bf16?.recall_at_10 ?? 1),
        results: [
          ...results,
          ...leftOut,
          {
            format: 'i8 rescored ÷ bf16',
            index_bytes: Number(
              ((i8?.index_bytes_per_row ?? 0) / (bf16?.index_bytes_per_row ?? 1)).toFixed(3),
            ),
          },
          build,
        ],
      };
    } finally {
      for (const variant of variants) variant.close();
    }
  },
};

const perRow = ({ manifest }: Bundle, bytes: number): number => Math.round(bytes / manifest.row_count);

/** usearch's own answer, as it is without rescoring. */
function graphAlone(bundle: Bundle): Variant {
  const { manifest, folder } = bundle;
  const format = formatOf(manifest);
  const graph = new Graph(graphParametersOf(manifest, format));
  graph.view(filesIn(folder).index);
  return {
    name: formatName(manifest),
    bundle,
    dramBytes: manifest.files['index.usearch']?.bytes ?? 0,
    search: (query) =>
      graph.search(
        toGraphVectors(new Float32Array(query), query.length, manifest.dimensions, format.usearchMetric),
        TOP_K,
      ).rows,
    close: () => graph.release(),
  };
}

/** What the product answers. */
function rescored(bundle: Bundle): Variant {
  const { manifest, folder } = bundle;
  const searcher = new RowSearcher(filesIn(folder), manifest);
  return {
    name: `${formatName(manifest)} rescored`,
    bundle,
    dramBytes: residentBytes(manifest),
    search: (query) => searcher.search(query, TOP_K).rows,
    close: () => searcher.close(),
  };
}

function recallOf(variant: Variant, { queries, truth }: SearchCorpus): number {
  let found = 0;
  queries.forEach((query, at) => {
    const right = new Set(truth[at]);
    for (const row of variant.search(query)) if (right.has(row)) found++;
  });
  return found / (queries.length * TOP_K);
}

/** By position, as the kernel counts it; what is mapped is not read. */
function bytesReadPerQuery(variant: Variant, { queries }: SearchCorpus): number {
  const read = (): number => Number(/^rchar: (\d+)/m.exec(readFileSync('/proc/self/io', 'utf8'))?.[1]);
  const first = read();
  // Looking is a read too.
  const before = read();
  for (const query of queries) variant.search(query);
  return Math.round((read() - before - (before - first)) / queries.length);
}

/** CPU µs per query of each variant in each round; the variants take turns. */
function timeInTurns(variants: readonly Variant[], { queries }: SearchCorpus, rounds: number): number[][] {
  const times = variants.map((): number[] => []);
  for (const variant of variants) for (const query of queries) variant.search(query);
  for (let round = 0; round < rounds; round++)
    for (const [at, variant] of variants.entries()) {
      const before = process.cpuUsage();
      for (const query of queries) variant.search(query);
      const { user, system } = process.cpuUsage(before);
      times[at]?.push((user + system) / queries.length);
    }
  return times;
}

/** Time of `buildBundle` ÷ that of usearch's add and save alone over the same rows with the same threads, in turns. */
async function buildOverhead(corpus: SearchCorpus, rowCount: number, rounds: number) {
  const { dimensions } = corpus;
  const rows = corpus.rows().slice(0, rowCount * dimensions);
  const folder = await mkdtemp(path.join(benchFolder(), 'build-'));
  const ours: Spent[] = [];
  const raw: Spent[] = [];
  try {
    for (let round = 0; round < rounds; round++) {
      const bundlesFolder = path.join(folder, String(round));
      const options = buildOptions(corpus, { quantization: 'bf16', dimensions }, bundlesFolder);
      const turns = [
        async () =>
          void raw.push(await spent(() => usearchAlone(rows, dimensions, path.join(folder, 'raw.usearch')))),
        async () => void ours.push(await spent(() => buildBundle(options, batchesOf(rows, dimensions)))),
      ];
      for (const turn of round % 2 === 0 ? turns : turns.reverse()) await turn();
      await rm(bundlesFolder, { recursive: true });
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const ratios = (of: (one: Spent) => number): number[] =>
    ours.map((our, round) => of(our) / of(raw[round] as Spent));
  const timeRatios = ratios((one) => one.ms);
  return {
    format: `build of ${rowCount} rows`,
    threads: availableParallelism(),
    ms: Math.round(median(ours.map((one) => one.ms))),
    usearch_ms: Math.round(median(raw.map((one) => one.ms))),
    build_ratio: Number(median(timeRatios).toFixed(3)),
    build_ratio_least: Number(Math.min(...timeRatios).toFixed(3)),
    build_ratio_most: Number(Math.max(...timeRatios).toFixed(3)),
    cpu_ms: Math.round(median(ours.map((one) => one.cpuMs))),
    usearch_cpu_ms: Math.round(median(raw.map((one) => one.cpuMs))),
    build_cpu_ratio: Number(median(ratios((one) => one.cpuMs)).toFixed(3)),
  };
}

interface Spent {
  readonly ms: number;
  /** Of all threads. */
  readonly cpuMs: number;
}

async function spent(work: () => unknown): Promise<Spent> {
  const startedAtMs = performance.now();
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return { ms: performance.now() - startedAtMs, cpuMs: (user + system) / 1e3 };
}

function usearchAlone(rows: Float32Array, dimensions: number, file: string): void {
  const index = new Index({
    dimensions,
    metric: MetricKind.Cos,
    quantization: ScalarKind.BF16,
    connectivity: 16,
    expansion_add: 128,
    expansion_search: 128,
    multi: false,
  });
  const keys = BigUint64Array.from({ length: rows.length / dimensions }, (_, row) => BigInt(row));
  index.add(keys, rows, availableParallelism());
  index.save(file);
}
