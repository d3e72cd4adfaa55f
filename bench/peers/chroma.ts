import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SearchCorpus } from '../data/search-corpus.js';
import { freePort } from '../rig/redis.js';
import { CONNECTIVITY, EFFORTS, EXPANSION_ADD, type OpenPeer, rowArrays } from './peer.js';
import { versionIn } from './versions.js';

interface Collection {
  add(records: { readonly ids: string[]; readonly embeddings: number[][] }): Promise<void>;
  modify(change: {
    readonly configuration: { readonly hnsw: { readonly ef_search: number } };
  }): Promise<void>;
  query(question: {
    readonly queryEmbeddings: readonly number[][];
    readonly nResults: number;
    readonly include: readonly string[];
  }): Promise<{ readonly ids: readonly (readonly string[])[] }>;
}
interface Chroma {
  readonly ChromaClient: new (options: {
    readonly host: string;
    readonly port: number;
    readonly ssl: boolean;
  }) => {
    heartbeat(): Promise<unknown>;
    version(): Promise<string>;
    createCollection(options: Readonly<Record<string, unknown>>): Promise<Collection>;
    getCollection(options: { readonly name: string; readonly embeddingFunction: null }): Promise<Collection>;
  };
}

const ROWS_PER_WRITE = 500;
const START_MS_MAX = 120_000;
const SERVER = `
import sys, chromadb_rust_bindings
chromadb_rust_bindings.cli(['chroma', 'run', '--host', '127.0.0.1', '--port', sys.argv[1], '--path', sys.argv[2]])
`;

/** Chroma's own server (Rust), asked through its own client over HTTP. */
export const openChroma: OpenPeer = async ({ packages, python, data }, corpus) => {
  const { ChromaClient } = createRequire(path.join(packages, 'package.json'))('chromadb') as Chroma;
  const folder = path.join(data, 'db');
  const whole = path.join(data, 'whole');
  if (!existsSync(whole)) await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const port = await freePort();
  const client = new ChromaClient({ host: '127.0.0.1', port, ssl: false });
  const start = async (): Promise<ChildProcess> => {
    const server = spawn('python3', ['-c', SERVER, String(port), folder], {
      cwd: data,
      stdio: 'ignore',
      env: { ...process.env, PYTHONPATH: python, ANONYMIZED_TELEMETRY: 'False' },
    });
    await answering(client, server);
    return server;
  };
  const stop = async (server: ChildProcess): Promise<void> => {
    if (server.exitCode !== null || server.signalCode !== null) return;
    const exited = once(server, 'exit');
    server.kill('SIGKILL');
    await exited;
  };
  let server = await start();
  try {
    const isWhole = existsSync(whole);
    const collection = isWhole
      ? await client.getCollection({ name: 'rows', embeddingFunction: null })
      : await client.createCollection({
          name: 'rows',
          embeddingFunction: null,
          configuration: {
            hnsw: { space: 'cosine', max_neighbors: CONNECTIVITY, ef_construction: EXPANSION_ADD },
          },
        });
    if (!isWhole) {
      await fill(collection, corpus);
      await writeFile(whole, '');
    }
    return {
      product: `Chroma server ${await client.version()}, client chromadb ${versionIn(packages, 'chromadb')}`,
      index: `HNSW f32, max_neighbors ${CONNECTIVITY}, ef_construction ${EXPANSION_ADD}`,
      effort: { name: 'ef_search', values: EFFORTS },
      serverPid: () => server.pid as number,
      // It takes the value when it loads the index, and not before.
      setEffort: async (value) => {
        await collection.modify({ configuration: { hnsw: { ef_search: value } } });
        await stop(server);
        server = await start();
      },
      prepare: (vector, topK) => {
        const question = { queryEmbeddings: [Array.from(vector)], nResults: topK, include: [] };
        return async () => ((await collection.query(question)).ids[0] ?? []).map(Number);
      },
      close: () => stop(server),
    };
  } catch (error) {
    await stop(server);
    throw error;
  }
};

async function answering(client: InstanceType<Chroma['ChromaClient']>, server: ChildProcess): Promise<void> {
  const giveUpAtMs = performance.now() + START_MS_MAX;
  for (;;) {
    if (server.exitCode !== null) throw new Error(`the Chroma server ended with ${server.exitCode}`);
    if (performance.now() > giveUpAtMs) throw new Error('the Chroma server does not answer');
    try {
      await client.heartbeat();
      return;
    } catch {
      await sleep(50);
    }
  }
}

async function fill(collection: Collection, { rows, rowCount, dimensions }: SearchCorpus): Promise<void> {
  const values = rows();
  for (let first = 0; first < rowCount; first += ROWS_PER_WRITE) {
    const some = rowArrays(values, dimensions, first, Math.min(ROWS_PER_WRITE, rowCount - first));
    await collection.add({
      ids: some.map(({ row }) => String(row)),
      embeddings: some.map(({ vector }) => vector),
    });
  }
}
