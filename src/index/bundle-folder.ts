import path from 'node:path';
import { pathOfFileUri } from '../files/file-uri.js';
import { realFolderInside } from '../files/inside.js';
import { type Digest, digestPrefix } from '../vocabulary.js';

/** Where a build is published: `<bundles>/<corpus>/<version>/<digest prefix>/`. */
export const bundleFolder = (
  bundlesFolder: string,
  corpus: string,
  version: string,
  digest: Digest,
): string => path.join(bundlesFolder, corpus, version, digestPrefix(digest));

/**
 * Where a recorded build lies, below `bundlesFolder` whatever links lead there. The digest-keyed place comes before the
 * recorded URI, so a moved checkout still finds its bundles. Errors: INVALID_ARGUMENT for a place outside, or on another
 * machine.
 */
export async function findBundleFolder(
  bundlesFolder: string,
  build: {
    readonly corpus: string;
    readonly version: string;
    readonly build: Digest;
    readonly bundleUri: string;
  },
): Promise<string> {
  const local = bundleFolder(bundlesFolder, build.corpus, build.version, build.build);
  const found = await realFolderInside(bundlesFolder, local);
  if (found !== null) return found;
  const { bundleUri } = build;
  const recorded = bundleUri.startsWith('file://') ? pathOfFileUri(bundleUri) : null;
  return (recorded === null ? null : await realFolderInside(bundlesFolder, recorded)) ?? local;
}
