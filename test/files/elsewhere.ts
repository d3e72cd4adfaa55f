import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Teardown } from '../fixtures/folders.js';
import { untilPrinted } from '../fixtures/product.js';

const MAIN = fileURLToPath(new URL('./elsewhere-main.js', import.meta.url));
const NAMESPACES = ['--pid', '--uts', '--mount-proc', '--fork', '--kill-child'];
const unshare = process.getuid?.() === 0 ? NAMESPACES : ['--user', '--map-root-user', ...NAMESPACES];

/** Whether this machine lets a test make pid namespaces, as containers have them. */
export const hasNamespaces = (): boolean => spawnSync('unshare', [...unshare, 'true']).status === 0;

export interface Elsewhere {
  readonly child: ChildProcess;
  kill(): Promise<void>;
}

/** A process with a pid namespace and a host name of its own, and so with pid 1, that owns things in a folder both see. */
export async function startElsewhere(t: Teardown, what: string, ...args: string[]): Promise<Elsewhere> {
  const command = 'hostname elsewhere; exec env -u NODE_OPTIONS "$@"';
  const child = spawn(
    'unshare',
    [...unshare, 'sh', '-c', command, 'sh', process.execPath, MAIN, what, ...args],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const ended = once(child, 'exit');
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  t.teardown(kill);
  await untilPrinted(child, 'stdout', /pid 1\n/);
  return { child, kill };
}
