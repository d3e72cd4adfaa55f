import type { Config } from '../../config/config.js';
import { SwitchyardError } from '../../errors.js';
import { findBundleFolder } from '../../index/bundle-folder.js';
import type { Bundle } from '../../index/manifest.js';
import { readBundle } from '../../index/read-bundle.js';
import type { CorpusVersionName } from '../../registry/corpus-versions.js';
import type { Logger } from '../../telemetry/log.js';
import type { KnownBuild, VersionRecords } from '../retire/records.js';
import {
  type ArchiveEvents,
  archiveBundle,
  restoreBundle,
  splitArchiveUri,
  verifyArchiveIn,
  type WrittenArchive,
} from './archive.js';
import { openArchiveStore } from './store.js';

export interface ArchiveParts {
  readonly config: Config;
  readonly records: VersionRecords;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly events?: ArchiveEvents;
}

/** Where archives go: as asked for, else as configured. Errors: INVALID_ARGUMENT when neither says. */
export function archivePlace(to: string | null, { archive }: Config): string {
  const uri = to ?? archive.uri;
  if (uri !== null) return uri;
  throw new SwitchyardError(
    'INVALID_ARGUMENT',
    'where to archive is not said: --to <folder or s3://bucket/prefix>, or archive.uri in the configuration',
  );
}

/**
 * Writes the default build of a version to its archive and records it there. What is served goes on.
 * Errors: UNKNOWN_CORPUS(_VERSION), UNKNOWN_BUILD, CORRUPT_BUNDLE, ARCHIVE_UNAVAILABLE; the signal's reason.
 */
export async function archiveVersion(
  name: CorpusVersionName,
  to: string | null,
  parts: ArchiveParts,
): Promise<WrittenArchive> {
  const { config, records, events = {}, log, signal } = parts;
  const store = await openArchiveStore(archivePlace(to, config), config.archive.s3);
  try {
    const bundle = await defaultBundle(name, await records.builds(name), config.bundlesDir);
    const written = await archiveBundle(bundle, store, events, signal);
    const { uri, sha256 } = written;
    await records.recordArchive({ ...name, build: bundle.digest, uri, sha256 });
    log.info({ ...name, uri, bytes: written.bytes }, 'a corpus version was archived');
    return written;
  } finally {
    store.close();
  }
}

async function defaultBundle(
  { corpus, version }: CorpusVersionName,
  builds: readonly KnownBuild[],
  bundlesFolder: string,
): Promise<Bundle> {
  const build = builds.find(({ isDefault }) => isDefault);
  if (build === undefined)
    throw new SwitchyardError('UNKNOWN_BUILD', `${corpus}/${version} has no build that could be archived`);
  return readBundle(await findBundleFolder(bundlesFolder, { corpus, version, ...build }));
}

/**
 * Reads every byte of an archive where it lies. `sha256`: of the archive that was recorded; null to take any.
 * Errors: CORRUPT_ARCHIVE naming the file, ARCHIVE_UNAVAILABLE; the signal's reason.
 */
export async function verifyArchive(
  uri: string,
  sha256: string | null,
  { config, signal }: Pick<ArchiveParts, 'config' | 'signal'>,
): Promise<void> {
  const { storeUri, name } = splitArchiveUri(uri);
  const store = await openArchiveStore(storeUri, config.archive.s3);
  try {
    const found = await verifyArchiveIn(store, name, signal);
    if (sha256 !== null && found.sha256 !== sha256)
      throw new SwitchyardError(
        'CORRUPT_ARCHIVE',
        `archive.json of the archive ${uri} is not the one that was recorded: archive the version again`,
        { details: { file: 'archive.json', archive: uri } },
      );
  } finally {
    store.close();
  }
}

/**
 * Rebuilds the bundle of an archived version, to the byte, and makes the version ready again. `from`: an archive's
 * address; null for the latest that is recorded. Errors: UNKNOWN_ARCHIVE, CORRUPT_ARCHIVE, ARCHIVE_UNAVAILABLE,
 * UNKNOWN_MODEL, STATUS_CONFLICT; the signal's reason.
 */
export async function restoreVersion(
  { corpus, version }: CorpusVersionName,
  from: string | null,
  { config, records, events = {}, log, signal }: ArchiveParts,
): Promise<Bundle> {
  const uri = from ?? (await latestArchive({ corpus, version }, records));
  const { storeUri, name } = splitArchiveUri(uri);
  const store = await openArchiveStore(storeUri, config.archive.s3);
  try {
    if (!name.startsWith(`${corpus}/${version}/`))
      throw new SwitchyardError('INVALID_ARGUMENT', `${uri} is no archive of ${corpus}/${version}`);
    const bundle = await restoreBundle(store, name, config.bundlesDir, events, signal);
    await recordRestored(bundle, `${store.uri}/${name}`, records);
    log.info({ corpus, version, uri }, 'a corpus version was restored');
    return bundle;
  } finally {
    store.close();
  }
}

/** A version that the registry knows is ready again by it; one that it lost is begun and recorded anew. */
async function recordRestored(bundle: Bundle, uri: string, records: VersionRecords): Promise<void> {
  const { corpus, version, model, document_template, text_normalisation } = bundle.manifest;
  const name = { corpus, version };
  const status = await records.versionStatus(name).catch((error: unknown) => {
    const { reason } = error as Partial<SwitchyardError>;
    if (reason === 'UNKNOWN_CORPUS' || reason === 'UNKNOWN_CORPUS_VERSION') return null;
    throw error;
  });
  const isRecorded = (await records.archives(name)).some((archive) => archive.uri === uri);
  if (status === 'archived' && isRecorded) await records.noteArchive(uri, 'restored');
  if (status === null)
    await records.begin({
      ...name,
      fingerprint: model.fingerprint,
      documentTemplate: document_template,
      textNormalisation: text_normalisation,
    });
  await records.record(bundle);
}

async function latestArchive(name: CorpusVersionName, records: VersionRecords): Promise<string> {
  const [latest] = await records.archives(name);
  if (latest !== undefined) return latest.uri;
  throw new SwitchyardError(
    'UNKNOWN_ARCHIVE',
    `no archive of ${name.corpus}/${name.version} is recorded: name one with --from <place>/${name.corpus}/${name.version}/<build>`,
  );
}
