import type { Config } from '../../config/config.js';
import { SwitchyardError } from '../../errors.js';
import type { Registry } from '../../registry/registry.js';
import type { Logger } from '../../telemetry/log.js';
import { registryVersionRecords } from '../retire/records.js';
import { retireVersion } from '../retire/retire-version.js';
import type { RetireOutcome, RetireRequest, Work } from './ports.js';

/** Retires the version that was migrated from, to the configured archive. Errors: those of retiring but VERSION_IN_USE. */
export async function retireOld(
  registry: Registry,
  config: Config,
  log: Logger,
  { corpus, version, quietDays }: RetireRequest,
  { signal, onProgress }: Work,
): Promise<RetireOutcome> {
  const author = { actor: 'migration', reason: `${corpus} has migrated from ${version}` };
  try {
    const archive = await retireVersion(
      { corpus, version, quietDays, to: null },
      {
        config,
        log,
        signal,
        records: registryVersionRecords(registry, config.bundlesDir, author),
        onStep: (step, detail) =>
          onProgress({ what: `${step}: ${detail}`, done: 0, total: null, etaMs: null }),
      },
    );
    return { kind: 'retired', findings: { archive: archive.uri, sha256: archive.sha256 } };
  } catch (error) {
    if (error instanceof SwitchyardError && error.reason === 'VERSION_IN_USE')
      return { kind: 'blocked', why: error.message };
    throw error;
  }
}
