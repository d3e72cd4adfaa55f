import { SwitchyardError } from '../../errors.js';
import type { CorpusVersionName } from '../../registry/corpus-versions.js';
import type { VersionRecords } from './records.js';

/** Why a version is not retired. */
export interface RetirementBlocker {
  readonly kind: 'building' | 'serving' | 'shadow' | 'consumer' | 'traffic';
  /** For a person: who, and what to do. */
  readonly message: string;
}

/** Everything that stands against retiring a version, so that a person mends all of it at once. */
export async function retirementBlockers(
  name: CorpusVersionName,
  quietDays: number,
  records: VersionRecords,
): Promise<readonly RetirementBlocker[]> {
  const { corpus, version } = name;
  const status = await records.versionStatus(name);
  const blockers: RetirementBlocker[] = [];
  if (status === 'building')
    blockers.push({ kind: 'building', message: `${corpus}/${version} has no build that could be archived` });
  for (const { version: other, role, weightBps } of (await records.route(corpus))?.targets ?? []) {
    if (other !== version || role === 'draining') continue;
    blockers.push(
      role === 'active'
        ? {
            kind: 'serving',
            message: `it serves ${(weightBps / 100).toFixed(2)} % of ${corpus}: move its weight to another version first`,
          }
        : { kind: 'shadow', message: `it is a shadow of ${corpus}: take it out of the route first` },
    );
  }
  for (const consumer of await records.consumers(name)) {
    if (consumer.migrated) continue;
    const by = consumer.migrationDeadline?.toISOString().slice(0, 10);
    blockers.push({
      kind: 'consumer',
      message: `consumer ${consumer.serviceName} of team ${consumer.teamOwner} has not migrated${by === undefined ? '' : ` (deadline ${by})`}: \`switchyard consumer migrated ${consumer.consumerId}\` once it has`,
    });
  }
  if (quietDays > 0)
    for (const { keyName, kind, requests, lastAt } of await records.traffic(name, quietDays))
      blockers.push({
        kind: 'traffic',
        message: `${keyName === '' ? 'requests without a key' : `key ${keyName}`} searched it ${requests} times (${kind}) in the last ${quietDays} days, last at ${lastAt.toISOString()}`,
      });
  return blockers;
}

/** Errors: VERSION_IN_USE naming everything that stands against it. */
export async function assertRetirable(
  name: CorpusVersionName,
  quietDays: number,
  records: VersionRecords,
): Promise<void> {
  const blockers = await retirementBlockers(name, quietDays, records);
  if (blockers.length === 0) return;
  throw new SwitchyardError(
    'VERSION_IN_USE',
    `${name.corpus}/${name.version} is not retired: ${blockers.map(({ message }) => message).join('; ')}`,
    { details: { blockers: [...new Set(blockers.map(({ kind }) => kind))].join(',') } },
  );
}
