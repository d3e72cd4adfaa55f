import { registryRecords } from '../../src/lifecycle/build-records.js';
import { type CorpusRebuildRequest, rebuildCorpusVersion } from '../../src/lifecycle/corpus-rebuild.js';
import type { Digest } from '../../src/vocabulary.js';
import { CORPUS, type Yard } from '../control/yard.js';
import { silentLog } from '../fixtures/postgres.js';

/** The same rows of a version as another build, recorded and not its default. */
export async function anotherBuild(
  { registry, config }: Yard,
  version: string,
  variant: CorpusRebuildRequest['variant'],
): Promise<Digest> {
  const { bundle } = await rebuildCorpusVersion(
    { corpus: CORPUS, version, build: null, variant },
    {
      config: config(),
      records: registryRecords(registry, config().bundlesDir),
      log: silentLog,
      events: { onCounted: () => {}, onDocuments: () => {}, onPhase: () => {} },
      signal: new AbortController().signal,
    },
  );
  return bundle.digest;
}
