import type { BundleManifest } from '../../index/manifest.js';
import type { CorpusVersionName } from '../../registry/corpus-versions.js';
import type { Registry } from '../../registry/registry.js';
import type { Migration } from './record.js';

/**
 * For a person: the new version comes from the texts that the old one keeps, and what the feed behind those had since is not
 * in it, though it counts as lag. Null: it comes from elsewhere, or no feed is behind them.
 */
export async function unfollowedFeed(
  registry: Registry,
  { corpus, fromVersion, toVersion, plan, state }: Migration,
): Promise<string | null> {
  const build = plan.steps.find(({ kind }) => kind === 'build');
  if (build?.kind !== 'build' || build.options.source !== null) return null;
  const sourceOf = async (name: CorpusVersionName, digest: string | null) =>
    ((await registry.builds.get(name, digest)).manifest as BundleManifest).source;
  const { feed, watermark } = await sourceOf({ corpus, version: fromVersion }, state.facts.from.build);
  if (feed === undefined) return null;
  const name = { corpus, version: toVersion };
  const known = (await registry.corpusVersions.list({ corpus })).find(({ version }) => version === toVersion);
  const isBuilt = known !== undefined && known.defaultBuild !== null;
  if (isBuilt && (await sourceOf(name, null)).name !== `${corpus}/${fromVersion}`) return null;
  return `${toVersion} comes from the texts that ${fromVersion} keeps, as they were at ${watermark}: the feed ${feed} is not followed, and what it had since counts as lag (source_lag_documents_max). Name it as the build's source to follow it`;
}
