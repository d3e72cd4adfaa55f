import { SwitchyardError, toSwitchyardError } from '../../errors.js';
import type { BundleManifest } from '../../index/manifest.js';
import type { ChangeAuthor } from '../../registry/changes.js';
import type { CorpusVersion, CorpusVersionName } from '../../registry/corpus-versions.js';
import type { Registry } from '../../registry/registry.js';
import { digestPrefix } from '../../vocabulary.js';
import { differences, differing } from './built-before.js';
import { startingTarget } from './placing.js';
import { planDocument, readPlan } from './plan.js';
import type { MigrationPlan } from './plan-schema.js';
import { type Migration, readMigration } from './record.js';
import { begun } from './transition.js';

export interface MigrationRequest {
  readonly corpus: string;
  readonly toVersion: string;
  /** YAML or JSON; null: the default plan. */
  readonly plan: string | null;
}

/**
 * Writes a migration down; some gateway drives it from here on. Errors: INVALID_PLAN, UNKNOWN_CORPUS(_VERSION),
 * STATUS_CONFLICT while the corpus has an unfinished one, or when no single target serves all of it.
 */
export async function startMigration(
  registry: Registry,
  { corpus, toVersion, plan: text }: MigrationRequest,
  author: ChangeAuthor,
): Promise<Migration> {
  const plan = readPlan(text);
  const route = await registry.routes.get(corpus);
  const from = startingTarget(route, toVersion);
  await refuseUnbuildable(registry, corpus, toVersion, plan);
  const atIso = (await registry.migrations.now()).toISOString();
  const facts = { from: { build: from.build, tier: from.tier }, routeRevision: route.revision };
  const record = await registry.migrations.start(
    {
      corpus,
      fromVersion: from.version,
      toVersion,
      plan: planDocument(plan),
      state: begun(plan, facts, atIso),
      event: { kind: 'started', from_build: digestPrefix(from.build) },
    },
    author,
  );
  return readMigration(record);
}

/** A version that nothing was said of yet. Errors: UNKNOWN_CORPUS, and UNKNOWN_CORPUS_VERSION with what would make it one. */
async function unbegun(registry: Registry, name: CorpusVersionName): Promise<CorpusVersion> {
  try {
    return await registry.corpusVersions.get(name);
  } catch (thrown) {
    const { reason, message, details } = toSwitchyardError(thrown);
    if (reason !== 'UNKNOWN_CORPUS_VERSION') throw thrown;
    throw new SwitchyardError(
      reason,
      `${message}. To have the migration build it, name its model in a plan: \`- build: { model: name@version }\`; or build it first with \`switchyard corpus build\``,
      { details },
    );
  }
}

/**
 * Refused before anything is written down: what no build step could mend, and a build that is not what the step says; its
 * source is compared by whoever drives. Errors: UNKNOWN_CORPUS_VERSION, UNKNOWN_MODEL, STATUS_CONFLICT.
 */
async function refuseUnbuildable(
  registry: Registry,
  corpus: string,
  version: string,
  { steps }: MigrationPlan,
): Promise<void> {
  const build = steps.find((step) => step.kind === 'build');
  const model = build?.options.model ?? null;
  const fingerprint = model === null ? null : (await registry.models.resolve(model)).fingerprint;
  const known = (await registry.corpusVersions.list({ corpus })).find((other) => other.version === version);
  if (known === undefined && model !== null) return;
  const { status, defaultBuild } = known ?? (await unbegun(registry, { corpus, version }));
  if (status === 'archived' || (defaultBuild === null && build === undefined))
    throw new SwitchyardError(
      'STATUS_CONFLICT',
      status === 'archived'
        ? `${corpus}/${version} is archived: build another version`
        : `${corpus}/${version} is ${status} and has no build: build it with \`switchyard corpus build\`, or give the plan a build step`,
    );
  if (defaultBuild === null || build === undefined) return;
  const { manifest } = await registry.builds.get({ corpus, version }, defaultBuild);
  const before = { corpus, version, build: defaultBuild, manifest: manifest as BundleManifest };
  const found = differences(before, build.options, fingerprint);
  if (found.length > 0) throw differing(before, found);
}
