import { type Command, InvalidArgumentError } from 'commander';
import type { Config, ListenerSettings } from '../config/config.js';
import { loadConfig } from '../config/load.js';
import { createLogger, type Logger } from '../telemetry/log.js';
import type { AccessOptions } from './client-access.js';
import { createOutput, type Output } from './output.js';

/** Options that every command takes. */
export interface CommonOptions extends AccessOptions {
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
    .option('--admin-grpc-port <port>', 'admin gRPC port', wholeNumber)
    .option(
      '--key-file <file>',
      'holds the API key for the gateway; -: standard input (or: SWITCHYARD_API_KEY)',
    )
    .option('--ca-file <file>', 'the authority of its certificate (or: SWITCHYARD_CA_FILE)');
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

/** Where a client of this machine reaches a listener. */
export function urlOf({ host, port, tls }: ListenerSettings): string {
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  return `${tls === null ? 'http' : 'https'}://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`;
}

export function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('must be a whole number.');
  return Number(text);
}

export function positiveInteger(text: string): number {
  const value = wholeNumber(text);
  if (value < 1) throw new InvalidArgumentError('must be at least 1.');
  return value;
}
