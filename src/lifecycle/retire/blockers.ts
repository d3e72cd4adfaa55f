import { SwitchyardError } from '../../errors.js';
import type { Consumer } from '../../registry/consumers.js';
import type { CorpusVersionName } from '../../registry/corpus-versions.js';
import type { TrafficSum } from '../../registry/traffic.js';
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
  const traffic = quietDays > 0 ? await records.traffic(name, quietDays) : [];
  return [...blockers, ...dependants(await records.consumers(name), traffic, quietDays)];
}

/** Who reads the version itself: of these consumers those that have not migrated, and whoever searched it lately. */
export const dependants = (
  consumers: readonly Consumer[],
  traffic: readonly TrafficSum[],
  days: number,
): readonly RetirementBlocker[] => [
  ...consumers
    .filter(({ migrated }) => !migrated)
    .map(({ consumerId, serviceName, teamOwner, migrationDeadline }): RetirementBlocker => {
      const by = migrationDeadline?.toISOString().slice(0, 10);
      return {
        kind: 'consumer',
        message: `consumer ${serviceName} of team ${teamOwner} has not migrated${by === undefined ? '' : ` (deadline ${by})`}: \`switchyard consumer migrated ${consumerId}\` once it has`,
      };
    }),
  ...traffic.map(
    ({ keyName, kind, requests, lastAt }): RetirementBlocker => ({
      kind: 'traffic',
      message: `${keyName === '' ? 'requests without a key' : `key ${keyName}`} searched it ${requests} times (${kind}) in the last ${days} days, last at ${lastAt.toISOString()}`,
    }),
  ),
];

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
