import { readdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { toSwitchyardError } from '../../errors.js';
import type { BundleManifest } from '../../index/manifest.js';
import type { CorpusVersionName } from '../../registry/corpus-versions.js';
import type { Logger } from '../../telemetry/log.js';
import { ARCHIVE_FOLDER } from '../rebuild.js';
import { Checkpoints, checkpointsFolder, readPlan } from './checkpoints.js';

/**
 * Removes what builds that were given up left beside the bundles: checkpoints, and what was fetched from an archive to be
 * embedded, without a write since `olderThanMs` (of the wall clock). What a process holds is left to it.
 * Returns `<corpus>/<version>` of each.
 */
export async function removeAbandonedWork(
  bundlesFolder: string,
  olderThanMs: number,
  log: Logger,
): Promise<readonly string[]> {
  const removed: string[] = [];
  for (const corpus of await names(bundlesFolder))
    for (const version of await names(path.join(bundlesFolder, corpus))) {
      const checkpoints = checkpointsFolder(bundlesFolder, corpus, version);
      const fetched = path.join(bundlesFolder, corpus, version, ARCHIVE_FOLDER);
      const writtenMs = Math.max(await newestMs(checkpoints), await newestMs(fetched));
      if (writtenMs === Number.NEGATIVE_INFINITY || writtenMs > olderThanMs) continue;
      if ((await remove(bundlesFolder, { corpus, version }, log)) === 'removed')
        removed.push(`${corpus}/${version}`);
    }
  return removed;
}

/** A process that lost its parent ends at once, which takes its time where processors are busy. */
const HELD_MS_MAX = 10_000;
const HELD_LOOK_MS = 100;

/**
 * Removes the checkpoints that a build was made of, once it is recorded; those of another source or model stay, and after a
 * while those that a process still holds.
 */
export async function removeWorkOf(
  bundlesFolder: string,
  { corpus, version, model, source }: Pick<BundleManifest, 'corpus' | 'version' | 'model' | 'source'>,
  log: Logger,
): Promise<void> {
  const plan = await readPlan(checkpointsFolder(bundlesFolder, corpus, version));
  if (plan === null || plan.fingerprint !== model.fingerprint || plan.source.name !== source.name) return;
  for (let waitedMs = 0; waitedMs < HELD_MS_MAX; waitedMs += HELD_LOOK_MS) {
    if ((await remove(bundlesFolder, { corpus, version }, log)) !== 'held') return;
    await sleep(HELD_LOOK_MS);
  }
}

async function remove(
  bundlesFolder: string,
  { corpus, version }: CorpusVersionName,
  log: Logger,
): Promise<'removed' | 'held' | 'failed'> {
  try {
    const held = await Checkpoints.open(checkpointsFolder(bundlesFolder, corpus, version), log);
    await rm(path.join(bundlesFolder, corpus, version, ARCHIVE_FOLDER), { recursive: true, force: true });
    await held.remove();
    log.info({ corpus, version }, 'what a build that was given up left was removed');
    return 'removed';
  } catch (thrown) {
    const { reason, message } = toSwitchyardError(thrown);
    if (reason === 'BUILD_LOCKED') return 'held';
    log.warn({ corpus, version }, `what a build left was not removed: ${message}`);
    return 'failed';
  }
}

/** When anything in a folder was written last; −∞ where there is none. */
async function newestMs(folder: string): Promise<number> {
  let newest = Number.NEGATIVE_INFINITY;
  try {
    newest = (await stat(folder)).mtimeMs;
    for (const entry of await readdir(folder, { recursive: true })) {
      const { mtimeMs } = await stat(path.join(folder, entry));
      newest = Math.max(newest, mtimeMs);
    }
  } catch {
    // It is not there, or goes at this moment.
  }
  return newest;
}

async function names(folder: string): Promise<readonly string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    return entries
      .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
      .map(({ name }) => name);
  } catch {
    return []; // nothing was built yet
  }
}
