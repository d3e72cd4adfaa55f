import type { Config } from '../../config/config.js';
import { SwitchyardError } from '../../errors.js';
import { findBundleFolder } from '../../index/bundle-folder.js';
import type { Bundle } from '../../index/manifest.js';
import { readBundle } from '../../index/read-bundle.js';
import type { VersionArchive } from '../../registry/archives.js';
import type { CorpusVersionName } from '../../registry/corpus-versions.js';
import type { Logger } from '../../telemetry/log.js';
import type { KnownBuild, VersionRecords } from '../retire/records.js';
import { type ArchiveEvents, archiveBundle, type WrittenArchive } from './archive.js';
import { splitArchiveUri } from './archive-name.js';
import { verifyArchiveIn } from './read-archive.js';
import { restoreBundle } from './restore-bundle.js';
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
  readBack = false,
): Promise<WrittenArchive> {
  const { config, records, events = {}, log, signal } = parts;
  const store = await openArchiveStore(archivePlace(to, config), config.archive.s3);
  try {
    const bundle = await defaultBundle(name, await records.builds(name), config.bundlesDir);
    const written = await archiveBundle(bundle, store, events, signal, readBack);
    const { uri, sha256 } = written;
    await records.recordArchive({ ...name, build: bundle.digest, uri, sha256 });
    log.info({ ...name, uri, bytes: written.bytes }, 'a corpus version was archived');
    return written;
  } finally {
    store.close();
  }
}

/**
 * Archives a version, reads every byte back, and notes that. What is damaged there is sent anew: a place that is asked what
 * it holds says what it was given. `onArchived`: before it is read back. Errors: those of `archiveVersion`, CORRUPT_ARCHIVE.
 */
export async function archiveVerified(
  name: CorpusVersionName,
  to: string | null,
  parts: ArchiveParts,
  onArchived: (written: WrittenArchive) => void = () => undefined,
): Promise<WrittenArchive> {
  const written = await archiveVersion(name, to, parts);
  const { uri, sha256 } = written;
  onArchived(written);
  try {
    await verifyArchive(uri, sha256, parts);
  } catch (error) {
    if (!(error instanceof SwitchyardError) || error.reason !== 'CORRUPT_ARCHIVE') throw error;
    parts.log.warn({ ...name, uri, err: error }, 'an archive is damaged: what is not as it was is sent anew');
    await archiveVersion(name, to, parts, true);
    await verifyArchive(uri, sha256, parts);
  }
  await parts.records.noteArchive(uri, 'verified');
  return written;
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

/** Reads every byte of the archive that was recorded, where it lies. Errors: CORRUPT_ARCHIVE, ARCHIVE_UNAVAILABLE. */
export async function verifyArchive(
  uri: string,
  sha256: string,
  { config, signal }: Pick<ArchiveParts, 'config' | 'signal'>,
): Promise<void> {
  const { storeUri, name } = splitArchiveUri(uri);
  const store = await openArchiveStore(storeUri, config.archive.s3);
  try {
    await verifyArchiveIn({ store, name, sha256 }, signal);
  } finally {
    store.close();
  }
}

/**
 * Rebuilds the bundle of an archived version, to the byte, and makes the version ready again. `from`: an archive's
 * address; null for the latest that is recorded. A recorded archive must be the one that was recorded.
 * Errors: UNKNOWN_ARCHIVE, CORRUPT_ARCHIVE, ARCHIVE_UNAVAILABLE, UNKNOWN_MODEL, STATUS_CONFLICT; the signal's reason.
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
    const recorded = await recordedArchive({ corpus, version }, `${store.uri}/${name}`, records);
    const place = { store, name, sha256: recorded?.sha256 ?? null };
    const bundle = await restoreBundle(place, config.bundlesDir, events, signal);
    await recordRestored(bundle, recorded, records);
    log.info({ corpus, version, uri }, 'a corpus version was restored');
    return bundle;
  } finally {
    store.close();
  }
}

/** A version that the registry knows is ready again by it; one that it lost is begun and recorded anew. */
async function recordRestored(
  bundle: Bundle,
  archive: VersionArchive | null,
  records: VersionRecords,
): Promise<void> {
  const { corpus, version, model, document_template, text_normalisation } = bundle.manifest;
  const name = { corpus, version };
  const status = await records.versionStatus(name).catch((error: unknown) => {
    const { reason } = error as Partial<SwitchyardError>;
    if (reason === 'UNKNOWN_CORPUS' || reason === 'UNKNOWN_CORPUS_VERSION') return null;
    throw error;
  });
  if (status === 'archived' && archive !== null) await records.noteArchive(archive.uri, 'restored');
  if (status === null)
    await records.begin({
      ...name,
      fingerprint: model.fingerprint,
      documentTemplate: document_template,
      textNormalisation: text_normalisation,
    });
  await records.record(bundle);
}

const recordedArchive = async (
  name: CorpusVersionName,
  uri: string,
  records: VersionRecords,
): Promise<VersionArchive | null> =>
  (await records.archives(name)).find((archive) => archive.uri === uri) ?? null;

async function latestArchive(name: CorpusVersionName, records: VersionRecords): Promise<string> {
  const [latest] = await records.archives(name);
  if (latest !== undefined) return latest.uri;
  throw new SwitchyardError(
    'UNKNOWN_ARCHIVE',
    `no archive of ${name.corpus}/${name.version} is recorded: name one with --from <place>/${name.corpus}/${name.version}/<build>`,
  );
}
