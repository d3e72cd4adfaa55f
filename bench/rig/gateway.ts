import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { chmod, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { ModelFolder } from '../../src/encoder/manifest.js';
import type { Bundle } from '../../src/index/manifest.js';
import { registerModel } from '../../src/lifecycle/register-model.js';
import { packageRoot } from '../../src/package-root.js';
import { openRegistry } from '../../src/registry/registry.js';
import { createLogger } from '../../src/telemetry/log.js';
import { benchBundles } from '../data/built-bundle.js';
import { scrape, total } from './scraped.js';

const AUTHOR = { actor: 'bench', reason: 'a bench' } as const;
const START_MS_MAX = 120_000;
export const PROGRAM = path.join(packageRoot(), 'bin', 'switchyard');

/**
 * For benches that saturate a gateway on purpose, on machines that others use too: the overload limit is at work and
 * refuses nobody, and what is late is slow and not an error.
 */
export const PATIENT: Readonly<Record<string, string>> = {
  SWITCHYARD_OVERLOAD__QUEUE_MS_TARGET: '10000',
  SWITCHYARD_OVERLOAD__QUEUE_MS_MAX: '60000',
  SWITCHYARD_LIMITS__DEADLINE_MS_DEFAULT: '60000',
};

/** So many answers and embeddings never are in caches of the least size. */
const REMEMBERED_MAX = 1024;

/**
 * Both caches at work as shipped and of the least size: what is asked in turn has left them before it comes round again,
 * so a query pays for being looked up and remembered and is never answered from memory. None where there are too few
 * different queries for that.
 */
export const smallCaches = (queryCount: number): Readonly<Record<string, string>> =>
  queryCount > REMEMBERED_MAX
    ? {
        SWITCHYARD_CACHE__EMBEDDINGS__MEMORY_BYTES: '65536',
        SWITCHYARD_CACHE__RESULTS__MEMORY_BYTES: '65536',
      }
    : { SWITCHYARD_CACHE__EMBEDDINGS__ENABLED: 'false', SWITCHYARD_CACHE__RESULTS__ENABLED: 'false' };

/** Where a run begins among what the one before ended with, a few are. */
const REMEMBERED_SHARE_MAX = 0.01;

/** Errors: more than one query in a hundred was answered from memory after all. */
export async function assertWorked({ admin }: GatewayRig): Promise<void> {
  const samples = await scrape(admin);
  const hits = total(samples, 'switchyard_cache_hits_total');
  const misses = total(samples, 'switchyard_cache_misses_total');
  if (hits > REMEMBERED_SHARE_MAX * (hits + misses))
    throw new Error(
      `${hits} queries were answered from memory, ${misses} were not: work is what is measured`,
    );
}

/** What the program's first line asks of node: given by the benches themselves, since this very node and no other shall run it. */
export const ownNodeArguments = (): readonly string[] =>
  readFileSync(PROGRAM, 'utf8').split('\n', 1)[0]?.match(/--\S+/g) ?? [];

export interface RigTarget {
  readonly bundle: Bundle;
  readonly role: 'active' | 'shadow';
  /** Basis points of the served reads that a shadow gets a copy of. */
  readonly mirrorBps: number;
}

export interface RigOptions {
  readonly model: ModelFolder;
  readonly targets: readonly RigTarget[];
  readonly searchWorkers: number;
  /** Beside the bench's own. */
  readonly settings?: Readonly<Record<string, string>>;
  /** For node, before the program: `--cpu-prof` and the like. */
  readonly nodeArguments?: readonly string[];
}

export interface GatewayRig {
  readonly pid: number;
  readonly grpc: { readonly host: string; readonly port: number };
  /** URL of the admin HTTP API, which serves `/metrics`. */
  readonly admin: string;
  readonly varDir: string;
  close(): Promise<void>;
}

/**
 * `switchyard serve` as a user starts it, in a process of its own with a registry of its own, over bundles that were
 * built before. Everything it made is gone when it is closed.
 */
export async function startGatewayRig(options: RigOptions): Promise<GatewayRig> {
  const varDir = await mkdtemp(path.join(tmpdir(), 'switchyard-bench-'));
  // The private PostgreSQL runs as another user, who must reach its folder.
  await chmod(varDir, 0o755);
  const cleanUp = (): Promise<void> => rm(varDir, { recursive: true, force: true });
  try {
    await symlink(path.dirname(options.model.folder), path.join(varDir, 'models'));
    await symlink(benchBundles(), path.join(varDir, 'bundles'));
    await register(varDir, options);
    const gateway = await serve(varDir, options);
    return {
      ...gateway,
      close: async () => {
        await gateway.close();
        await cleanUp();
      },
    };
  } catch (error) {
    await cleanUp();
    throw error;
  }
}

async function register(varDir: string, { model, targets }: RigOptions): Promise<void> {
  const registry = await openRegistry({
    databaseUrl: null,
    varDir,
    log: createLogger('silent'),
    applicationName: 'switchyard-bench',
  });
  try {
    await registerModel(registry, model);
    for (const { bundle } of targets) {
      const { corpus, version } = bundle.manifest;
      const { fingerprint } = model.manifest;
      const storageUri = pathToFileURL(path.dirname(bundle.folder)).href;
      await registry.corpusVersions.begin({ corpus, version, fingerprint, storageUri });
      await registry.builds.record({ bundle, uri: pathToFileURL(bundle.folder).href });
    }
    const corpus = targets[0]?.bundle.manifest.corpus;
    if (corpus === undefined) throw new Error('a gateway without targets serves nothing');
    await registry.routes.change({
      corpus,
      targets: targets.map(({ bundle, role, mirrorBps }) => ({
        version: bundle.manifest.version,
        build: null,
        role,
        weightBps: role === 'active' ? 10_000 : 0,
        tier: 'dram',
        mirrorBps,
      })),
      expectedRevision: null,
      ...AUTHOR,
    });
  } finally {
    await registry.close();
  }
}

async function serve(
  varDir: string,
  { searchWorkers, settings = {}, nodeArguments = [] }: RigOptions,
): Promise<GatewayRig> {
  const { NODE_OPTIONS: _loader, ...environment } = process.env;
  const child = spawn(
    process.execPath,
    [...ownNodeArguments(), ...nodeArguments, PROGRAM, 'serve', '--var-dir', varDir],
    {
      cwd: varDir,
      stdio: ['ignore', 'ignore', 'pipe'],
      env: {
        ...environment,
        SWITCHYARD_LISTEN__GRPC__PORT: '0',
        SWITCHYARD_LISTEN__HTTP__PORT: '0',
        SWITCHYARD_LISTEN__ADMIN_HTTP__PORT: '0',
        SWITCHYARD_LISTEN__ADMIN_GRPC__PORT: '0',
        SWITCHYARD_ENCODER__THREADS: '1',
        SWITCHYARD_SEARCH__WORKERS: String(searchWorkers),
        SWITCHYARD_LOG__LEVEL: 'warn',
        ...settings,
      },
    },
  );
  const exited = once(child, 'exit');
  const close = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
    await exited;
  };
  try {
    const { grpc, admin } = await addresses(child);
    const colon = grpc.lastIndexOf(':');
    return {
      pid: child.pid as number,
      grpc: { host: grpc.slice(0, colon), port: Number(grpc.slice(colon + 1)) },
      admin,
      varDir,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function addresses(child: ChildProcess): Promise<{ grpc: string; admin: string }> {
  return new Promise((resolve, reject) => {
    let said = '';
    const late = setTimeout(
      () => reject(new Error(`the gateway does not serve after ${START_MS_MAX} ms: ${said}`)),
      START_MS_MAX,
    );
    child.stderr?.on('data', (chunk: Buffer) => {
      said = `${said}${chunk.toString('utf8')}`.slice(-4096);
      const serving = /serving: HTTP \S+, gRPC (\S+), admin (http:\/\/[^\s,;]+)/.exec(said);
      if (serving === null) return;
      clearTimeout(late);
      resolve({ grpc: serving[1] ?? '', admin: serving[2] ?? '' });
    });
    child.once('exit', (code) => {
      clearTimeout(late);
      reject(new Error(`the gateway ended with ${code}: ${said}`));
    });
  });
}
