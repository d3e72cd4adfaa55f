import { type Command, InvalidArgumentError } from 'commander';
import type { Config, Listener } from '../config/config.js';
import { loadConfig } from '../config/load.js';
import { createLogger, type Logger } from '../telemetry/log.js';
import { createOutput, type Output } from './output.js';

/** Options that every command takes. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly config?: string;
  readonly varDir?: string;
  readonly grpcPort?: number;
  readonly httpPort?: number;
  readonly adminPort?: number;
  readonly adminGrpcPort?: number;
}

export function addCommonOptions(command: Command): Command {
  return command
    .option('--json', 'machine-readable answer on stdout')
    .option('-c, --config <file>', 'configuration file (default: config/switchyard.yaml where there is one)')
    .option('--var-dir <folder>', 'where models, bundles and the private registry lie (default: var)')
    .option('--grpc-port <port>', 'public gRPC port', wholeNumber)
    .option('--http-port <port>', 'public HTTP port', wholeNumber)
    .option('--admin-port <port>', 'admin HTTP port', wholeNumber)
    .option('--admin-grpc-port <port>', 'admin gRPC port', wholeNumber);
}

/** Defaults, file, environment, command line. Errors: INVALID_CONFIG. */
export function commandConfig(options: CommonOptions): Config {
  const overrides: Record<string, string | number> = {};
  if (options.varDir !== undefined) overrides.var_dir = options.varDir;
  if (options.grpcPort !== undefined) overrides['listen.grpc.port'] = options.grpcPort;
  if (options.httpPort !== undefined) overrides['listen.http.port'] = options.httpPort;
  if (options.adminPort !== undefined) overrides['listen.admin_http.port'] = options.adminPort;
  if (options.adminGrpcPort !== undefined) overrides['listen.admin_grpc.port'] = options.adminGrpcPort;
  return loadConfig({ file: options.config ?? null, env: process.env, cwd: process.cwd(), overrides });
}

export const commandOutput = (options: CommonOptions): Output => createOutput(options.json === true);

/** Commands other than `serve` speak to a person: their log holds only what went wrong. */
export const commandLog = (config: Config): Logger =>
  createLogger(config.log.level === 'info' ? 'warn' : config.log.level);

export const urlOf = (listener: Listener): string =>
  `http://${listener.host.includes(':') ? `[${listener.host}]` : listener.host}:${listener.port}`;

export function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('must be a whole number.');
  return Number(text);
}

export function positiveInteger(text: string): number {
  const value = wholeNumber(text);
  if (value < 1) throw new InvalidArgumentError('must be at least 1.');
  return value;
}
