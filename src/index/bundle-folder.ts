import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Digest, digestPrefix } from '../vocabulary.js';

/** Where a build is published: `<bundles>/<corpus>/<version>/<digest prefix>/`. */
export const bundleFolder = (
  bundlesFolder: string,
  corpus: string,
  version: string,
  digest: Digest,
): string => path.join(bundlesFolder, corpus, version, digestPrefix(digest));

/** Where a recorded build lies. The digest-keyed place comes before the recorded URI, so a moved checkout still finds its bundles. */
export function findBundleFolder(
  bundlesFolder: string,
  build: {
    readonly corpus: string;
    readonly version: string;
    readonly build: Digest;
    readonly bundleUri: string;
  },
): string {
  const local = bundleFolder(bundlesFolder, build.corpus, build.version, build.build);
  if (existsSync(local) || !build.bundleUri.startsWith('file://')) return local;
  const recorded = fileURLToPath(build.bundleUri);
  return existsSync(recorded) ? recorded : local;
}
