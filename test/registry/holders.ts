import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { isAlive } from '../../src/files/process-identity.js';
import type { Teardown } from '../fixtures/postgres.js';

const MAIN = fileURLToPath(new URL('./holder-main.js', import.meta.url));

/** The first line that holder-main writes. */
export interface Opened {
  readonly opened: boolean;
  readonly uid?: number;
  readonly models?: number;
  readonly error?: string;
  readonly cause?: string;
}

export interface Holder {
  readonly child: ChildProcess;
  readonly opened: Promise<Opened>;
  /** Closes the registry as a gateway does, and waits for the process to end. */
  close(): Promise<void>;
  kill(signal: NodeJS.Signals): Promise<void>;
}

/** Another process with the embedded registry of `varDir` open, as `uid` when given. */
export function startHolder(t: Teardown, varDir: string, uid?: number): Holder {
  // As it ships: the test runner's own hooks, which it puts into NODE_OPTIONS, would write their notes into the
  // checkout, and another user may not.
  const child = spawn('env', ['-u', 'NODE_OPTIONS', process.execPath, MAIN, varDir], {
    stdio: ['pipe', 'pipe', 'inherit'],
    cwd: '/',
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  const ended = once(child, 'exit');
  const opened = once(createInterface({ input: child.stdout }), 'line').then(
    ([line]) => JSON.parse(String(line)) as Opened,
  );
  const holder: Holder = {
    child,
    opened,
    close: async () => {
      child.stdin.end();
      await ended;
    },
    kill: async (signal) => {
      child.kill(signal);
      await ended;
    },
  };
  t.teardown(() => holder.close());
  return holder;
}

const pidFile = (varDir: string): string => path.join(varDir, 'postgres', 'data', 'postmaster.pid');

/** The pid of the embedded server of this folder; null when none runs. */
export function serverPid(varDir: string): number | null {
  if (!existsSync(pidFile(varDir))) return null;
  const pid = Number(readFileSync(pidFile(varDir), 'utf8').split('\n')[0]);
  return isAlive(pid) ? pid : null;
}

export const serverSocketFolder = (varDir: string): string =>
  readFileSync(pidFile(varDir), 'utf8').split('\n')[4] ?? '';
