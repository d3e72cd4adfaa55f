import { readFileSync } from 'node:fs';
import { buildBundle } from '../../src/index/build-bundle.js';
import type { BuildBatch } from '../../src/index/build-options.js';
import { optionsOf } from './corpus.js';

/**
 * Builds `rows` rows of 1 024 numbers and prints the largest growth of this process in bytes:
 * `build-memory-child.js <bundles folder> <rows>`. The source hands out one buffer again and again, and b1 keeps a
 * 32nd part of a vector in the graph, so that whole vectors would show if they were held. What is not held is collected
 * while it goes (`--expose-gc`): how long V8 waits with that is not what is measured.
 */
const DIMENSIONS = 1024;
const BATCH_ROWS = 256;
const ROWS_PER_COLLECTION = 512;
const LOOK_INTERVAL_MS = 2;

const collect =
  globalThis.gc ??
  (() => {
    throw new Error('start this with --expose-gc');
  });

/** Without the pages of files, which are the system's to take back. */
let peakBytes = 0;
const look = (): void => {
  const bytes = Number(/RssAnon:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;
  if (bytes > peakBytes) peakBytes = bytes;
};

async function* rowsOf(count: number): AsyncGenerator<BuildBatch> {
  const vectors = new Float32Array(BATCH_ROWS * DIMENSIONS);
  let state = 1;
  for (let first = 0; first < count; first += BATCH_ROWS) {
    for (let i = 0; i < vectors.length; i++) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
      vectors[i] = state / 2 ** 31;
    }
    const rows = Array.from({ length: BATCH_ROWS }, (_, i) => ({
      documentId: `d${first + i}`,
      chunk: 0,
      truncated: false,
    }));
    yield { vectors, rows };
    look();
    if (first % ROWS_PER_COLLECTION === 0) collect();
  }
}

const [, , folder = '', rows = '0'] = process.argv;
look();
const before = peakBytes;
const looking = setInterval(look, LOOK_INTERVAL_MS);
const options = optionsOf(folder, { dimensions: DIMENSIONS, quantization: 'b1', threads: 1 });
await buildBundle(options, rowsOf(Number(rows)));
look();
clearInterval(looking);
process.stdout.write(`${peakBytes - before}\n`);
