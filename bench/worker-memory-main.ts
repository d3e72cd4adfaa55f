import { readFileSync } from 'node:fs';
import path from 'node:path';
import { openIndex } from '../src/index/open-index.js';
import { readBundle } from '../src/index/read-bundle.js';
import { SeededRandom } from '../src/index/seeded-random.js';
import { VectorsFile } from '../src/index/vectors-file.js';

/** A process with so many search workers over a bundle: searches for some of its rows, then prints its Pss in bytes. */
const [folder = '', workersText = '0'] = process.argv.slice(2);
const workers = Number(workersText);
const SEARCHES = 4_000;

const bundle = await readBundle(folder);
const { manifest } = bundle;
const { model, full_dimensions: dimensions, metric } = manifest;
const random = new SeededRandom(1);
const vectors = new VectorsFile(path.join(bundle.folder, 'vectors.f32'), manifest.row_count, dimensions);
const queries = Array.from({ length: SEARCHES }, () => vectors.row(random.below(manifest.row_count)).slice());
vectors.close();
if (workers > 0) {
  const expected = { fingerprint: model.fingerprint, dimensions, metric };
  const index = await openIndex(bundle, { workers, queueLengthMax: SEARCHES, expected });
  await Promise.all(
    queries.map((values) =>
      index.search({
        vector: { fingerprint: model.fingerprint, values },
        topK: 10,
        lane: 'live',
        deadlineAtMs: Number.POSITIVE_INFINITY,
        withDocument: false,
      }),
    ),
  );
  process.stdout.write(String(pssBytes()));
  await index.close();
} else process.stdout.write(String(pssBytes()));

function pssBytes(): number {
  const rollup = readFileSync('/proc/self/smaps_rollup', 'utf8');
  return Number(/^Pss:\s+(\d+) kB$/m.exec(rollup)?.[1]) * 1024;
}
