import type { AdminApi, Author } from '../gateway/admin/api.js';
import type { VersionRecords } from '../lifecycle/retire/records.js';
import type { Digest } from '../vocabulary.js';
import { adminRecords } from './admin-records.js';

/** What archiving and retiring ask and write down, by way of the admin operations. */
export function adminVersionRecords(admin: AdminApi, { actor, reason }: Author): VersionRecords {
  // Nothing else of what is given: a command's other options are no fields of a request.
  const author = { actor, reason };
  const { begin, record } = adminRecords(admin, author);
  const date = (text: string | null): Date | null => (text === null ? null : new Date(text));
  return {
    begin,
    record,
    versionStatus: async ({ corpus, version }) => {
      const versions = await admin.listCorpusVersions({ corpus });
      const found = versions.find((known) => known.version === version);
      if (found !== undefined) return found.status;
      // It says which corpus or version is not there.
      await admin.getBuild({ corpus, version, build: 'default' });
      throw new TypeError('a version that is not listed has a build');
    },
    builds: async (name) =>
      (await admin.listBuilds(name)).map(({ digest, bundle_uri, is_default }) => ({
        build: digest as Digest,
        bundleUri: bundle_uri,
        isDefault: is_default,
      })),
    route: async (corpus) => {
      const route = (await admin.listRoutes()).find((known) => known.corpus === corpus);
      if (route === undefined) return null;
      const targets = route.targets.map(({ version, build, role, weight, tier, mirror_bps }) => ({
        version,
        build,
        role,
        tier,
        weightBps: weight,
        mirrorBps: mirror_bps,
      }));
      return { revision: route.revision, targets };
    },
    setTargets: async (corpus, expectedRevision, targets) => {
      const route = await admin.updateRoute({
        corpus,
        expected_revision: expectedRevision,
        targets: targets.map(({ weightBps, mirrorBps, ...target }) => ({
          ...target,
          weight: weightBps,
          mirror_bps: mirrorBps,
        })),
        ...author,
      });
      return route.revision;
    },
    liveReplicas: async () =>
      (await admin.listGateways())
        .filter(({ alive }) => alive)
        .map(({ gateway_id, applied_revisions, ready_builds }) => ({
          gatewayId: gateway_id,
          appliedRevisions: applied_revisions,
          readyBuilds: ready_builds,
        })),
    consumers: async ({ corpus, version }) =>
      (await admin.listConsumers({ corpus }))
        .filter((consumer) => consumer.version === version)
        .map((consumer) => ({
          corpus,
          version,
          consumerId: consumer.consumer_id,
          serviceName: consumer.service_name,
          teamOwner: consumer.team_owner,
          migrationDeadline: date(consumer.migration_deadline),
          migrated: consumer.migrated,
          usesScoreThresholds: consumer.uses_score_thresholds,
        })),
    traffic: async (name, days) =>
      (await admin.listTraffic({ ...name, days })).map((sum) => ({
        ...name,
        keyName: sum.key_name,
        kind: sum.kind === 'pinned' ? 'pinned' : 'split',
        requests: sum.requests,
        lastAt: new Date(sum.last_at),
        isRegistered: sum.registered,
      })),
    archives: async (name) =>
      (await admin.listArchives(name)).map((archive) => ({
        ...name,
        build: archive.build as Digest,
        uri: archive.uri,
        sha256: archive.sha256,
        archivedAt: new Date(archive.archived_at),
        verifiedAt: date(archive.verified_at),
        deletedAt: date(archive.deleted_at),
        restoredAt: date(archive.restored_at),
      })),
    recordArchive: async (archive) => {
      await admin.recordArchive({ ...archive, ...author });
    },
    noteArchive: async (uri, step) => {
      await admin.noteArchive({ uri, step, ...author });
    },
    markArchived: async (name) => {
      await admin.archiveCorpusVersion({ ...name, ...author });
    },
  };
}
