import { setTimeout as sleep } from 'node:timers/promises';
import { SwitchyardError } from '../../errors.js';
import type { VersionArchive } from '../../registry/archives.js';
import type { CorpusVersionName } from '../../registry/corpus-versions.js';
import { type ArchiveParts, archivePlace, archiveVerified } from '../archive/archive-version.js';
import { assertRetirable } from './blockers.js';
import { deleteBundles } from './delete-bundles.js';
import type { RetirementStep } from './steps.js';

export interface RetireRequest extends CorpusVersionName {
  /** Place of the archives; null: as configured. */
  readonly to: string | null;
  /** Days without a request before a version is retired; 0: none are asked for. */
  readonly quietDays: number;
}

export interface RetireParts extends ArchiveParts {
  readonly onStep?: (step: RetirementStep, detail: string) => void;
  /** How long a replica may take to leave the version. Default 60 s. */
  readonly drainMsMax?: number;
}

const POLL_MS = 200;
const DRAIN_MS_MAX = 60_000;
const COPY_GONE = 'the serving copy is gone';

/**
 * Takes a version out of service for good: drain, archive, verify the archive, delete the serving copy, in that order.
 * Each step is logged and leaves its row in the audit; a killed run is run again and goes on where it was.
 * Errors: VERSION_IN_USE, those of archiving and verifying, STATUS_CONFLICT when a replica does not let go; the signal's
 * reason. Nothing is deleted before its archive was read back whole.
 */
export async function retireVersion(request: RetireRequest, parts: RetireParts): Promise<VersionArchive> {
  const { corpus, version, quietDays, to } = request;
  const name = { corpus, version };
  const { records, log } = parts;
  const say = (step: RetirementStep, detail: string): void => {
    log.info({ corpus, version, step }, `retirement: ${detail}`);
    parts.onStep?.(step, detail);
  };
  const done = await finishedArchive(name, parts);
  if (done !== null) {
    await deleteHere(name, parts);
    say('delete', COPY_GONE);
    return done;
  }
  archivePlace(to, parts.config);
  await assertRetirable(name, quietDays, records);
  say('drain', await drain(name, parts));
  const { uri } = await archiveVerified(name, to, parts, ({ uri, bytes, manifest }) =>
    say('archive', `${manifest.row_count} rows, ${bytes} bytes at ${uri}`),
  );
  say('verify', `every byte of ${uri} was read back`);
  // Whoever came meanwhile still finds what it depends on.
  await assertRetirable(name, quietDays, records);
  parts.signal.throwIfAborted();
  await records.markArchived(name);
  await letGo(name, parts);
  await deleteHere(name, parts);
  await records.noteArchive(uri, 'deleted');
  say('delete', COPY_GONE);
  return archiveAt(name, uri, parts);
}

/** Out of the route, and every live replica has applied that. */
async function drain({ corpus, version }: CorpusVersionName, parts: RetireParts): Promise<string> {
  const { records } = parts;
  const route = await records.route(corpus);
  const staying = route?.targets.filter((target) => target.version !== version) ?? [];
  if (route === null || staying.length === route.targets.length) return 'it is in no route';
  const revision = await records.setTargets(corpus, route.revision, staying);
  await until(parts, `the route without ${version}`, async () =>
    (await records.liveReplicas())
      .filter(({ appliedRevisions }) => (appliedRevisions[corpus] ?? 0) < revision)
      .map(({ gatewayId }) => gatewayId),
  );
  return `left the route with revision ${revision}`;
}

/** No live replica holds a build of it any more: an archived version is unloaded. */
async function letGo(name: CorpusVersionName, parts: RetireParts): Promise<void> {
  const builds = await parts.records.builds(name);
  await until(parts, `the builds of ${name.corpus}/${name.version}`, async () =>
    (await parts.records.liveReplicas())
      .filter(({ readyBuilds }) =>
        readyBuilds.some((ready) => builds.some(({ build }) => build.startsWith(ready))),
      )
      .map(({ gatewayId }) => gatewayId),
  );
}

async function until(
  { signal, drainMsMax = DRAIN_MS_MAX }: RetireParts,
  what: string,
  waitingFor: () => Promise<readonly string[]>,
): Promise<void> {
  const endMs = performance.now() + drainMsMax;
  for (;;) {
    signal.throwIfAborted();
    const replicas = await waitingFor();
    if (replicas.length === 0) return;
    if (performance.now() > endMs)
      throw new SwitchyardError(
        'STATUS_CONFLICT',
        `${what}: ${replicas.join(', ')} did not follow within ${drainMsMax / 1000} s; see what keeps it, and retire again`,
        { details: { replicas: replicas.join(',') } },
      );
    await sleep(POLL_MS, undefined, { signal }).catch(() => undefined);
  }
}

async function archiveAt(
  name: CorpusVersionName,
  uri: string,
  { records }: RetireParts,
): Promise<VersionArchive> {
  const found = (await records.archives(name)).find((archive) => archive.uri === uri);
  if (found === undefined) throw new TypeError('an archive that was just recorded is not there');
  return found;
}

/** A run that was killed after the version was marked: its archive was verified, the rest is deleting. */
async function finishedArchive(name: CorpusVersionName, parts: RetireParts): Promise<VersionArchive | null> {
  const { records } = parts;
  if ((await records.versionStatus(name)) !== 'archived') return null;
  const verified = (await records.archives(name)).find(({ verifiedAt }) => verifiedAt !== null);
  if (verified === undefined)
    throw new SwitchyardError(
      'STATUS_CONFLICT',
      `${name.corpus}/${name.version} is archived, and no verified archive of it is recorded: its bundles are left where they are; \`switchyard archive\` writes one`,
    );
  if (verified.deletedAt !== null && (verified.restoredAt ?? verified.deletedAt) <= verified.deletedAt)
    return verified;
  await letGo(name, parts);
  await deleteHere(name, parts);
  await records.noteArchive(verified.uri, 'deleted');
  return archiveAt(name, verified.uri, parts);
}

/** Where this runs. Gateways with a bundles folder of their own delete theirs. */
async function deleteHere(name: CorpusVersionName, { config, records }: RetireParts): Promise<void> {
  const builds = (await records.builds(name)).map(({ build }) => build);
  await deleteBundles(config.bundlesDir, name, builds);
}
