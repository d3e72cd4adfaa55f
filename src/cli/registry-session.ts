import type { Config } from '../config/config.js';
import { openRegistry, type Registry } from '../registry/registry.js';
import type { Logger } from '../telemetry/log.js';
import { untilStopped } from './until-stopped.js';

/** Runs `work` with the registry open (starting or joining the embedded PostgreSQL where that is configured), then lets go of it. */
export async function withRegistry<T>(
  config: Config,
  log: Logger,
  work: (registry: Registry) => Promise<T>,
): Promise<T> {
  // Ctrl-C must not leave the private PostgreSQL behind: what runs is short, or listens for the signal itself.
  const stopped = untilStopped();
  try {
    return await openAndWork(config, log, work);
  } finally {
    stopped.release();
  }
}

async function openAndWork<T>(
  config: Config,
  log: Logger,
  work: (registry: Registry) => Promise<T>,
): Promise<T> {
  const registry = await openRegistry({
    databaseUrl: config.databaseUrl,
    varDir: config.varDir,
    log,
    applicationName: 'switchyard-cli',
  });
  try {
    return await work(registry);
  } finally {
    await registry.close();
  }
}
