import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Teardown } from '../fixtures/postgres.js';

const CLI = fileURLToPath(new URL('./cli-main.js', import.meta.url));

export interface GatewayProcess {
  readonly http: string;
  /** host:port */
  readonly grpc: string;
  readonly pid: number;
  readonly admin: string;
  readonly adminPort: number;
  /** host:port */
  readonly adminGrpc: string;
  /** What it wrote to its standard error until now. */
  said(): string;
  stop(): Promise<number | null>;
}

const environment = (more: Readonly<Record<string, string>>): Record<string, string> => ({
  PATH: process.env.PATH ?? '',
  HOME: process.env.HOME ?? '',
  // Builds that leave every core to other tests would never end.
  SWITCHYARD_REEMBED__NICENESS: '0',
  ...more,
});

/** `switchyard serve` as a process of its own, on free ports. */
export async function startGatewayProcess(
  t: Teardown,
  varDir: string,
  settings: Readonly<Record<string, string>> = {},
  flags: readonly string[] = [],
): Promise<GatewayProcess> {
  const child = spawn(process.execPath, [CLI, 'serve', '--var-dir', varDir, ...flags], {
    cwd: varDir,
    stdio: ['ignore', 'ignore', 'pipe'],
    env: environment({
      SWITCHYARD_LISTEN__GRPC__PORT: '0',
      SWITCHYARD_LISTEN__HTTP__PORT: '0',
      SWITCHYARD_LISTEN__ADMIN_HTTP__PORT: '0',
      SWITCHYARD_LISTEN__ADMIN_GRPC__PORT: '0',
      SWITCHYARD_ENCODER__THREADS: '1',
      SWITCHYARD_SEARCH__WORKERS: '1',
      SWITCHYARD_SHUTDOWN__DRAIN_MS: '1000',
      SWITCHYARD_LOG__LEVEL: 'error',
      ...settings,
    }),
  });
  const exited = once(child, 'exit') as Promise<[number | null]>;
  const stop = async (): Promise<number | null> => {
    child.kill('SIGTERM');
    const [code] = await exited;
    return code;
  };
  t.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) await stop();
  });
  let said = '';
  for await (const chunk of child.stderr.iterator({ destroyOnReturn: false })) {
    said += String(chunk);
    const serving =
      /serving: HTTP (\S+), gRPC ([^\s,]+), admin (http:\/\/\S+:(\d+)) and gRPC ([^\s;]+);/.exec(said);
    if (serving === null) continue;
    child.stderr.on('data', (more) => {
      said += String(more);
    });
    return {
      http: serving[1] ?? '',
      grpc: serving[2] ?? '',
      pid: child.pid ?? 0,
      admin: serving[3] ?? '',
      adminPort: Number(serving[4]),
      adminGrpc: serving[5] ?? '',
      said: () => said,
      stop,
    };
  }
  throw new Error(`the gateway did not begin to serve: ${said}`);
}

export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** One run of `switchyard`. */
export const switchyard = (varDir: string, ...args: readonly string[]): Promise<CommandResult> =>
  switchyardWith({}, varDir, ...args);

export const switchyardWith = (
  env: Readonly<Record<string, string>>,
  varDir: string,
  ...args: readonly string[]
): Promise<CommandResult> => runCommand(env, varDir, [...args, '--var-dir', varDir]);

/** With these words and no other, from this folder. */
export async function runCommand(
  env: Readonly<Record<string, string>>,
  cwd: string,
  words: readonly string[],
  input: string | null = null,
): Promise<CommandResult> {
  const child = spawn(process.execPath, [CLI, ...words], {
    cwd,
    stdio: ['pipe', 'pipe', 'pipe'],
    env: environment(env),
  });
  child.stdin.end(input ?? '');
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => {
    stdout += String(chunk);
  });
  child.stderr.on('data', (chunk) => {
    stderr += String(chunk);
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}
