import path from 'node:path';
import { type Digest, digestPrefix } from '../vocabulary.js';

/** Where a build is published: `<bundles>/<corpus>/<version>/<digest prefix>/`. */
export const bundleFolder = (
  bundlesFolder: string,
  corpus: string,
  version: string,
  digest: Digest,
): string => path.join(bundlesFolder, corpus, version, digestPrefix(digest));
