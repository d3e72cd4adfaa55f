import { rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { realFolderInside } from '../../files/inside.js';
import { doomedName, reapTemporaryFolders } from '../../files/publish.js';
import { bundleFolder } from '../../index/bundle-folder.js';
import type { CorpusVersionName } from '../../registry/corpus-versions.js';
import type { Digest } from '../../vocabulary.js';

/**
 * Deletes what lies here of a version's builds: what is not archived can be made again from what is. Renamed first, so
 * none is half there. `writtenBeforeMs`: none that was written since. How many were there.
 */
export async function deleteBundles(
  bundlesDir: string,
  { corpus, version }: CorpusVersionName,
  builds: readonly Digest[],
  writtenBeforeMs = Number.POSITIVE_INFINITY,
): Promise<number> {
  const folder = path.join(bundlesDir, corpus, version);
  let deleted = 0;
  for (const build of builds) {
    const bundle = await realFolderInside(bundlesDir, bundleFolder(bundlesDir, corpus, version, build));
    if (bundle === null || (await stat(bundle)).mtimeMs >= writtenBeforeMs) continue;
    const doomed = doomedName(folder);
    try {
      await rename(bundle, doomed);
      deleted++;
    } catch (error) {
      // Another run of the same was quicker.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
    await rm(doomed, { recursive: true, force: true });
  }
  await reapTemporaryFolders(folder);
  return deleted;
}
