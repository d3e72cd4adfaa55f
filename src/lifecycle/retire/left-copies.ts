import type { Registry } from '../../registry/registry.js';
import type { Logger } from '../../telemetry/log.js';
import { deleteBundles } from './delete-bundles.js';

/**
 * Retiring a version deletes its bundles where that ran; gateways with a bundles folder of their own each hold a copy yet.
 * Deletes those that lie here: of versions that are archived, whose archive was verified and whose serving copy is noted
 * as deleted. What was written since then is a restore under way, and stays. Returns `<corpus>/<version>` of each.
 */
export async function deleteLeftCopies(
  { corpusVersions, archives, builds }: Registry,
  bundlesDir: string,
  log: Logger,
): Promise<readonly string[]> {
  const deleted: string[] = [];
  for (const { corpus, version, status } of await corpusVersions.list()) {
    if (status !== 'archived') continue;
    const name = { corpus, version };
    const gone = (await archives.list(name)).flatMap(({ verifiedAt, deletedAt, restoredAt }) =>
      verifiedAt === null || deletedAt === null || (restoredAt !== null && restoredAt > deletedAt)
        ? []
        : [deletedAt.getTime()],
    );
    if (gone.length === 0) continue;
    const digests = (await builds.list(name)).map(({ digest }) => digest);
    if ((await deleteBundles(bundlesDir, name, digests, Math.max(...gone))) === 0) continue;
    deleted.push(`${corpus}/${version}`);
    log.info(name, 'the copy of a retired version that lay here was deleted');
  }
  return deleted;
}
