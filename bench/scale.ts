import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import type { Bundle } from '../src/index/manifest.js';
import { openIndex } from '../src/index/open-index.js';
import { filesIn } from '../src/index/placement.js';
import { RowSearcher } from '../src/index/row-searcher.js';
import { packageRoot } from '../src/package-root.js';
import { builtBundle } from './data/built-bundle.js';
import { type SearchCorpus, searchCorpus, TOP_K } from './data/search-corpus.js';
import { type Bench, inputHash, median } from './report.js';

const SIZES = {
  smoke: { rowsSmall: 500, rowsLarge: 2_000, queryCount: 40, glossStep: 200, rounds: 2 },
  full: { rowsSmall: 50_000, rowsLarge: 1_000_000, queryCount: 2_048, glossStep: 1, rounds: 9 },
} as const;
const OPENINGS = 3;

/** How query time, opening and memory grow from a small index to a large one. */
export const scale: Bench = {
  name: 'scale',
  about:
    'query time, opening, bytes and memory of workers by rows; ratio: CPU µs per query of the largest ÷ the smallest',
  run: async ({ size, seed, rows }) => {
    const plan = SIZES[size];
    const sizes: { corpus: SearchCorpus; bundle: Bundle }[] = [];
    for (const rowCount of [plan.rowsSmall, rows ?? plan.rowsLarge]) {
      const corpus = await searchCorpus({ ...plan, rowCount, seed });
      sizes.push({ corpus, bundle: (await builtBundle(corpus, 'v1')).bundle });
    }
    const times = queryTimes(sizes, plan.rounds);
    const results = [];
    for (const [at, { corpus, bundle }] of sizes.entries()) {
      const bytes = bundle.manifest.files['index.usearch']?.bytes ?? 0;
      // One after the other: processes that map the same file at once would share each page's Pss.
      const none = await workersPss(bundle, 0);
      const one = await workersPss(bundle, 1);
      const two = await workersPss(bundle, 2);
      const [first, second] = [one - none, two - one];
      results.push({
        rows: bundle.manifest.row_count,
        // One thread, one query after the other.
        in_flight: 1,
        cpu_us: Number(median(times[at]?.cpuUs ?? []).toFixed(1)),
        wall_us: Number(median(times[at]?.wallUs ?? []).toFixed(1)),
        recall_at_10: Number((times[at]?.recall ?? 0).toFixed(4)),
        open_ms: Math.round(median(await openings(bundle))),
        index_bytes_per_row: Math.round(bytes / corpus.rowCount),
        first_worker_pss_mb: Math.round(first / 1e6),
        second_worker_pss_mb: Math.round(second / 1e6),
        second_to_first: Number((second / first).toFixed(3)),
      });
    }
    const [small, large] = [times[0], times.at(-1)];
    const ratios = (large?.cpuUs ?? []).map((us, round) => us / (small?.cpuUs[round] ?? Number.NaN));
    return {
      input: inputHash(...sizes.flatMap(({ bundle, corpus }) => [bundle.digest, ...corpus.queries])),
      ratio: median(ratios),
      results,
    };
  },
};

/** One thread, the sizes in turns. */
function queryTimes(sizes: readonly { corpus: SearchCorpus; bundle: Bundle }[], rounds: number) {
  const searchers = sizes.map(({ bundle }) => new RowSearcher(filesIn(bundle.folder), bundle.manifest));
  const times = sizes.map(({ corpus }, at) => {
    let found = 0;
    corpus.queries.forEach((query, asked) => {
      const right = new Set(corpus.truth[asked]);
      for (const row of searchers[at]?.search(query, TOP_K).rows ?? []) if (right.has(row)) found++;
    });
    const recall = found / (corpus.queries.length * TOP_K);
    return { recall, cpuUs: [] as number[], wallUs: [] as number[] };
  });
  for (let round = 0; round < rounds; round++)
    for (const [at, searcher] of searchers.entries()) {
      const queries = sizes[at]?.corpus.queries ?? [];
      const [startedAtMs, before] = [performance.now(), process.cpuUsage()];
      for (const query of queries) searcher.search(query, TOP_K);
      const { user, system } = process.cpuUsage(before);
      times[at]?.cpuUs.push((user + system) / queries.length);
      times[at]?.wallUs.push(((performance.now() - startedAtMs) * 1e3) / queries.length);
    }
  for (const searcher of searchers) searcher.close();
  return times;
}

/** From a folder on disk to an index that answers: every file hashed, mapped in one worker. */
async function openings(bundle: Bundle): Promise<number[]> {
  const times: number[] = [];
  const { model, full_dimensions: dimensions, metric } = bundle.manifest;
  for (let at = 0; at < OPENINGS; at++) {
    const startedAtMs = performance.now();
    const expected = { fingerprint: model.fingerprint, dimensions, metric };
    const index = await openIndex(bundle, { workers: 1, queueLengthMax: 1, expected });
    times.push(performance.now() - startedAtMs);
    await index.close();
  }
  return times;
}

/** Pss, which shares a page among its mappings, of a process with so many search workers after as many searches. */
async function workersPss(bundle: Bundle, workers: number): Promise<number> {
  const child = spawn(
    process.execPath,
    [path.join(packageRoot(), 'dist', 'bench', 'worker-memory-main.js'), bundle.folder, String(workers)],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString('utf8');
  });
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`the process with ${workers} workers ended with ${code}`);
  return Number(text);
}
