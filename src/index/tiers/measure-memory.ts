import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import path from 'node:path';
import { formatOf } from '../formats.js';
import { Graph } from '../graph.js';
import type { Bundle } from '../manifest.js';
import { filesIn } from '../placement.js';
import { graphParametersOf } from '../row-searcher.js';
import { SeededRandom } from '../seeded-random.js';

const QUERIES = 200;
const ROUNDS = 5;
const WANTED = 10;

/**
 * Time of a search in a copy under `folder` ÷ in the page cache, median of rounds in turns: tmpfs has small pages unless
 * it is mounted with huge ones. The bundle must have been verified. Blocks its thread for about a second.
 */
export async function measureMemoryFolder(bundle: Bundle, folder: string): Promise<number> {
  const { manifest } = bundle;
  const copies = await mkdtemp(path.join(folder, 'switchyard-doctor-'));
  try {
    const copy = path.join(copies, 'index.usearch');
    const { index: original } = filesIn(bundle.folder);
    await copyFile(original, copy);
    const graphs = [original, copy].map((file) => {
      const graph = new Graph(graphParametersOf(manifest, formatOf(manifest)));
      graph.view(file);
      return graph;
    });
    const random = new SeededRandom(1);
    const queries = Array.from({ length: QUERIES }, () =>
      Float32Array.from({ length: manifest.dimensions }, () => random.normal()),
    );
    const timed = (graph: Graph): number => {
      const startedAtMs = performance.now();
      for (const query of queries) graph.search(query, WANTED);
      return performance.now() - startedAtMs;
    };
    for (const graph of graphs) timed(graph);
    const ratios = Array.from({ length: ROUNDS }, () => {
      const [cached, inMemory] = graphs.map(timed);
      return (inMemory ?? Number.NaN) / (cached ?? Number.NaN);
    }).sort((a, b) => a - b);
    for (const graph of graphs) graph.release();
    return ratios[ROUNDS >> 1] ?? Number.NaN;
  } finally {
    await rm(copies, { recursive: true, force: true });
  }
}
