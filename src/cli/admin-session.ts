import { userInfo } from 'node:os';
import type { Command } from 'commander';
import type { Config } from '../config/config.js';
import type { AdminApi } from '../gateway/admin/api.js';
import { AdminOperations } from '../gateway/admin/operations.js';
import { GatewayClient } from './gateway-client.js';
import { type CommonOptions, commandConfig, commandLog, urlOf } from './options.js';
import { withRegistry } from './registry-session.js';
import { RemoteAdmin } from './remote-admin.js';

/** Options of every command that changes something. */
export interface ChangeOptions extends CommonOptions {
  readonly reason: string;
  readonly actor: string;
}

export const addChangeOptions = (command: Command): Command =>
  command
    .requiredOption('--reason <text>', 'why; kept in the audit')
    .option('--actor <name>', 'who (default: your user name)', userName());

/** While a gateway runs, commands are its clients; when none does, they go to the registry themselves. */
export async function withAdmin<T>(
  options: CommonOptions,
  work: (admin: AdminApi) => Promise<T>,
): Promise<T> {
  const config: Config = commandConfig(options);
  const client = new GatewayClient(urlOf(config.listen.adminHttp));
  if ((await client.getIfRunning('/livez')) !== null) return work(new RemoteAdmin(client));
  return withRegistry(config, commandLog(config), (registry) =>
    work(new AdminOperations({ registry: () => registry, facts: null })),
  );
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return 'cli'; // a user without an entry, as in many containers
  }
}
