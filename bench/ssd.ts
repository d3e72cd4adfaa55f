import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { readAheadOf } from '../src/files/read-ahead.js';
import type { Bundle } from '../src/index/manifest.js';
import { residentBytes } from '../src/index/placement.js';
import { packageRoot } from '../src/package-root.js';
import { formatBuild } from './data/format-builds.js';
import { benchFolder } from './data/gloss-vectors.js';
import { writeQueries } from './data/query-files.js';
import { type SearchCorpus, searchCorpus } from './data/search-corpus.js';
import { type Bench, inputHash, median } from './report.js';
import { createMemoryCgroup, type MemoryCgroup } from './rig/memory-cgroup.js';

const SIZES = {
  smoke: {
    dramRows: 500,
    ssdRows: 2_000,
    queryCount: 40,
    glossStep: 200,
    rounds: 2,
    perRound: 50,
    ssdSearchesMin: 100,
  },
  full: {
    dramRows: 20_000,
    ssdRows: 600_000,
    queryCount: 2_048,
    glossStep: 1,
    rounds: 15,
    perRound: 1_000,
    ssdSearchesMin: 300,
  },
} as const;
/** Share of what the ssd target reads that may stay in memory. */
const CACHED_SHARE = 0.03;
/** For what the process needs while it runs beyond what it held before. */
const SPARE_BYTES = 24 << 20;

interface Outcome {
  readonly undisturbedUs: readonly number[];
  readonly besideUs: readonly number[];
  readonly ssdUs: readonly number[];
  readonly ssdRecall: number;
  readonly dramRecall: number;
  readonly undisturbedP99Us: number;
  readonly besideP99Us: number;
  readonly ssdMajorFaults: number;
  readonly dramMajorFaults: number;
}

/** An index that does not fit into memory, searched beside one that does. */
export const ssd: Bench = {
  name: 'ssd',
  about: 'an i8 index beyond a memory limit; ratio: median time of a dram search beside it ÷ undisturbed',
  run: async ({ size, seed, rows }) => {
    const plan = SIZES[size];
    const { queryCount, glossStep } = plan;
    const [small, large] = [
      await searchCorpus({ queryCount, glossStep, rowCount: plan.dramRows, seed }),
      await searchCorpus({ queryCount, glossStep, rowCount: rows ?? plan.ssdRows, seed }),
    ];
    const { dimensions } = small;
    const dramBundle = await formatBuild(small, { quantization: 'bf16', dimensions });
    const ssdBundle = await formatBuild(large, { quantization: 'i8', dimensions });
    const input = inputHash(dramBundle.digest, ...small.queries, ssdBundle.digest, ...large.queries);
    const cgroup = createMemoryCgroup();
    if (typeof cgroup === 'string') {
      process.stderr.write(`bench ssd SKIPPED, nothing was measured: ${cgroup}\n`);
      return { input, results: [{ skipped: cgroup }] };
    }
    const { limitBytes, placement, outcome } = await inCgroup(
      cgroup,
      [dramBundle, small],
      [ssdBundle, large],
      plan,
    );
    const indexBytes = ssdBundle.manifest.files['index.usearch']?.bytes ?? 0;
    if (size === 'full' && indexBytes <= limitBytes)
      throw new Error(
        `the index has ${megabytes(indexBytes)} MB and fits into the limit of ${megabytes(limitBytes)} MB: take more --rows`,
      );
    const sorted = [...outcome.ssdUs].sort((a, b) => a - b);
    const at = (share: number): number => Math.round(sorted[Math.floor(sorted.length * share)] ?? Number.NaN);
    const ratios = outcome.besideUs.map((us, round) => us / (outcome.undisturbedUs[round] ?? Number.NaN));
    return {
      input,
      ratio: median(ratios),
      results: [
        {
          target: `ssd, i8 rescored, ${ssdBundle.manifest.row_count} rows`,
          index_mb: megabytes(indexBytes),
          index_and_vectors_mb: megabytes(residentBytes(ssdBundle.manifest)),
          memory_limit_mb: megabytes(limitBytes),
          read_ahead_kib: readAheadOf(ssdBundle.folder)?.kib ?? 'unknown',
          searches: sorted.length,
          in_flight: 1,
          recall_at_10: Number(outcome.ssdRecall.toFixed(4)),
          p50_us: at(0.5),
          p99_us: at(0.99),
          major_faults: outcome.ssdMajorFaults,
          major_faults_per_search: Number((outcome.ssdMajorFaults / sorted.length).toFixed(2)),
        },
        {
          target: `dram (${placement}), bf16, ${dramBundle.manifest.row_count} rows`,
          undisturbed_p50_us: Math.round(median(outcome.undisturbedUs)),
          beside_p50_us: Math.round(median(outcome.besideUs)),
          undisturbed_p99_us: Math.round(outcome.undisturbedP99Us),
          beside_p99_us: Math.round(outcome.besideP99Us),
          p99_ratio: Number((outcome.besideP99Us / outcome.undisturbedP99Us).toFixed(3)),
          in_flight: 1,
          recall_at_10: Number(outcome.dramRecall.toFixed(4)),
          ratio_least: Number(Math.min(...ratios).toFixed(3)),
          ratio_most: Number(Math.max(...ratios).toFixed(3)),
          major_faults: outcome.dramMajorFaults,
        },
      ],
    };
  },
};

const megabytes = (bytes: number): number => Math.round(bytes / 1e6);

async function inCgroup(
  cgroup: MemoryCgroup,
  [dramBundle, dramCorpus]: readonly [Bundle, SearchCorpus],
  [ssdBundle, ssdCorpus]: readonly [Bundle, SearchCorpus],
  {
    rounds,
    perRound,
    ssdSearchesMin,
  }: { readonly rounds: number; readonly perRound: number; readonly ssdSearchesMin: number },
): Promise<{ limitBytes: number; placement: string; outcome: Outcome }> {
  const scratch = await mkdtemp(path.join(benchFolder(), 'ssd-'));
  await writeQueries(path.join(scratch, 'dram'), dramCorpus);
  await writeQueries(path.join(scratch, 'ssd'), ssdCorpus);
  const main = path.join(packageRoot(), 'dist', 'bench', 'ssd-main.js');
  const child = spawn(
    process.execPath,
    [main, dramBundle.folder, ssdBundle.folder, scratch, ...[rounds, perRound, ssdSearchesMin].map(String)],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const closed = once(child, 'close');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async <T>(): Promise<T> => {
    const { value, done } = await lines.next();
    if (done === true) throw new Error('the measured process ended early: the memory limit may be too low');
    return JSON.parse(value) as T;
  };
  try {
    await next<string>();
    cgroup.add(child.pid as number);
    child.stdin.write('open\n');
    const { placement } = await next<{ placement: string }>();
    const limitBytes = cgroup.heldBytes() + SPARE_BYTES + CACHED_SHARE * residentBytes(ssdBundle.manifest);
    cgroup.limit(limitBytes);
    child.stdin.write('run\n');
    const outcome = await next<Outcome>();
    await closed;
    return { limitBytes, placement, outcome };
  } finally {
    if (child.exitCode === null) child.kill('SIGKILL');
    await closed;
    cgroup.remove();
    await rm(scratch, { recursive: true, force: true });
  }
}
