import { buildBundle } from '../index/build-bundle.js';
import { findBundleFolder } from '../index/bundle-folder.js';
import { DOCUMENTS_FILE, PROVENANCE_FILE } from '../index/file-names.js';
import type { Bundle, BundleManifest } from '../index/manifest.js';
import { readBundle } from '../index/read-bundle.js';
import { storedRows } from '../index/stored-rows.js';
import {
  announcePhase,
  type BuildParts,
  type CorpusBuildResult,
  type IndexFormat,
  indexOptions,
} from './corpus-build.js';

export interface CorpusRebuildRequest {
  readonly corpus: string;
  readonly version: string;
  /** Build whose vectors are taken: digest or its first characters; null for the default one. */
  readonly build: string | null;
  readonly variant:
    | { readonly kind: 'format'; readonly format: IndexFormat }
    /** The same format, its documents inserted in another order: the noise floor of comparisons. */
    | { readonly kind: 'shuffled'; readonly seed: number };
}

/** The bundle of a recorded build. Errors: UNKNOWN_CORPUS(_VERSION), UNKNOWN_BUILD, CORRUPT_BUNDLE. */
export async function recordedBundle(
  { corpus, version, build }: Pick<CorpusRebuildRequest, 'corpus' | 'version' | 'build'>,
  { config, records }: Pick<BuildParts, 'config' | 'records'>,
): Promise<Bundle> {
  const { digest, bundleUri } = await records.findBuild({ corpus, version }, build);
  const recorded = { corpus, version, build: digest, bundleUri };
  return readBundle(await findBundleFolder(config.bundlesDir, recorded));
}

/**
 * One more build of a corpus version in another format or order, from the whole vectors that its builds keep: nothing is
 * read or embedded again, so it is the same rows of the same model and source. The default build stays what it is.
 * Errors: those of `recordedBundle` and `buildBundle`; STATUS_CONFLICT for an archived version.
 */
export async function rebuildCorpusVersion(
  request: CorpusRebuildRequest,
  parts: BuildParts,
): Promise<CorpusBuildResult> {
  const { config, records, events, signal, yields = false } = parts;
  const { variant } = request;
  const from = await recordedBundle(request, parts);
  const { manifest } = from;
  events.onCounted(manifest.row_count);
  const bundle = await buildBundle(
    {
      bundlesFolder: config.bundlesDir,
      corpus: manifest.corpus,
      version: manifest.version,
      model: manifest.model,
      dimensions: manifest.full_dimensions,
      metric: manifest.metric,
      connectivity: manifest.connectivity,
      expansionAdd: manifest.expansion_add,
      ...indexOptions(variant.kind === 'format' ? variant.format : formatOf(manifest)),
      documentTemplate: manifest.document_template,
      textNormalisation: manifest.text_normalisation,
      ...(manifest.chunking === undefined ? {} : { chunking: manifest.chunking }),
      storeDocuments: manifest.files[DOCUMENTS_FILE] !== undefined,
      storeProvenance: manifest.files[PROVENANCE_FILE] !== undefined,
      truncatedShareMax: 1,
      truncatedCount: manifest.truncated_count,
      ...(yields ? { threads: config.reembed.threadsBeside } : {}),
      source: manifest.source,
      onProgress: ({ phase }) => announcePhase(phase, events),
      signal,
    },
    storedRows(from, {
      signal,
      onRows: (done) => events.onDocuments(done),
      ...(variant.kind === 'shuffled' ? { shuffleSeed: variant.seed } : {}),
    }),
  );
  await records.record(bundle);
  return { bundle, routed: false, embedding: null };
}

const formatOf = (manifest: BundleManifest): IndexFormat => ({
  quantization: manifest.quantization,
  expansionSearch: manifest.expansion_search,
  ...(manifest.dimensions === manifest.full_dimensions ? {} : { indexDimensions: manifest.dimensions }),
  ...(manifest.rescore_factor === undefined ? {} : { rescoreFactor: manifest.rescore_factor }),
});
