import { once } from 'node:events';
import { cp, rm } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { readBundle } from '../src/index/read-bundle.js';
import type { SearchIndex } from '../src/index/search-index.js';
import { SearchPool } from '../src/index/search-pool.js';
import { DramTier } from '../src/index/tiers/dram-tier.js';
import { documentId } from './data/built-bundle.js';
import { readQueries } from './data/query-files.js';
import { TOP_K } from './data/search-corpus.js';

/**
 * A process with a target in tier dram and one in tier ssd, as a gateway has them. Told on stdin what to do, so that
 * it is in its control group before it touches a file: the copies that it makes are charged to the group.
 */
const [dramFolder = '', ssdFolder = '', scratch = '', ...counts] = process.argv.slice(2);
const [rounds = 1, queriesPerRound = 1, ssdSearchesMin = 1] = counts.map(Number);
/** A disk that is slow beyond all patience gets no more searches than fit into this. */
const SSD_ALONE_MS_MAX = 60_000;
const lines = createInterface({ input: process.stdin });
const told = async (): Promise<void> => {
  await once(lines, 'line');
};
const say = (value: unknown): void => {
  process.stdout.write(`${JSON.stringify(value)}\n`);
};

say('ready');
await told();
const dram = new DramTier({ memoryDir: 'auto', bytesMax: Number.MAX_SAFE_INTEGER });
const dramPool = new SearchPool({ workers: 1, queueLengthMax: 64, place: dram.place });
const ssdPool = new SearchPool({ workers: 1, queueLengthMax: 64, countFaults: true });
const [dramIndex, ssdIndex] = [await opened(dramPool, dramFolder), await opened(ssdPool, ssdFolder)];
const dramSide = await sideOf(dramIndex, 'dram');
const ssdSide = await sideOf(ssdIndex, 'ssd');
say({ placement: dramPool.openIndexes()[0]?.placement });
await told();

const undisturbed: number[][] = [];
const beside: number[][] = [];
const ssd: number[] = [];
await searched(dramSide, queriesPerRound);
const faultsBefore = ssdPool.openIndexes()[0]?.majorFaults ?? 0;
const dramFaultsBefore = dramPool.majorFaults();
for (let round = 0; round < rounds; round++) {
  undisturbed.push(await searched(dramSide, queriesPerRound));
  let isDone = false;
  const load = (async () => {
    while (!isDone) ssd.push(...(await searched(ssdSide, 1)));
  })();
  beside.push(await searched(dramSide, queriesPerRound));
  isDone = true;
  await load;
}
// A p99 of the few dozen that fit beside the other target's would be the largest of them.
const aloneUntilMs = performance.now() + SSD_ALONE_MS_MAX;
while (ssd.length < ssdSearchesMin && performance.now() < aloneUntilMs)
  ssd.push(...(await searched(ssdSide, 1)));
say({
  undisturbedUs: undisturbed.map((times) => quantile(times, 0.5)),
  besideUs: beside.map((times) => quantile(times, 0.5)),
  undisturbedP99Us: quantile(undisturbed.flat(), 0.99),
  besideP99Us: quantile(beside.flat(), 0.99),
  ssdUs: ssd,
  ssdRecall: ssdSide.found / (ssd.length * TOP_K),
  dramRecall: dramSide.found / (dramSide.next * TOP_K),
  ssdMajorFaults: (ssdPool.openIndexes()[0]?.majorFaults ?? 0) - faultsBefore,
  dramMajorFaults: dramPool.majorFaults() - dramFaultsBefore,
});
await Promise.all([dramPool.close(), ssdPool.close()]);
await rm(scratch, { recursive: true, force: true });
process.exit(0);

async function opened(pool: SearchPool, from: string): Promise<SearchIndex> {
  const folder = path.join(scratch, path.basename(from));
  await cp(from, folder, { recursive: true });
  const bundle = await readBundle(folder);
  const { model, full_dimensions: dimensions, metric } = bundle.manifest;
  return pool.open(bundle, { expected: { fingerprint: model.fingerprint, dimensions, metric } });
}

interface Side {
  readonly index: SearchIndex;
  readonly queries: readonly Float32Array[];
  readonly truth: readonly ReadonlySet<string>[];
  next: number;
  /** True nearest rows among what was answered. */
  found: number;
}

async function sideOf(index: SearchIndex, name: string): Promise<Side> {
  const { vectors, truth } = await readQueries(
    path.join(scratch, name),
    index.bundle.manifest.full_dimensions,
    TOP_K,
  );
  return {
    index,
    queries: vectors,
    truth: truth.map((rows) => new Set(Array.from(rows, documentId))),
    next: 0,
    found: 0,
  };
}

/** µs of so many searches, one at a time, each with another query until all were asked. */
async function searched(side: Side, count: number): Promise<number[]> {
  const { index, queries, truth } = side;
  const { fingerprint } = index.bundle.manifest.model;
  const times: number[] = [];
  for (let done = 0; done < count; done++) {
    const at = side.next++ % queries.length;
    const startedAtMs = performance.now();
    const { hits } = await index.search({
      vector: { fingerprint, values: queries[at] as Float32Array },
      topK: TOP_K,
      lane: 'live',
      deadlineAtMs: Number.POSITIVE_INFINITY,
      withDocument: false,
    });
    times.push((performance.now() - startedAtMs) * 1e3);
    for (const { id } of hits) if (truth[at]?.has(id) === true) side.found++;
  }
  return times;
}

function quantile(values: readonly number[], share: number): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length * share)] ?? Number.NaN;
}
