import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { registerModel } from '../../src/lifecycle/register-model.js';
import { packageRoot } from '../../src/package-root.js';
import { openRegistry } from '../../src/registry/registry.js';
import { createLogger } from '../../src/telemetry/log.js';
import { processTree } from '../load/process-cpu.js';
import type { Teardown } from '../rig/folders.js';
import { type GivenServer, packageBinaries, startGivenServer } from '../rig/given-server.js';
import { freePort, startRedis, type TestRedis } from '../rig/redis.js';
import { type ChaosCorpus, chaosCorpus } from './corpus.js';
import { CORPUS } from './load.js';
import { SilentProxy } from './silent-proxy.js';
import { mountMemory, unmount } from './small-disks.js';

const BIN = path.join(packageRoot(), 'bin', 'switchyard');
const START_MS_MAX = 180_000;
const AUTHOR = { actor: 'bench', reason: 'chaos' } as const;
const run = promisify(execFile);

export interface ChaosRig {
  readonly varDir: string;
  /** Where tier dram keeps its copies: a tmpfs of a few kilobytes; null where none can be mounted. */
  readonly memoryFolder: string | null;
  readonly corpus: ChaosCorpus;
  readonly postgres: GivenServer;
  readonly postgresProxy: SilentProxy;
  readonly redis: TestRedis;
  readonly redisProxy: SilentProxy;
  readonly gateway: SupervisedGateway;
  readonly address: { readonly grpc: string; readonly http: string; readonly admin: string };
  /** A command of the product against this gateway; resolves with its exit code and what it said. */
  switchyard(args: readonly string[]): Promise<{ readonly code: number; readonly text: string }>;
  close(): Promise<void>;
}

/** `switchyard serve --supervise`, and the processes below it. */
export class SupervisedGateway {
  readonly #start: () => ChildProcess;
  readonly #isServing: () => Promise<boolean>;
  #supervisor: ChildProcess | null = null;

  constructor(start: () => ChildProcess, isServing: () => Promise<boolean>) {
    this.#start = start;
    this.#isServing = isServing;
  }

