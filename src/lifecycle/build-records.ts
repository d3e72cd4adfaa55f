import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Bundle } from '../index/manifest.js';
import type { CorpusVersionName } from '../registry/corpus-versions.js';
import type { Registry } from '../registry/registry.js';
import type { Digest, Fingerprint } from '../vocabulary.js';
import { recordBuild } from './record-build.js';

export interface BegunVersion extends CorpusVersionName {
  readonly fingerprint: Fingerprint;
  readonly documentTemplate: string;
  readonly textNormalisation: string;
}

/** A build and where it lies. */
export interface RecordedPlace extends CorpusVersionName {
  readonly build: Digest;
  readonly bundleUri: string;
}

/** Where a build is written down: the registry, or a gateway that holds it. Errors: those of the registry. */
export interface BuildRecords {
  /** By name@version or fingerprint. Errors: UNKNOWN_MODEL. */
  resolveModel(reference: string): Promise<Fingerprint>;
  /** By digest or its prefix; null for the default one. Errors: UNKNOWN_CORPUS(_VERSION), UNKNOWN_BUILD. */
  findBuild(
    version: CorpusVersionName,
    build: string | null,
  ): Promise<{ readonly digest: Digest; readonly bundleUri: string }>;
  /** Default builds of a corpus's versions of one model. */
  buildsOf(corpus: string, fingerprint: Fingerprint): Promise<readonly RecordedPlace[]>;
  begin(version: BegunVersion): Promise<void>;
  fail(version: CorpusVersionName, why: string): Promise<void>;
  /** Verifies what was published before it is recorded; the first build of a version makes it `ready`. */
  record(bundle: Bundle): Promise<void>;
  /** Gives all of a corpus without a route to this build. False when there is a route. */
  routeFirst(bundle: Bundle): Promise<boolean>;
}

const ACTOR = 'corpus build';

/** The registry itself: where no gateway runs. */
export function registryRecords(registry: Registry, bundlesFolder: string): BuildRecords {
  return {
    resolveModel: async (reference) => (await registry.models.resolve(reference)).fingerprint,
    findBuild: (version, build) => registry.builds.get(version, build),
    buildsOf: async (corpus, fingerprint) => {
      const versions = await registry.corpusVersions.list({ corpus });
      const builds = await registry.builds.list({ corpus });
      return builds.flatMap(({ version, digest, bundleUri, isDefault }) => {
        const of = versions.find((candidate) => candidate.version === version);
        return isDefault && of?.fingerprint === fingerprint && of.status !== 'archived'
          ? [{ corpus, version, build: digest, bundleUri }]
          : [];
      });
    },
    begin: async (version) => {
      const uri = storageUri(bundlesFolder, version);
      await registry.corpusVersions.begin(
        { ...version, storageUri: uri },
        { actor: ACTOR, reason: 'a build begins' },
      );
    },
    fail: async (version, why) => {
      await registry.corpusVersions.fail(version, why, { actor: ACTOR, reason: 'the build failed' });
    },
    record: async ({ digest, manifest: { corpus, version } }) => {
      await recordBuild(registry, bundlesFolder, {
        ...{ corpus, version, digest, makeDefault: false },
        author: { actor: ACTOR, reason: 'it was built' },
      });
    },
    routeFirst: async ({ digest, manifest: { corpus, version } }) => {
      if ((await registry.routes.find(corpus)) !== null) return false;
      await registry.routes.change({
        corpus,
        targets: [{ version, build: digest, weightBps: 10_000, role: 'active', tier: 'ssd', mirrorBps: 0 }],
        expectedRevision: null,
        // Nobody is served from this corpus yet, so nothing can be lost while the replicas that run load it.
        force: true,
        actor: ACTOR,
        reason: `first version of ${corpus}`,
      });
      return true;
    },
  };
}

/** Folder of a version's bundles. */
export const storageUri = (bundlesFolder: string, { corpus, version }: CorpusVersionName): string =>
  pathToFileURL(path.join(bundlesFolder, corpus, version)).href;
