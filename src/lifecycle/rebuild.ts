import { rm } from 'node:fs/promises';
import path from 'node:path';
import { SwitchyardError } from '../errors.js';
import { findBundleFolder } from '../index/bundle-folder.js';
import { DOCUMENTS_FILE } from '../index/file-names.js';
import type { Bundle } from '../index/manifest.js';
import { readBundle } from '../index/read-bundle.js';
import { splitArchiveUri } from './archive/archive-name.js';
import { restoreBundle } from './archive/restore-bundle.js';
import { openArchiveStore } from './archive/store.js';
import {
  type BuildParts,
  buildCorpus,
  type CorpusBuildRequest,
  type CorpusBuildResult,
} from './corpus-build.js';
import { versionTexts } from './source/version-texts.js';

/** Beside a version's bundles: what is fetched from an archive to be embedded anew. */
export const ARCHIVE_FOLDER = '.archive';

/** Where the documents of a new version come from. */
export type RebuildSource =
  | { readonly kind: 'file'; readonly file: string }
  /** The texts that a version's bundle keeps. `build`: digest or its prefix; null for the default one. */
  | { readonly kind: 'version'; readonly version: string; readonly build: string | null };

/** The texts that an archive keeps: `<place>/<corpus>/<version>/<build>`. */
export interface ArchivedTexts {
  readonly kind: 'archive';
  readonly uri: string;
}

export interface RebuildRequest extends Omit<CorpusBuildRequest, 'source' | 'sourceFile'> {
  readonly from: RebuildSource | ArchivedTexts;
}

/**
 * Brings a corpus version up: embeds its documents with a model, from checkpoint to checkpoint, and publishes and records
 * the build. The same request goes on where a killed one stopped. Errors: those of `buildCorpus`.
 */
export async function rebuildCorpus(request: RebuildRequest, parts: BuildParts): Promise<CorpusBuildResult> {
  const { from, ...build } = request;
  if (from.kind === 'file') return buildCorpus({ ...build, sourceFile: from.file }, parts);
  if (from.kind === 'archive') return fromArchive(from.uri, build, parts);
  const { corpus } = request;
  const { version } = from;
  const { digest, bundleUri } = await parts.records.findBuild({ corpus, version }, from.build);
  const place = { corpus, version, build: digest, bundleUri };
  const bundle = await readBundle(await findBundleFolder(parts.config.bundlesDir, place));
  return fromTexts(bundle, build, parts);
}

type Build = Omit<RebuildRequest, 'from'>;

function fromTexts(bundle: Bundle, build: Build, parts: BuildParts): Promise<CorpusBuildResult> {
  const { corpus, version, files } = bundle.manifest;
  if (files[DOCUMENTS_FILE] === undefined)
    throw new SwitchyardError(
      'INVALID_ARGUMENT',
      `${corpus}/${version} keeps no texts of its documents: embed them from their source`,
    );
  return buildCorpus({ ...build, source: versionTexts(bundle) }, parts);
}

/** What is archived is fetched beside the version that is built from it; a killed run does not fetch it again. */
async function fromArchive(uri: string, build: Build, parts: BuildParts): Promise<CorpusBuildResult> {
  const { config, signal } = parts;
  const { storeUri, name } = splitArchiveUri(uri);
  const fetched = path.join(config.bundlesDir, build.corpus, build.version, ARCHIVE_FOLDER);
  const store = await openArchiveStore(storeUri, config.archive.s3);
  try {
    const bundle = await readBundle(path.join(fetched, name)).catch(() =>
      restoreBundle({ store, name, sha256: null }, fetched, {}, signal),
    );
    const result = await fromTexts(bundle, build, parts);
    await rm(fetched, { recursive: true, force: true });
    return result;
  } finally {
    store.close();
  }
}
