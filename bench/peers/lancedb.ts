import { existsSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { CONNECTIVITY, EFFORTS, EXPANSION_ADD, type OpenPeer, rowArrays } from './peer.js';
import { versionIn } from './versions.js';

interface LanceQuery {
  distanceType(type: 'cosine'): LanceQuery;
  ef(ef: number): LanceQuery;
  nprobes(count: number): LanceQuery;
  refineFactor(factor: number): LanceQuery;
  limit(count: number): LanceQuery;
  select(columns: readonly string[]): LanceQuery;
  toArray(): Promise<readonly { readonly row: number }[]>;
}
interface LanceTable {
  add(rows: readonly object[]): Promise<unknown>;
  createIndex(column: string, options: { readonly config: unknown }): Promise<void>;
  search(vector: Float32Array): LanceQuery;
}
interface LanceDb {
  connect(folder: string): Promise<{
    createTable(name: string, rows: readonly object[]): Promise<LanceTable>;
    openTable(name: string): Promise<LanceTable>;
  }>;
  readonly Index: { hnswSq(options: Readonly<Record<string, unknown>>): unknown };
}

const ROWS_PER_WRITE = 10_000;
/** Its graph holds scalar-quantized vectors: four times as many candidates are measured again at full precision. */
const REFINE_FACTOR = 4;

/** LanceDB in this process, with threads of its own. */
export const openLanceDb: OpenPeer = async ({ packages, data }, corpus) => {
  const lancedb = createRequire(path.join(packages, 'package.json'))('@lancedb/lancedb') as LanceDb;
  const folder = path.join(data, 'db');
  const whole = path.join(data, 'whole');
  if (!existsSync(whole)) {
    await rm(folder, { recursive: true, force: true });
    const db = await lancedb.connect(folder);
    const values = corpus.rows();
    let table: LanceTable | null = null;
    for (let first = 0; first < corpus.rowCount; first += ROWS_PER_WRITE) {
      const count = Math.min(ROWS_PER_WRITE, corpus.rowCount - first);
      const rows = rowArrays(values, corpus.dimensions, first, count);
      if (table === null) table = await db.createTable('rows', rows);
      else await table.add(rows);
    }
    await table?.createIndex('vector', {
      config: lancedb.Index.hnswSq({
        distanceType: 'cosine',
        numPartitions: 1,
        m: CONNECTIVITY,
        efConstruction: EXPANSION_ADD,
      }),
    });
    await writeFile(whole, '');
  }
  const table = await (await lancedb.connect(folder)).openTable('rows');
  let ef: number = EFFORTS[0];
  return {
    product: `LanceDB ${versionIn(packages, '@lancedb/lancedb')}`,
    index: `IVF_HNSW_SQ, 1 partition, m ${CONNECTIVITY}, ef_construction ${EXPANSION_ADD}, refine_factor ${REFINE_FACTOR}`,
    effort: { name: 'ef', values: EFFORTS.filter((value) => value >= 10 * REFINE_FACTOR) },
    serverPid: null,
    setEffort: async (value) => {
      ef = value;
    },
    prepare: (query, topK) => async () => {
      const found = await table
        .search(query)
        .distanceType('cosine')
        .nprobes(1)
        .ef(ef)
        .refineFactor(REFINE_FACTOR)
        .limit(topK)
        .select(['row', '_distance'])
        .toArray();
      return found.map(({ row }) => Number(row));
    },
    close: async () => {},
  };
};
