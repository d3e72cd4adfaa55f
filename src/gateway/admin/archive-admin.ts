import { SwitchyardError } from '../../errors.js';
import { assertRetirable } from '../../lifecycle/retire/blockers.js';
import { registryVersionRecords } from '../../lifecycle/retire/records.js';
import type { RetirementStep } from '../../lifecycle/retire/steps.js';
import type { VersionArchive } from '../../registry/archives.js';
import type { Registry } from '../../registry/registry.js';
import type { Retirement } from '../../registry/retirements.js';
import type { TrafficSum } from '../../registry/traffic.js';
import type { Digest } from '../../vocabulary.js';
import type { ARCHIVE_OPERATIONS } from './archive-operations.js';
import type { ArchiveView, RetirementView, TrafficView } from './archive-views.js';
import type { InputOf, OutputOf } from './operation.js';

type Operations = typeof ARCHIVE_OPERATIONS;
type Input<Name extends keyof Operations> = InputOf<Operations[Name]>;
type Answer<Name extends keyof Operations> = Promise<OutputOf<Operations[Name]>>;

const DAYS_DEFAULT = 30;

/** What a running gateway brings to a retirement. */
export interface RetirementFacts {
  /** `archive.uri`; null: it names no place. */
  readonly place: string | null;
  readonly quietDays: number;
  /** There is one to carry out. */
  look(): void;
}

export interface ArchiveSources {
  readonly registry: () => Registry;
  readonly bundlesDir: string;
  /** Null where no gateway runs. */
  readonly retirement: RetirementFacts | null;
}

/** The operations on traffic and archives, over the registry. */
export const archiveAdmin = ({ registry, bundlesDir, retirement }: ArchiveSources) => ({
  listTraffic: async ({ days = DAYS_DEFAULT, ...of }: Input<'listTraffic'> = {}): Answer<'listTraffic'> =>
    (await registry().traffic.list({ ...of, days })).map(trafficView),

  retireCorpusVersion: async ({
    corpus,
    version,
    quiet_days,
    actor,
    reason,
  }: Input<'retireCorpusVersion'>): Answer<'retireCorpusVersion'> => {
    const author = { actor, reason };
    if (retirement === null)
      throw new SwitchyardError('STATUS_CONFLICT', 'no gateway runs here that could carry out a retirement');
    const { place, quietDays } = retirement;
    if (place === null)
      throw new SwitchyardError(
        'STATUS_CONFLICT',
        'where to archive is not said: set archive.uri of the gateways',
      );
    const name = { corpus, version };
    const days = quiet_days ?? quietDays;
    // Said at once; whoever comes later is found when it is carried out.
    await assertRetirable(name, days, registryVersionRecords(registry(), bundlesDir, author));
    const started = await registry().retirements.start(name, { place, quietDays: days }, author);
    retirement.look();
    return retirementView(started);
  },

  getRetirement: async (name: Input<'getRetirement'>): Answer<'getRetirement'> =>
    retirementView(await registry().retirements.latest(name)),

  cancelRetirement: async ({
    corpus,
    version,
    actor,
    reason,
  }: Input<'cancelRetirement'>): Answer<'cancelRetirement'> =>
    retirementView(await registry().retirements.cancel({ corpus, version }, { actor, reason })),

  listArchives: async (of: Input<'listArchives'> = {}): Answer<'listArchives'> =>
    (await registry().archives.list(of)).map(archiveView),

  recordArchive: async (given: Input<'recordArchive'>): Answer<'recordArchive'> => {
    const { actor, reason, ...archive } = given;
    return archiveView(
      await registry().archives.record({ ...archive, build: archive.build as Digest }, { actor, reason }),
    );
  },

  noteArchive: async ({ uri, step, actor, reason }: Input<'noteArchive'>): Answer<'noteArchive'> =>
    archiveView(await registry().archives.note(uri, step, { actor, reason })),
});

const trafficView = (sum: TrafficSum): TrafficView => ({
  corpus: sum.corpus,
  version: sum.version,
  key_name: sum.keyName,
  kind: sum.kind,
  requests: sum.requests,
  last_at: sum.lastAt.toISOString(),
  registered: sum.isRegistered,
});

const retirementView = (retirement: Retirement): RetirementView => ({
  retirement_id: retirement.retirementId,
  corpus: retirement.corpus,
  version: retirement.version,
  state: retirement.state,
  why: retirement.why,
  steps: retirement.steps.map(({ step, detail, at }) => ({ step: step as RetirementStep, detail, at })),
  place: retirement.place,
  quiet_days: retirement.quietDays,
  driver: retirement.holder,
  actor: retirement.actor,
  reason: retirement.reason,
  started_at: retirement.createdAt.toISOString(),
  updated_at: retirement.updatedAt.toISOString(),
  finished_at: retirement.finishedAt?.toISOString() ?? null,
});

const archiveView = (archive: VersionArchive): ArchiveView => ({
  corpus: archive.corpus,
  version: archive.version,
  build: archive.build,
  uri: archive.uri,
  sha256: archive.sha256,
  archived_at: archive.archivedAt.toISOString(),
  verified_at: archive.verifiedAt?.toISOString() ?? null,
  deleted_at: archive.deletedAt?.toISOString() ?? null,
  restored_at: archive.restoredAt?.toISOString() ?? null,
});
