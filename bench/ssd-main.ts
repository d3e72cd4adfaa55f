import { once } from 'node:events';
import { cp, rm } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { readBundle } from '../src/index/read-bundle.js';
import type { SearchIndex } from '../src/index/search-index.js';
import { SearchPool } from '../src/index/search-pool.js';
import { SeededRandom } from '../src/index/seeded-random.js';
import { DramTier } from '../src/index/tiers/dram-tier.js';
import { VectorsFile } from '../src/index/vectors-file.js';

/**
 * A process with a target in tier dram and one in tier ssd, as a gateway has them. Told on stdin what to do, so that
 * it is in its control group before it touches a file: the copies that it makes are charged to the group.
 */
const [dramFolder = '', ssdFolder = '', scratch = '', roundsText = '1', queriesText = '1'] =
  process.argv.slice(2);
const [rounds, queriesPerRound] = [Number(roundsText), Number(queriesText)];
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
const queries = { dram: queriesOf(dramIndex), ssd: queriesOf(ssdIndex) };
say({ placement: dramPool.openIndexes()[0]?.placement });
await told();

const undisturbed: number[] = [];
const beside: number[] = [];
const ssd: number[] = [];
await searched(dramIndex, queries.dram, queriesPerRound);
const faultsBefore = ssdPool.openIndexes()[0]?.majorFaults ?? 0;
const dramFaultsBefore = dramPool.majorFaults();
for (let round = 0; round < rounds; round++) {
  undisturbed.push(median(await searched(dramIndex, queries.dram, queriesPerRound)));
  let isDone = false;
  const load = (async () => {
    while (!isDone) ssd.push(...(await searched(ssdIndex, queries.ssd, 1)));
  })();
  beside.push(median(await searched(dramIndex, queries.dram, queriesPerRound)));
  isDone = true;
  await load;
}
say({
  undisturbedUs: undisturbed,
  besideUs: beside,
  ssdUs: ssd,
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

function queriesOf({ bundle }: SearchIndex): Float32Array[] {
  const { row_count: rowCount, full_dimensions: dimensions } = bundle.manifest;
  const vectors = new VectorsFile(path.join(bundle.folder, 'vectors.f32'), rowCount, dimensions);
  const random = new SeededRandom(1);
  const rows = Array.from({ length: 2_000 }, () => vectors.row(random.below(rowCount)).slice());
  vectors.close();
  return rows;
}

/** µs of so many searches, one at a time, each for another row. */
async function searched(index: SearchIndex, from: Float32Array[], count: number): Promise<number[]> {
  const { fingerprint } = index.bundle.manifest.model;
  const times: number[] = [];
  for (let at = 0; at < count; at++) {
    const values = from.shift() as Float32Array;
    from.push(values);
    const startedAtMs = performance.now();
    await index.search({
      vector: { fingerprint, values },
      topK: 10,
      lane: 'live',
      deadlineAtMs: Number.POSITIVE_INFINITY,
      withDocument: false,
    });
    times.push((performance.now() - startedAtMs) * 1e3);
  }
  return times;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}
