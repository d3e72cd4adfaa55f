import { existsSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { CONNECTIVITY, EFFORTS, EXPANSION_ADD, type OpenPeer } from './peer.js';
import { versionIn } from './versions.js';

interface HnswIndex {
  initIndex(rowsMax: number, m: number, efConstruction: number, seed: number): void;
  addPoint(vector: readonly number[], label: number): void;
  setEf(ef: number): void;
  searchKnn(query: readonly number[], topK: number): { readonly neighbors: number[] };
  writeIndexSync(file: string): void;
  readIndexSync(file: string): void;
}
interface Hnswlib {
  readonly HierarchicalNSW: new (space: 'cosine', dimensions: number) => HnswIndex;
}

/** hnswlib in this process: float32, one thread. */
export const openHnswlib: OpenPeer = async ({ packages, data }, corpus) => {
  const require = createRequire(path.join(packages, 'package.json'));
  const { HierarchicalNSW } = require('hnswlib-node') as Hnswlib;
  const index = new HierarchicalNSW('cosine', corpus.dimensions);
  const file = path.join(data, 'index.hnsw');
  if (existsSync(file)) index.readIndexSync(file);
  else {
    const values = corpus.rows();
    const { dimensions, rowCount } = corpus;
    index.initIndex(rowCount, CONNECTIVITY, EXPANSION_ADD, 100);
    for (let row = 0; row < rowCount; row++)
      index.addPoint(Array.from(values.subarray(row * dimensions, (row + 1) * dimensions)), row);
    index.writeIndexSync(`${file}.partial`);
    await rename(`${file}.partial`, file);
  }
  return {
    product: `hnswlib-node ${versionIn(packages, 'hnswlib-node')}`,
    index: `HNSW f32, M ${CONNECTIVITY}, ef_construction ${EXPANSION_ADD}`,
    effort: { name: 'ef', values: EFFORTS },
    serverPid: null,
    setEffort: async (ef) => index.setEf(ef),
    prepare: (vector, topK) => {
      const query = Array.from(vector);
      return async () => index.searchKnn(query, topK).neighbors;
    },
    close: async () => {},
  };
};
