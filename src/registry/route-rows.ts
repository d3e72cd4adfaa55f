import { type Digest, type Fingerprint, modelRef, type Revision } from '../vocabulary.js';
import { selectBuilds } from './builds.js';
import type { RegistryTransaction, Tables } from './database.js';
import type { Route, RouteTarget } from './route.js';
import type { VersionOnOffer } from './route-rules.js';

/** The current routes, by corpus; one statement, so each is a consistent snapshot. */
export async function readRoutes(tables: Tables, corpus: string | null): Promise<readonly Route[]> {
  let query = tables
    .selectFrom('routes as r')
    .innerJoin('route_targets as t', 't.corpus_name', 'r.corpus_name')
    .innerJoin('embedding_corpus_versions as v', 'v.corpus_version_id', 't.corpus_version_id')
    .innerJoin('embedding_models as m', 'm.model_id', 'v.model_id')
    .innerJoin('builds as b', 'b.digest', 't.build_digest')
    .select(['r.corpus_name', 'r.revision', 'r.salt'])
    .select(['t.build_digest', 't.role', 't.weight_bps', 't.tier', 't.mirror_bps'])
    .select(['v.label', 'm.model_name', 'm.model_version', 'm.fingerprint', 'b.bundle_uri'])
    .orderBy('r.corpus_name')
    .orderBy('t.position');
  if (corpus !== null) query = query.where('r.corpus_name', '=', corpus);
  const routes = new Map<string, { readonly route: Route; readonly targets: RouteTarget[] }>();
  for (const row of await query.execute()) {
    let entry = routes.get(row.corpus_name);
    if (entry === undefined) {
      const targets: RouteTarget[] = [];
      const revision = row.revision as Revision;
      entry = { route: { corpus: row.corpus_name, revision, salt: row.salt, targets }, targets };
      routes.set(row.corpus_name, entry);
    }
    entry.targets.push(
      Object.freeze({
        version: row.label,
        build: row.build_digest as Digest,
        fingerprint: row.fingerprint as Fingerprint,
        modelRef: modelRef({ name: row.model_name, version: row.model_version }),
        role: row.role,
        weightBps: row.weight_bps,
        tier: row.tier,
        mirrorBps: row.mirror_bps,
        bundleUri: row.bundle_uri,
      }),
    );
  }
  return [...routes.values()].map(({ route, targets }) => {
    Object.freeze(targets);
    return Object.freeze(route);
  });
}

/** Everything a route of this corpus may be made of. Empty: there is no such corpus. */
export async function readOffers(
  tables: Tables,
  corpus: string,
): Promise<readonly (VersionOnOffer & { readonly corpusVersionId: string })[]> {
  const versions = await tables
    .selectFrom('embedding_corpus_versions as v')
    .innerJoin('embedding_models as m', 'm.model_id', 'v.model_id')
    .select(['v.corpus_version_id', 'v.label', 'v.status', 'v.default_build'])
    .select(['m.model_name', 'm.model_version', 'm.fingerprint'])
    .where('v.corpus_name', '=', corpus)
    .orderBy('v.created_at')
    .execute();
  const builds = await selectBuilds(tables).where('v.corpus_name', '=', corpus).execute();
  return versions.map((version) => ({
    corpusVersionId: version.corpus_version_id,
    version: version.label,
    status: version.status,
    fingerprint: version.fingerprint as Fingerprint,
    modelRef: modelRef({ name: version.model_name, version: version.model_version }),
    defaultBuild: version.default_build as Digest | null,
    builds: builds
      .filter(({ corpus_version_id }) => corpus_version_id === version.corpus_version_id)
      .map(({ digest, bundle_uri }) => ({ digest: digest as Digest, bundleUri: bundle_uri })),
  }));
}

/** Targets are replaced as a whole; the statuses of their versions follow by trigger. */
export async function writeTargets(
  transaction: RegistryTransaction,
  corpus: string,
  targets: readonly RouteTarget[],
  versionIds: ReadonlyMap<string, string>,
): Promise<void> {
  await transaction.deleteFrom('route_targets').where('corpus_name', '=', corpus).execute();
  await transaction
    .insertInto('route_targets')
    .values(
      targets.map((target, position) => ({
        corpus_name: corpus,
        position,
        corpus_version_id: versionIds.get(target.version) ?? '',
        build_digest: target.build,
        role: target.role,
        weight_bps: target.weightBps,
        tier: target.tier,
        mirror_bps: target.mirrorBps,
      })),
    )
    .execute();
}
