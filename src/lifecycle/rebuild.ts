import { SwitchyardError } from '../errors.js';
import { findBundleFolder } from '../index/bundle-folder.js';
import { DOCUMENTS_FILE } from '../index/file-names.js';
import { readBundle } from '../index/read-bundle.js';
import {
  type BuildParts,
  buildCorpus,
  type CorpusBuildRequest,
  type CorpusBuildResult,
} from './corpus-build.js';
import { versionTexts } from './source/version-texts.js';

/** Where the documents of a new version come from. */
export type RebuildSource =
  | { readonly kind: 'file'; readonly file: string }
  /** The texts that a version's bundle keeps. `build`: digest or its prefix; null for the default one. */
  | { readonly kind: 'version'; readonly version: string; readonly build: string | null };

export interface RebuildRequest extends Omit<CorpusBuildRequest, 'source' | 'sourceFile'> {
  readonly from: RebuildSource;
}

/**
 * Brings a corpus version up: embeds its documents with a model, from checkpoint to checkpoint, and publishes and records
 * the build. The same request goes on where a killed one stopped. Errors: those of `buildCorpus`.
 */
export async function rebuildCorpus(request: RebuildRequest, parts: BuildParts): Promise<CorpusBuildResult> {
  const { from, ...build } = request;
  if (from.kind === 'file') return buildCorpus({ ...build, sourceFile: from.file }, parts);
  const { corpus } = request;
  const { version } = from;
  const { digest, bundleUri } = await parts.records.findBuild({ corpus, version }, from.build);
  const place = { corpus, version, build: digest, bundleUri };
  const bundle = await readBundle(await findBundleFolder(parts.config.bundlesDir, place));
  if (bundle.manifest.files[DOCUMENTS_FILE] === undefined)
    throw new SwitchyardError(
      'INVALID_ARGUMENT',
      `${corpus}/${version} keeps no texts of its documents: embed them from their source`,
    );
  return buildCorpus({ ...build, source: versionTexts(bundle) }, parts);
}
