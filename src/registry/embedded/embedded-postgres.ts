import { mkdir, realpath } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { SwitchyardError } from '../../errors.js';
import { asDiskError } from '../../files/publish.js';
import type { RegistryLog } from '../log.js';
import { installBinaries } from './binaries.js';
import { ensureDataFolder, SUPERUSER } from './data-folder.js';
import { type Hold, takeHold } from './hold.js';
import { findPostgresPackage } from './package.js';
import { logTail, type PostmasterPlace, startPostmaster, stopPostmaster } from './postmaster.js';
import { isPostmasterAlive, readPostmasterFile, removeStaleFile } from './postmaster-file.js';
import { chooseSocketFolder, makeSocketFolder, removeSocketFolder, SOCKET_PORT } from './runtime-folder.js';
import { chooseServerUser } from './server-user.js';
import { ServerUse } from './users.js';

const ACQUIRE_MS_MAX = 60_000;
const FAILED_STARTS_MAX = 20;
const RETRY_MS = 50;
const BACKOFF_MS_MIN = 100;
const BACKOFF_MS_MAX = 10_000;

export interface EmbeddedPostgres {
  /** Stays the same over restarts of the server. */
  readonly connection: pg.ClientConfig;
  /** Resolves when the server runs, restarting it now if it died. Errors: REGISTRY_UNAVAILABLE. */
  ensureRunning(): Promise<void>;
  /** Lets go of the server; whoever is the last one to let go stops it. */
  stop(): Promise<void>;
}

/**
 * A private PostgreSQL under `<varDir>/postgres`, shared by every Switchyard process of that folder: the first one
 * starts it, the others attach, the last one out stops it, and a server left behind by a kill -9 is attached to.
 * Each process holds the server by a shared advisory lock in a session of its own (see hold.ts); when that session
 * breaks, the server is attached to or started again, with backoff, for as long as this process runs.
 * Errors: REGISTRY_UNAVAILABLE, also while another container or host uses the folder (see users.ts).
 */
export async function startEmbeddedPostgres(options: {
  readonly varDir: string;
  readonly log: RegistryLog;
}): Promise<EmbeddedPostgres> {
  try {
    await mkdir(path.join(options.varDir, 'postgres'), { recursive: true });
    const varDir = await realpath(options.varDir);
    const use = await ServerUse.begin(varDir);
    try {
      const server = new SupervisedServer(await preparePlace(varDir), use, options.log);
      await server.ensureRunning();
      return server;
    } catch (error) {
      await use.end();
      throw error;
    }
  } catch (error) {
    const failure = asDiskError(error, options.varDir);
    if (failure instanceof SwitchyardError) throw failure;
    throw new SwitchyardError(
      'REGISTRY_UNAVAILABLE',
      `the embedded PostgreSQL cannot use ${options.varDir}: check that this user may write there, choose another var_dir, or set DATABASE_URL`,
      { cause: error },
    );
  }
}

async function preparePlace(varDir: string): Promise<PostmasterPlace> {
  const dataFolder = path.join(varDir, 'postgres', 'data');
  const source = await findPostgresPackage();
  const user = await chooseServerUser(dataFolder);
  const binaries = await installBinaries(source, varDir, user);
  await ensureDataFolder(dataFolder, binaries, source, user);
  return {
    dataFolder,
    binaries,
    socketFolder: await chooseSocketFolder(varDir, user),
    user,
    logFile: path.join(varDir, 'postgres', 'postgres.log'),
  };
}

class SupervisedServer implements EmbeddedPostgres {
  readonly connection: pg.ClientConfig;
  readonly #place: PostmasterPlace;
  readonly #use: ServerUse;
  readonly #log: RegistryLog;
  readonly #closing = new AbortController();
  #hold: Hold | null = null;
  #acquiring: Promise<void> | null = null;
  #supervising: Promise<void> | null = null;

  constructor(place: PostmasterPlace, use: ServerUse, log: RegistryLog) {
    this.#place = place;
    this.#use = use;
    this.#log = log;
    this.connection = {
      host: place.socketFolder,
      port: SOCKET_PORT,
      user: SUPERUSER,
      database: 'postgres',
      ssl: false,
    };
  }

