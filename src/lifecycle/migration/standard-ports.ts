import path from 'node:path';
import type { Config } from '../../config/config.js';
import type { Registry } from '../../registry/registry.js';
import type { Logger } from '../../telemetry/log.js';
import type { VersionSearch } from '../evaluation/version-search.js';
import { removeWorkOf } from '../reembed/abandoned-work.js';
import { otherSource } from '../source/same-source.js';
import { sourceLag } from '../source/source-lag.js';
import { sourceFile } from '../source/sources-folder.js';
import { buildInChild } from './build/build-process.js';
import { lookAtGoldenSet } from './golden-look.js';
import type { MigrationPorts } from './ports.js';
import { writeReport } from './report/write-report.js';
import { oldVersionRetirer } from './retire-old.js';

export interface PortParts {
  readonly config: Config;
  /** The way of clients' searches, for golden sets. */
  readonly searchOf: (corpus: string) => VersionSearch;
  readonly worstMirrored: MigrationPorts['worstMirrored'];
  readonly log: Logger;
}

/** What a migration has others do, for whoever drives: a gateway, or a command. */
export const migrationPorts = (
  registry: Registry,
  { config, searchOf, worstMirrored, log }: PortParts,
): MigrationPorts => ({
  compareGolden: (request, work) => lookAtGoldenSet(registry, searchOf(request.corpus), request, work),
  build: (request, work) => buildInChild(registry, config, request, work),
  forgetWork: (built) => removeWorkOf(config.bundlesDir, built, log),
  sourceLag: documentsBehind(config.varDir),
  otherSource: async (source, built) => otherSource(await sourceFile(config.varDir, source), built),
  retire: oldVersionRetirer(registry, config, log),
  writeReport: (migration) => writeReport(registry, migration, path.join(config.varDir, 'reports')),
  worstMirrored,
});

export const documentsBehind =
  (varDir: string) =>
  async (source: string | null, watermark: string | null): Promise<number | null> => {
    if (source === null) return null;
    const lag = await sourceLag(await sourceFile(varDir, source), watermark);
    return lag.kind === 'frozen' ? null : lag.documentsBehind;
  };
