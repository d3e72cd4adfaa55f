import { fork } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { providerProblem } from '../../src/encoder/providers.js';
import type { Device } from '../../src/vocabulary.js';

const ASK_MS_MAX = 120_000;
const GPUS = '/proc/driver/nvidia/gpus';

/**
 * Why a device cannot be had here; null when a process opened a graph on it and ran it. Needs no model. It is asked in a
 * process of its own, since a driver may take its process along.
 */
export function deviceProblem(device: Device): Promise<string | null> {
  const seen = providerProblem(device);
  if (seen !== null) return Promise.resolve(seen);
  const child = fork(fileURLToPath(new URL('./ask-device-main.js', import.meta.url)), [device], {
    execArgv: [],
    env: { ...process.env, NODE_OPTIONS: '' },
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    timeout: ASK_MS_MAX,
    killSignal: 'SIGKILL',
  });
  return new Promise((resolve, reject) => {
    let problem: string | null | undefined;
    child.on('message', (said: AskedDevice) => {
      problem = said.problem;
    });
    child.on('error', reject);
    child.on('close', (code, signal) =>
      resolve(problem === undefined ? `the runtime ended with ${signal ?? code} when it was asked` : problem),
    );
  });
}

/** What the asked process sends. */
export interface AskedDevice {
  readonly problem: string | null;
}

/** Names of the NVIDIA GPUs as their driver lists them; empty where there is none. */
export function gpuNames(folder = GPUS): readonly string[] {
  let gpus: readonly string[];
  try {
    gpus = readdirSync(folder).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return gpus.map((gpu) => {
    const information = readFileSync(path.join(folder, gpu, 'information'), 'utf8');
    return /^Model:\s*(.+?)\s*$/m.exec(information)?.[1] ?? `unnamed (${gpu})`;
  });
}