  ensureRunning(): Promise<void> {
    if (this.#hold !== null) return Promise.resolve();
    this.#acquiring ??= this.#acquire().finally(() => {
      this.#acquiring = null;
    });
    return this.#acquiring;
  }

  async stop(): Promise<void> {
    this.#closing.abort();
    // A failed attempt to acquire was reported to whoever asked for it.
    await Promise.allSettled([this.#acquiring, this.#supervising]);
    const hold = this.#hold;
    this.#hold = null;
    if (hold !== null) {
      const isLast = await hold.release();
      if (isLast) await this.#stopServer();
      await hold.end();
    }
    await this.#use.end();
  }

  async #stopServer(): Promise<void> {
    const { dataFolder, socketFolder } = this.#place;
    if (await stopPostmaster(dataFolder)) await removeSocketFolder(socketFolder);
    else this.#log.warn({ dataFolder }, 'the embedded PostgreSQL did not stop');
  }

  async #acquire(): Promise<void> {
    const deadline = performance.now() + ACQUIRE_MS_MAX;
    let failedStarts = 0;
    while (performance.now() < deadline && !this.#closing.signal.aborted) {
      const hold = await this.#attach();
      if (hold !== null) {
        this.#hold = hold;
        return;
      }
      // A crashed server's last processes may hold the shared memory for a moment, so starting is tried again.
      if (!(await this.#startUnlessAlive()) && ++failedStarts >= FAILED_STARTS_MAX) break;
      await sleep(RETRY_MS);
    }
    if (this.#closing.signal.aborted)
      throw new SwitchyardError('REGISTRY_UNAVAILABLE', 'the embedded PostgreSQL is being closed');
    const file = await readPostmasterFile(this.#place.dataFolder);
    const why = file
      ? `a server (pid ${file.pid}) holds the data folder, and its socket in ${file.socketFolder} cannot be reached from here`
      : `its log ends with:\n${await logTail(this.#place.logFile)}`;
    throw new SwitchyardError(
      'REGISTRY_UNAVAILABLE',
      `the embedded PostgreSQL in ${path.dirname(this.#place.dataFolder)} does not start: ${why}`,
    );
  }

  async #attach(): Promise<Hold | null> {
    const file = await readPostmasterFile(this.#place.dataFolder);
    if (file === null || !file.ready) return null;
    if (file.socketFolder !== this.connection.host || file.port !== SOCKET_PORT) {
      if (!(await isPostmasterAlive(file))) return null;
      throw new SwitchyardError(
        'REGISTRY_UNAVAILABLE',
        `the embedded PostgreSQL of this var_dir runs with its socket in ${file.socketFolder}, expected ${this.connection.host}: end the processes that use it (pid ${file.pid}) and start again`,
      );
    }
    return takeHold(this.connection, () => this.#onLost());
  }

  /** True when a server is there or was started; false when one was started and ended at once. */
  async #startUnlessAlive(): Promise<boolean> {
    const { dataFolder } = this.#place;
    const file = await readPostmasterFile(dataFolder);
    if (file !== null) {
      if (await isPostmasterAlive(file)) return true; // starting, stopping or about to answer
      await removeStaleFile(file, dataFolder);
    }
    // Again each time: the last one out removed it, perhaps this moment.
    await makeSocketFolder(this.#place.socketFolder, this.#place.user);
    const started = await startPostmaster(this.#place);
    if (started) this.#log.info({ dataFolder }, 'embedded PostgreSQL started');
    return started;
  }

  #onLost(): void {
    this.#hold = null;
    if (this.#closing.signal.aborted || this.#supervising !== null) return;
    this.#log.warn({ dataFolder: this.#place.dataFolder }, 'embedded PostgreSQL lost; restarting it');
    this.#supervising = this.#supervise().finally(() => {
      this.#supervising = null;
    });
  }

  async #supervise(): Promise<void> {
    const { signal } = this.#closing;
    for (
      let backoffMs = BACKOFF_MS_MIN;
      !signal.aborted;
      backoffMs = Math.min(backoffMs * 2, BACKOFF_MS_MAX)
    ) {
      try {
        await this.ensureRunning();
        return;
      } catch (error) {
        if (!signal.aborted)
          this.#log.error({ err: error, retryInMs: backoffMs }, 'embedded PostgreSQL does not start');
      }
      await sleep(backoffMs, undefined, { signal, ref: false }).catch(() => undefined); // aborted: the loop ends
    }
  }
}
