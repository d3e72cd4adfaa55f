import type { Config } from '../../config/config.js';
import { SwitchyardError } from '../../errors.js';
import type { Registry } from '../../registry/registry.js';
import type { Logger } from '../../telemetry/log.js';
import { registryVersionRecords } from '../retire/records.js';
import { retireVersion } from '../retire/retire-version.js';
import type { RetirementStep } from '../retire/steps.js';
import type { RetireOutcome, RetireRequest, Work } from './ports.js';

/**
 * Retires versions that were migrated from, to the configured archive. What stands against one is logged when it is
 * another than before, since it may be asked for days.
 */
export function oldVersionRetirer(registry: Registry, config: Config, log: Logger) {
  const saidOf = new Map<string, string>();
  /** Errors: those of retiring but VERSION_IN_USE; INVALID_CONFIG where no place for archives is configured. */
  return async (
    { corpus, version, quietDays, during }: RetireRequest,
    { signal, onProgress }: Work,
  ): Promise<RetireOutcome> => {
    if (config.archive.uri === null)
      throw new SwitchyardError(
        'INVALID_CONFIG',
        `${corpus}/${version} is archived before it is deleted, and archive.uri names no place: set it for the gateways that drive, then resume; or abort, which ends the migration and keeps ${version}`,
      );
    const { corpusVersions } = registry;
    const author = { actor: 'migration', reason: `${corpus} has migrated from ${version}` };
    const steps: { readonly step: RetirementStep; readonly detail: string }[] = [];
    try {
      const archive = await retireVersion(
        { corpus, version, quietDays, to: null },
        {
          config,
          log,
          signal,
          records: {
            ...registryVersionRecords(registry, config.bundlesDir, author),
            // Behind this it is deleted: a command that nobody here noticed yet counts.
            markArchived: async (name) => {
              await corpusVersions.archive(name, author, during);
            },
          },
          onStep: (step, detail) => {
            steps.push({ step, detail });
            onProgress({ what: `${step}: ${detail}`, done: steps.length, total: 4, etaMs: null });
          },
        },
      );
      saidOf.delete(`${corpus}/${version}`);
      return { kind: 'retired', findings: { archive: archive.uri, sha256: archive.sha256, steps } };
    } catch (error) {
      if (!(error instanceof SwitchyardError) || error.reason !== 'VERSION_IN_USE') throw error;
      // Its message counts requests; who stands against it is what a log should say once.
      const { blockers = '' } = error.details;
      if (saidOf.get(`${corpus}/${version}`) !== blockers)
        log.warn({ corpus, version, blockers }, `the retirement of a migration waits: ${error.message}`);
      saidOf.set(`${corpus}/${version}`, String(blockers));
      return { kind: 'blocked', why: error.message };
    }
  };
}
