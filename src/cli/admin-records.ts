import type { AdminApi, Author } from '../gateway/admin/api.js';
import { DEFAULT_BUILD } from '../gateway/admin/registry-operations.js';
import type { BuildRecords } from '../lifecycle/build-records.js';
import type { Digest, Fingerprint } from '../vocabulary.js';

/** A build written down by way of the admin operations: of a running gateway, or of this process where none runs. */
export function adminRecords(admin: AdminApi, author: Author): BuildRecords {
  return {
    resolveModel: async (model) => (await admin.getModel({ model })).fingerprint as Fingerprint,
    findBuild: async (version, build) => {
      const found = await admin.getBuild({ ...version, build: build ?? DEFAULT_BUILD });
      return { digest: found.digest as Digest, bundleUri: found.bundle_uri };
    },
    buildsOf: async (corpus, fingerprint) => {
      const versions = await admin.listCorpusVersions({ corpus });
      const builds = await admin.listBuilds({ corpus });
      return builds.flatMap(({ version, digest, bundle_uri, is_default }) => {
        const of = versions.find((candidate) => candidate.version === version);
        return is_default && of?.fingerprint === fingerprint && of.status !== 'archived'
          ? [{ corpus, version, build: digest as Digest, bundleUri: bundle_uri }]
          : [];
      });
    },
    begin: async ({ corpus, version, fingerprint, documentTemplate, textNormalisation }) => {
      await admin.beginCorpusVersion({
        corpus,
        version,
        model: fingerprint,
        document_template: documentTemplate,
        text_normalisation: textNormalisation,
        ...author,
      });
    },
    fail: async ({ corpus, version }, failure) => {
      await admin.failCorpusVersion({ corpus, version, failure, ...author });
    },
    record: async ({ digest, manifest: { corpus, version } }) => {
      await admin.recordBuild({ corpus, version, digest, ...author });
    },
    routeFirst: async ({ digest, manifest: { corpus, version } }) => {
      const routes = await admin.listRoutes();
      if (routes.some((route) => route.corpus === corpus)) return false;
      await admin.updateRoute({
        corpus,
        expected_revision: 0,
        targets: [{ version, build: digest, weight: 10_000, role: 'active', tier: 'ssd', mirror_bps: 0 }],
        // Nobody is served from this corpus yet, so nothing can be lost while the replicas that run load it.
        force: true,
        actor: author.actor,
        reason: `first version of ${corpus}`,
      });
      return true;
    },
  };
}
