import { realpath } from 'node:fs/promises';
import { userInfo } from 'node:os';
import type { Command } from 'commander';
import type { Config } from '../config/config.js';
import { SwitchyardError } from '../errors.js';
import type { AdminApi } from '../gateway/admin/api.js';
import type { Registry } from '../registry/registry.js';
import { type AccessOptions, clientAccess } from './client-access.js';
import { GatewayClient } from './gateway-client.js';
import { type CommonOptions, commandConfig, commandLog, urlOf } from './options.js';
import { remoteAdmin } from './remote-admin.js';

/** Options of every command that changes something. */
export interface ChangeOptions extends CommonOptions {
  readonly reason: string;
  readonly actor: string;
}

export const addChangeOptions = (command: Command): Command =>
  addActorOption(command.requiredOption('--reason <text>', 'why; kept in the audit'));

export const addActorOption = (command: Command): Command =>
  command.option('--actor <name>', 'who (default: your user name)', userName());

/**
 * While a gateway runs, commands are its clients; when none does, they go to the registry themselves, which `work` then is
 * given too.
 */
export async function withAdmin<T>(
  options: CommonOptions,
  work: (admin: AdminApi, registry: Registry | null) => Promise<T>,
): Promise<T> {
  const config: Config = commandConfig(options);
  const client = gatewayClient(config, options);
  if ((await client.getIfRunning('/livez')) !== null) return work(remoteAdmin(client), null);
  // PostgreSQL's client and the engines that verify files: only for who has no gateway to ask.
  return withOwnAdmin(config, work);
}

/** The operations over the registry itself. */
export async function withOwnAdmin<T>(
  config: Config,
  work: (admin: AdminApi, registry: Registry) => Promise<T>,
): Promise<T> {
  const [{ adminOn }, { withRegistry }] = await Promise.all([
    import('./own-admin.js'),
    import('./registry-session.js'),
  ]);
  return withRegistry(config, commandLog(config), (registry) => work(adminOn(registry, config), registry));
}

export const gatewayClient = (config: Config, access: AccessOptions = {}): GatewayClient =>
  new GatewayClient(urlOf(config.listen.adminHttp), clientAccess(access));

/** Whether one answers at the admin port. */
export const isGatewayRunning = async (config: Config, access: AccessOptions): Promise<boolean> =>
  (await gatewayClient(config, access).getIfRunning('/livez')) !== null;

/**
 * A gateway records only what lies in its own folders, so nothing is written elsewhere in vain.
 * Errors: INVALID_CONFIG, naming both places.
 */
export async function assertSharedStorage(admin: AdminApi, config: Config): Promise<void> {
  const { models_folder, bundles_folder } = await admin.getStorage();
  const pairs = [
    [config.modelsDir, models_folder],
    [config.bundlesDir, bundles_folder],
  ] as const;
  for (const [ours, theirs] of pairs) {
    if ((await placeOf(ours)) === (await placeOf(theirs))) continue;
    throw new SwitchyardError(
      'INVALID_CONFIG',
      `the running gateway keeps its files in ${theirs}, this command would write to ${ours}: give it the gateway's folder with --var-dir, or the port of another gateway with --admin-port`,
    );
  }
}

async function placeOf(folder: string): Promise<string> {
  try {
    return await realpath(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return folder;
    throw error;
  }
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return 'cli'; // a user without an entry, as in many containers
  }
}
