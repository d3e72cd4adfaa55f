import type { VersionArchive } from '../../registry/archives.js';
import type { ChangeAuthor } from '../../registry/changes.js';
import type { Consumer } from '../../registry/consumers.js';
import type { CorpusVersionName } from '../../registry/corpus-versions.js';
import type { Registry } from '../../registry/registry.js';
import type { ArchiveStep, CorpusVersionStatus } from '../../registry/schema.js';
import type { TrafficSum } from '../../registry/traffic.js';
import type { Digest, TargetRole, Tier } from '../../vocabulary.js';
import { type BuildRecords, registryRecords } from '../build-records.js';

export interface KnownBuild {
  readonly build: Digest;
  readonly bundleUri: string;
  readonly isDefault: boolean;
}

export interface RoutedTarget {
  readonly version: string;
  /** Digest or its prefix. */
  readonly build: string;
  readonly role: TargetRole;
  readonly weightBps: number;
  readonly tier: Tier;
  readonly mirrorBps: number;
}

export interface LiveReplica {
  readonly gatewayId: string;
  /** Corpus → revision. */
  readonly appliedRevisions: Readonly<Record<string, number>>;
  /** Digests or their prefixes. */
  readonly readyBuilds: readonly string[];
}

/**
 * What archiving, restoring and retiring ask and write down: of the registry, or of a gateway that holds it. Every change
 * carries its author. Errors: those of the registry.
 */
export interface VersionRecords extends Pick<BuildRecords, 'begin' | 'record'> {
  versionStatus(name: CorpusVersionName): Promise<CorpusVersionStatus>;
  builds(name: CorpusVersionName): Promise<readonly KnownBuild[]>;
  route(corpus: string): Promise<{
    readonly revision: number;
    readonly targets: readonly RoutedTarget[];
  } | null>;
  /** The revision that came of it. */
  setTargets(corpus: string, expectedRevision: number, targets: readonly RoutedTarget[]): Promise<number>;
  liveReplicas(): Promise<readonly LiveReplica[]>;
  consumers(name: CorpusVersionName): Promise<readonly Consumer[]>;
  traffic(name: CorpusVersionName, days: number): Promise<readonly TrafficSum[]>;
  archives(name: CorpusVersionName): Promise<readonly VersionArchive[]>;
  recordArchive(
    archive: CorpusVersionName & { readonly build: Digest; readonly uri: string; readonly sha256: string },
  ): Promise<void>;
  noteArchive(uri: string, step: ArchiveStep): Promise<void>;
  /** Takes the version out of service for good. */
  markArchived(name: CorpusVersionName): Promise<void>;
}

/** The registry itself: where no gateway runs, and in one. */
export function registryVersionRecords(
  registry: Registry,
  bundlesFolder: string,
  author: ChangeAuthor,
): VersionRecords {
  const builds = registryRecords(registry, bundlesFolder);
  const { corpusVersions, routes, gateways, consumers, traffic, archives } = registry;
  const isOf = (name: CorpusVersionName) => (other: CorpusVersionName) =>
    other.corpus === name.corpus && other.version === name.version;
  return {
    begin: builds.begin,
    record: builds.record,
    versionStatus: async (name) => (await corpusVersions.get(name)).status,
    builds: async (name) =>
      (await registry.builds.list(name)).map(({ digest, bundleUri, isDefault }) => ({
        build: digest,
        bundleUri,
        isDefault,
      })),
    route: (corpus) => routes.find(corpus),
    setTargets: async (corpus, expectedRevision, targets) => {
      const route = await routes.change({ corpus, expectedRevision, targets, force: false, ...author });
      return route.revision;
    },
    liveReplicas: async () =>
      (await gateways.list())
        .filter(({ alive }) => alive)
        .map(({ gatewayId, appliedRevisions, readyTargets }) => ({
          gatewayId,
          appliedRevisions,
          readyBuilds: readyTargets,
        })),
    consumers: async (name) => (await consumers.list({ corpus: name.corpus })).filter(isOf(name)),
    traffic: (name, days) => traffic.list({ ...name, days }),
    archives: (name) => archives.list(name),
    recordArchive: async (archive) => {
      await archives.record(archive, author);
    },
    noteArchive: async (uri, step) => {
      await archives.note(uri, step, author);
    },
    markArchived: async (name) => {
      await corpusVersions.archive(name, author);
    },
  };
}
