import { SwitchyardError } from '../../../errors.js';
import { findBundleFolder } from '../../../index/bundle-folder.js';
import { readBundle } from '../../../index/read-bundle.js';
import { verifyBundle } from '../../../index/verify-bundle.js';
import { digestPrefix } from '../../../vocabulary.js';
import type { MigrationPlan } from '../plan-schema.js';
import type { RunStep } from '../step.js';

/**
 * Every file of the new version's bundle is hashed once more, off this thread, and the version is frozen as it is: from
 * here on it takes no updates, and it is this build that is measured and gets weight.
 */
export const verifyIn =
  (bundlesDir: string): RunStep<'verify'> =>
  async ({ migration, registry, ports, step }) => {
    const { corpus, fromVersion, toVersion, state } = migration;
    const [fresh, old] = await Promise.all([
      registry.builds.get({ corpus, version: toVersion }, null),
      registry.builds.get({ corpus, version: fromVersion }, state.facts.from.build),
    ]);
    const folder = await findBundleFolder(bundlesDir, {
      corpus,
      version: toVersion,
      build: fresh.digest,
      bundleUri: fresh.bundleUri,
    });
    const bundle = await readBundle(folder);
    await verifyBundle(bundle);
    const { manifest } = bundle;
    const missing = old.rowCount === 0 ? 0 : 1 - fresh.rowCount / old.rowCount;
    const { missing_share_max, source_lag_documents_max } = step.options;
    if (missing > missing_share_max)
      throw new SwitchyardError(
        'STATUS_CONFLICT',
        `${corpus}/${toVersion} has ${fresh.rowCount} vectors, ${fromVersion} has ${old.rowCount}: ${(missing * 100).toFixed(1)} % fewer, at most ${missing_share_max * 100} % (missing_share_max)`,
      );
    const lag = await ports.sourceLag(sourceOf(migration.plan), manifest.source.watermark);
    if (lag !== null && source_lag_documents_max !== null && lag > source_lag_documents_max)
      throw lagging(corpus, toVersion, lag, source_lag_documents_max);
    return {
      kind: 'verified',
      verified: { build: fresh.digest, watermark: manifest.source.watermark },
      findings: {
        build: digestPrefix(fresh.digest),
        vectors: fresh.rowCount,
        vectors_before: old.rowCount,
        recall_at_10: fresh.recallAt10,
        watermark: manifest.source.watermark,
        source_lag_documents: lag,
      },
    };
  };

/** What the plan says the documents come from. */
export function sourceOf({ steps }: MigrationPlan): string | null {
  const build = steps.find(({ kind }) => kind === 'build');
  return build?.kind === 'build' ? build.options.source : null;
}

export const lagging = (corpus: string, version: string, lag: number, max: number): SwitchyardError =>
  new SwitchyardError(
    'STATUS_CONFLICT',
    `the source is ${lag} documents ahead of ${corpus}/${version}, at most ${max} may be missing (source_lag_documents_max): bring the version up to date, or raise the limit in another plan`,
  );
