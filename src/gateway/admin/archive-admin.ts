import type { VersionArchive } from '../../registry/archives.js';
import type { Registry } from '../../registry/registry.js';
import type { TrafficSum } from '../../registry/traffic.js';
import type { Digest } from '../../vocabulary.js';
import type { ARCHIVE_OPERATIONS } from './archive-operations.js';
import type { ArchiveView, TrafficView } from './archive-views.js';
import type { InputOf, OutputOf } from './operation.js';

type Operations = typeof ARCHIVE_OPERATIONS;
type Input<Name extends keyof Operations> = InputOf<Operations[Name]>;
type Answer<Name extends keyof Operations> = Promise<OutputOf<Operations[Name]>>;

const DAYS_DEFAULT = 30;

/** The operations on traffic and archives, over the registry. */
export const archiveAdmin = (registry: () => Registry) => ({
  listTraffic: async ({ days = DAYS_DEFAULT, ...of }: Input<'listTraffic'> = {}): Answer<'listTraffic'> =>
    (await registry().traffic.list({ ...of, days })).map(trafficView),

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
