import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { packageRoot } from '../src/package-root.js';

export const SWITCHYARD = path.join(packageRoot(), 'bin', 'switchyard');

export interface ServingGateway {
  readonly http: string;
  readonly adminPort: number;
  /** Process of the encoder of a model; null where none is ready. */
  encoderPid(modelRef: string): number | null;
  stop(): Promise<void>;
}

/** `switchyard serve` in a process of its own, on free ports. */
export async function startServing(
  varDir: string,
  settings: Readonly<Record<string, string>>,
): Promise<ServingGateway> {
  const child = spawn(process.execPath, [SWITCHYARD, 'serve', '--var-dir', varDir], {
    cwd: packageRoot(),
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {
      ...process.env,
      SWITCHYARD_LISTEN__GRPC__PORT: '0',
      SWITCHYARD_LISTEN__HTTP__PORT: '0',
      SWITCHYARD_LISTEN__ADMIN_HTTP__PORT: '0',
      SWITCHYARD_LISTEN__ADMIN_GRPC__PORT: '0',
      ...settings,
    },
  });
  const pids = new Map<string, number>();
  const serving = new Promise<{ readonly http: string; readonly adminPort: number }>((resolve, reject) => {
    const said: string[] = [];
    createInterface({ input: child.stderr }).on('line', (line) => {
      said.push(line);
      if (said.length > 30) said.shift();
      const ready = readyEncoder(line);
      if (ready !== null) pids.set(ready.model, ready.pid);
      const [, http, adminPort] = /serving: HTTP (\S+), gRPC \S+, admin http:\/\/\S+:(\d+) /.exec(line) ?? [];
      if (http !== undefined) resolve({ http, adminPort: Number(adminPort) });
    });
    child.once('exit', (code) =>
      reject(new Error(`the gateway ended with ${code} before it served:\n${said.join('\n')}`)),
    );
  });
  return {
    ...(await serving),
    encoderPid: (modelRef) => pids.get(modelRef) ?? null,
    stop: () => stop(child),
  };
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
}

function readyEncoder(line: string): { readonly model: string; readonly pid: number } | null {
  if (!line.includes('encoder is ready')) return null;
  try {
    const { model, pid } = JSON.parse(line) as { readonly model?: unknown; readonly pid?: unknown };
    return typeof model === 'string' && typeof pid === 'number' ? { model, pid } : null;
  } catch {
    return null;
  }
}

export interface CommandEnd {
  readonly code: number | null;
  readonly stdout: string;
}

/** One command of the product, as an operator gives it. What it says on the way goes to `onLine`. */
export async function runCommand(
  words: readonly string[],
  onLine: (line: string) => void,
): Promise<CommandEnd> {
  const child = spawn(process.execPath, [SWITCHYARD, ...words], {
    cwd: packageRoot(),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString('utf8');
  });
  createInterface({ input: child.stderr }).on('line', onLine);
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout };
}

const STOPPED_MS = 1_500;
const RUNNING_MS = 100;

/** Stops a process fifteen sixteenths of the time, by SIGSTOP and SIGCONT, until it is told to end: an encoder that got slow. */
export class Pulses {
  readonly #pid: number;
  #timer: NodeJS.Timeout;

  constructor(pid: number) {
    this.#pid = pid;
    this.#timer = setTimeout(() => this.#pulse(true), 0);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#signal('SIGCONT');
  }

  #pulse(isStopping: boolean): void {
    this.#signal(isStopping ? 'SIGSTOP' : 'SIGCONT');
    this.#timer = setTimeout(() => this.#pulse(!isStopping), isStopping ? STOPPED_MS : RUNNING_MS);
  }

  #signal(signal: NodeJS.Signals): void {
    try {
      process.kill(this.#pid, signal);
    } catch {
      // It ended.
    }
  }
}
