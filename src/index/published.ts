import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { DIGEST_PREFIX_LENGTH } from '../vocabulary.js';
import { type BuildOptions, planBuild } from './build-options.js';
import type { Bundle } from './manifest.js';
import { readBundle } from './read-bundle.js';

const FOLDER = new RegExp(`^[0-9a-f]{${DIGEST_PREFIX_LENGTH}}$`);

/** A bundle of the same source in the same format, published before; null when there is none that opens. */
export async function findPublished(options: BuildOptions): Promise<Bundle | null> {
  const folder = path.resolve(options.bundlesFolder, options.corpus, options.version);
  for (const name of (await readdir(folder)).filter((entry) => FOLDER.test(entry))) {
    const bundle = await readBundle(path.join(folder, name)).catch(() => null);
    if (bundle !== null && isSameBuild(bundle, options)) return bundle;
  }
  return null;
}

function isSameBuild({ manifest }: Bundle, options: BuildOptions): boolean {
  const plan = planBuild(options);
  return (
    manifest.model.fingerprint === options.model.fingerprint &&
    manifest.source.sha256 === options.source.sha256 &&
    manifest.source.watermark === options.source.watermark &&
    manifest.document_template === options.documentTemplate &&
    manifest.text_normalisation === options.textNormalisation &&
    JSON.stringify(manifest.chunking) === JSON.stringify(options.chunking) &&
    manifest.quantization === plan.format.quantization &&
    manifest.dimensions === plan.dimensions &&
    manifest.connectivity === plan.connectivity &&
    manifest.expansion_add === plan.expansionAdd &&
    manifest.expansion_search === plan.expansionSearch &&
    manifest.rescore_factor === options.rescoreFactor
  );
}
