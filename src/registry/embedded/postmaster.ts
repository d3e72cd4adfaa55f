import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile, rename, stat } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SERVER_ENVIRONMENT } from './binaries.js';
import { folderArgument } from './data-folder.js';
import { readPostmasterFile } from './postmaster-file.js';
import { SOCKET_PORT } from './runtime-folder.js';
import { runAs, type ServerUser } from './server-user.js';

const LOG_BYTES_MAX = 10 << 20;
const START_MS_MAX = 60_000;
const STOP_MS_MAX = 20_000;
const POLL_MS = 10;

/** A small server: some gateways and commands of one host, a few kilobytes of control state, and every commit on disk. */
const SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: '',
  port: String(SOCKET_PORT),
  unix_socket_permissions: '0700',
  max_connections: '60',
  shared_buffers: '16MB',
  min_wal_size: '16MB',
  max_wal_size: '128MB',
  wal_level: 'minimal',
  max_wal_senders: '0',
  max_parallel_workers: '0',
  io_method: 'sync', // PostgreSQL 18 would keep three I/O workers for a few kilobytes
  jit: 'off',
  fsync: 'on',
  synchronous_commit: 'on',
  full_page_writes: 'on',
  // Failed statements are the client's to report; their texts and values stay out of the file.
  log_min_messages: 'log',
  log_min_error_statement: 'panic',
  log_error_verbosity: 'terse',
  log_checkpoints: 'off',
};

export interface PostmasterPlace {
  readonly dataFolder: string;
  readonly binaries: string;
  readonly socketFolder: string;
  readonly user: ServerUser;
  readonly logFile: string;
}

/**
 * Starts the server in a session of its own, so a Ctrl-C in the terminal reaches the gateway and not its registry,
 * and waits until it accepts connections. False when it ended instead: another process was first, or it cannot start.
 */
export async function startPostmaster(place: PostmasterPlace): Promise<boolean> {
  await rotateLog(place.logFile);
  const log = await open(place.logFile, 'a', 0o600);
  let child: ChildProcess;
  try {
    child = spawn(
      path.join(place.binaries, 'bin', 'postgres'),
      [
        ...['-D', await folderArgument(place.user, place.dataFolder)],
        ...Object.entries(SETTINGS).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
        ...['-c', `unix_socket_directories="${place.socketFolder}"`],
      ],
      {
        ...runAs(place.user),
        cwd: place.dataFolder,
        env: SERVER_ENVIRONMENT,
        detached: true,
        stdio: ['ignore', log.fd, log.fd],
      },
    );
    await once(child, 'spawn');
  } finally {
    await log.close();
  }
  child.unref();
  const deadline = performance.now() + START_MS_MAX;
  while (child.exitCode === null && child.signalCode === null && performance.now() < deadline) {
    const file = await readPostmasterFile(place.dataFolder);
    if (file?.pid === child.pid && file?.ready) return true;
    await sleep(POLL_MS);
  }
  if (child.exitCode === null && child.signalCode === null) child.kill('SIGQUIT');
  return false;
}

/**
 * Stops the server: fast shutdown (it ends its sessions and writes a checkpoint), then immediate if that takes too long.
 * Waits for the removal of its pid file, not for the pid: where nobody reaps orphans the pid stays as a zombie.
 */
export async function stopPostmaster(dataFolder: string): Promise<boolean> {
  const file = await readPostmasterFile(dataFolder);
  if (file === null) return true;
  for (const signal of ['SIGINT', 'SIGQUIT'] as const) {
    try {
      process.kill(file.pid, signal);
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'ESRCH';
    }
    const deadline = performance.now() + STOP_MS_MAX;
    while (performance.now() < deadline) {
      if ((await readPostmasterFile(dataFolder))?.pid !== file.pid) return true;
      await sleep(POLL_MS);
    }
  }
  return false;
}

/** The last lines the server wrote: why it did not start. */
export async function logTail(logFile: string): Promise<string> {
  const text = await readFile(logFile, 'utf8').catch(() => '');
  return text.trimEnd().split('\n').slice(-5).join('\n');
}

async function rotateLog(logFile: string): Promise<void> {
  const size = await stat(logFile).then(
    ({ size }) => size,
    () => 0,
  );
  if (size > LOG_BYTES_MAX) await rename(logFile, `${logFile}.1`);
}