  async start(): Promise<void> {
    const supervisor = this.#start();
    this.#supervisor = supervisor;
    for (let waited = 0; !(await this.#isServing()); waited += 100) {
      if (waited > START_MS_MAX || supervisor.exitCode !== null)
        throw new Error('the gateway of the bench does not serve');
      await sleep(100);
    }
  }

  /** Processes below the supervisor whose command line has `part`. */
  pids(part: string): readonly number[] {
    const pid = this.#supervisor?.pid;
    return pid === undefined
      ? []
      : processTree(pid).filter((one) => one !== pid && commandOf(one).includes(part));
  }

  get pid(): number {
    const [pid] = this.pids(PROCESSES.gateway);
    if (pid === undefined) throw new Error('the gateway is not running');
    return pid;
  }

  signal(part: string, name: NodeJS.Signals, count = Number.POSITIVE_INFINITY): void {
    const pids = this.pids(part).slice(0, count);
    if (pids.length === 0) throw new Error(`there is no process of ${part} to send ${name}`);
    for (const pid of pids) process.kill(pid, name);
  }

  /** As an operator ends it: drained, and its supervisor with it. */
  async stop(): Promise<void> {
    const supervisor = this.#supervisor;
    if (supervisor === null || supervisor.exitCode !== null) return;
    const exited = once(supervisor, 'exit');
    supervisor.kill('SIGTERM');
    await exited;
  }
}

export const PROCESSES = {
  gateway: 'bin/switchyard serve',
  encoder: 'encoder/child-main',
  shadow: 'index/process/child-main',
} as const;

/** A gateway over a real PostgreSQL and a real Redis, each behind a proxy that can go silent. */
export async function openChaosRig(plan: Parameters<typeof chaosCorpus>[1]): Promise<ChaosRig> {
  const closers: (() => Promise<void> | void)[] = [];
  const t: Teardown = { teardown: (close) => void closers.push(close) };
  const close = async (): Promise<void> => {
    for (const end of closers.splice(0).reverse()) await end();
  };
  // Nothing of it may outlive a bench that is interrupted: mounts and servers least of all.
  const interrupted = (): void => void close().finally(() => process.exit(130));
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
  t.teardown(() => {
    process.off('SIGINT', interrupted).off('SIGTERM', interrupted);
  });
  try {
    const varDir = await mkdtemp(path.join(tmpdir(), 'switchyard-chaos-'));
    await chmod(varDir, 0o755);
    t.teardown(() => rm(varDir, { recursive: true, force: true }));
    const bundlesFolder = path.join(varDir, 'bundles');
    await mkdir(bundlesFolder);
    const memoryFolder = await mountMemory(varDir);
    if (memoryFolder !== null) t.teardown(() => unmount(memoryFolder));
    const [corpus, postgres, redis] = await Promise.all([
      chaosCorpus(bundlesFolder, plan),
      packageBinaries(t).then((binaries) => startGivenServer(t, binaries)),
      startRedis(t),
    ]);
    await symlink(corpus.modelsFolder, path.join(varDir, 'models'));
    const postgresProxy = await SilentProxy.open(postgres.port);
    t.teardown(() => postgresProxy.close());
    const redisProxy = await SilentProxy.open(redis.port);
    t.teardown(() => redisProxy.close());
    await register(varDir, postgres.url(), corpus);

    const [grpc, http, admin, adminGrpc] = [
      await freePort(),
      await freePort(),
      await freePort(),
      await freePort(),
    ];
    const databaseUrl = postgres.url().replace(`:${postgres.port}/`, `:${postgresProxy.port}/`);
    const { NODE_OPTIONS: _loader, ...environment } = process.env;
    const env = {
      ...environment,
      NODE_OPTIONS: `--import=${pathToFileURL(fileURLToPath(new URL('./jumping-clock.js', import.meta.url))).href}`,
      DATABASE_URL: databaseUrl,
      SWITCHYARD_VAR_DIR: varDir,
      SWITCHYARD_LISTEN__GRPC__PORT: String(grpc),
      SWITCHYARD_LISTEN__HTTP__PORT: String(http),
      SWITCHYARD_LISTEN__ADMIN_HTTP__PORT: String(admin),
      SWITCHYARD_LISTEN__ADMIN_GRPC__PORT: String(adminGrpc),
      SWITCHYARD_ENCODER__THREADS: '1',
      SWITCHYARD_SEARCH__WORKERS: '2',
      SWITCHYARD_SEARCH__SSD_WORKERS: '2',
      SWITCHYARD_CACHE__REDIS__URL: `redis://127.0.0.1:${redisProxy.port}`,
      // So little is remembered in the process that Redis is asked all the time.
      SWITCHYARD_CACHE__RESULTS__MEMORY_BYTES: '65536',
      SWITCHYARD_CACHE__EMBEDDINGS__MEMORY_BYTES: '65536',
      // What stands still is found out soon, so that a fault need not be held for long.
      SWITCHYARD_ROUTER__POLL_INTERVAL_MS: '250',
      SWITCHYARD_MIRROR__DEADLINE_MS: '500',
      SWITCHYARD_LOG__LEVEL: 'error',
      ...(memoryFolder === null ? {} : { SWITCHYARD_TIERS__MEMORY_DIR: memoryFolder }),
    };
    const address = {
      grpc: `127.0.0.1:${grpc}`,
      http: `http://127.0.0.1:${http}`,
      admin: `http://127.0.0.1:${admin}`,
    };
    const gateway = new SupervisedGateway(
      () =>
        spawn(process.execPath, [BIN, 'serve', '--supervise'], {
          cwd: varDir,
          env,
          stdio: ['ignore', 'ignore', process.env.CHAOS_LOG === undefined ? 'ignore' : 'inherit'],
        }),
      async () => {
        try {
          return (await fetch(`${address.http}/readyz`)).ok;
        } catch {
          return false;
        }
      },
    );
    t.teardown(() => gateway.stop());
    await gateway.start();
    return {
      varDir,
      memoryFolder,
      corpus,
      postgres,
      postgresProxy,
      redis,
      redisProxy,
      gateway,
      address,
      switchyard: async (args) => {
        try {
          const { stdout, stderr } = await run(process.execPath, [BIN, ...args], { cwd: varDir, env });
          return { code: 0, text: stdout + stderr };
        } catch (error) {
          const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
          return { code, text: stdout + stderr };
        }
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function register(varDir: string, databaseUrl: string, corpus: ChaosCorpus): Promise<void> {
  const registry = await openRegistry({
    databaseUrl,
    varDir,
    log: createLogger('silent'),
    applicationName: 'switchyard-bench',
  });
  try {
    const { v1, v1b, v2, v3 } = corpus.builds;
    for (const { model } of [v1, v2]) await registerModel(registry, model);
    for (const { bundle, model } of [v1, v1b, v2, v3]) {
      const { version } = bundle.manifest;
      const { fingerprint } = model.manifest;
      const storageUri = pathToFileURL(path.dirname(bundle.folder)).href;
      await registry.corpusVersions.begin({ corpus: CORPUS, version, fingerprint, storageUri });
      await registry.builds.record({ bundle, uri: pathToFileURL(bundle.folder).href });
    }
    const active = { role: 'active', tier: 'ssd', mirrorBps: 0 } as const;
    await registry.routes.change({
      corpus: CORPUS,
      targets: [
        { ...active, version: 'v1', build: v1.bundle.digest, weightBps: 3_000 },
        { ...active, version: 'v1', build: v1b.bundle.digest, weightBps: 3_000 },
        { ...active, version: 'v2', build: v2.bundle.digest, weightBps: 4_000 },
        {
          role: 'shadow',
          version: 'v3',
          build: v3.bundle.digest,
          weightBps: 0,
          tier: 'ssd',
          mirrorBps: 10_000,
        },
      ],
      expectedRevision: null,
      ...AUTHOR,
    });
  } finally {
    await registry.close();
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    // It ended while we looked.
    return '';
  }
}
