import type { Config } from '../config/config.js';
import type { AdminApi } from '../gateway/admin/api.js';
import { AdminOperations } from '../gateway/admin/operations.js';
import { loadKeySecret } from '../gateway/auth/key-secret.js';
import type { Registry } from '../registry/registry.js';

/** The operations of a process that is no gateway. */
export const adminOn = (registry: Registry, config: Config): AdminApi =>
  new AdminOperations({
    registry: () => registry,
    facts: null,
    storage: config,
    keySecret: () => loadKeySecret(config.auth),
  });
