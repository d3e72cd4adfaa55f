import { SwitchyardError } from '../../../errors.js';
import { findBundleFolder } from '../../../index/bundle-folder.js';
import type { BundleManifest } from '../../../index/manifest.js';
import { readBundle } from '../../../index/read-bundle.js';
import { verifyBundle } from '../../../index/verify-bundle.js';
import { digestPrefix } from '../../../vocabulary.js';
import { allowedLag, feedOf } from '../lag-gate.js';
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
    // A document may be cut into another number of rows than before: what must not get lost is documents.
    const [documents, before] = [manifest.document_count, (old.manifest as BundleManifest).document_count];
    const missing = before === 0 ? 0 : 1 - documents / before;
    const { missing_share_max } = step.options;
    if (missing > missing_share_max)
      throw new SwitchyardError(
        'STATUS_CONFLICT',
        `${corpus}/${toVersion} has ${documents} documents, ${fromVersion} has ${before}: ${(missing * 100).toFixed(1)} % fewer, at most ${missing_share_max * 100} % (missing_share_max)`,
      );
    const { watermark, feed = null } = manifest.source;
    const verified = { build: fresh.digest, watermark, feed };
    const lag = await allowedLag(ports, migration, verified);
    return {
      kind: 'verified',
      verified,
      findings: {
        build: digestPrefix(fresh.digest),
        documents,
        documents_before: before,
        vectors: fresh.rowCount,
        vectors_before: old.rowCount,
        recall_at_10: fresh.recallAt10,
        watermark,
        feed: feedOf(migration.plan, verified),
        source_lag_documents: lag,
      },
    };
  };
