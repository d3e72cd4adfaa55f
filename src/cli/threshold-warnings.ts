import type { AdminApi } from '../gateway/admin/api.js';
import type { PairView } from '../gateway/admin/comparison-views.js';
import type { RouteView } from '../gateway/admin/views.js';
import { type ScoreQuantiles, thresholdWarnings } from '../lifecycle/retire/score-thresholds.js';
import { adminVersionRecords } from './admin-version-records.js';

/** Lines for consumers whose score thresholds do not fit a version that a change of the route lets serve them. */
export async function routeThresholdWarnings(
  admin: AdminApi,
  corpus: string,
  before: RouteView | null,
  after: RouteView,
): Promise<readonly string[]> {
  const weightOf = (route: RouteView | null, version: string): number =>
    route?.targets.reduce((sum, target) => sum + (target.version === version ? target.weight : 0), 0) ?? 0;
  const rising = after.targets.filter(
    ({ version, weight }) => weight > 0 && weightOf(after, version) > weightOf(before, version),
  );
  if (rising.length === 0) return [];
  const consumers = (await admin.listConsumers({ corpus })).filter(
    (consumer) => consumer.uses_score_thresholds && !consumer.migrated,
  );
  if (consumers.length === 0) return [];
  const versions = await admin.listCorpusVersions({ corpus });
  const modelOf = (version: string) => versions.find((known) => known.version === version)?.fingerprint;
  // Without a gateway nothing was compared; the warning is due all the same.
  const pairs = await admin.getComparison({ corpus }).then(
    (comparison) => comparison.pairs,
    () => [],
  );
  const records = adminVersionRecords(admin, { actor: 'route set', reason: 'a warning' });
  const lines: string[] = [];
  for (const from of new Set(consumers.map(({ version }) => version)))
    for (const { version: to, fingerprint } of rising) {
      if (to === from || modelOf(from) === fingerprint) continue;
      const scores = { from: scoresOf(pairs, from, to), to: scoresOf(pairs, to, from) };
      const warned = thresholdWarnings(
        await records.consumers({ corpus, version: from }),
        { corpus, from, to },
        scores,
      );
      lines.push(...warned.map(({ message }) => message));
    }
  return lines;
}

/** Of `version` in its comparison with `other`, whichever of them served. */
function scoresOf(pairs: readonly PairView[], version: string, other: string): ScoreQuantiles | null {
  for (const { primary, shadow, distributions } of pairs) {
    const role =
      primary.version === version && shadow.version === other
        ? 'primary'
        : shadow.version === version && primary.version === other
          ? 'shadow'
          : null;
    if (role === null) continue;
    const mean = (quantile: string): number | null =>
      distributions[`${role}_score_${quantile}`]?.mean ?? null;
    const [p25, median, p75] = [mean('p25'), mean('median'), mean('p75')];
    if (p25 !== null && median !== null && p75 !== null) return { p25, median, p75 };
  }
  return null;
}
