import { type ThresholdWarning, thresholdWarnings } from '../retire/score-thresholds.js';
import { Measured } from './measured.js';
import type { StepContext } from './step.js';

/**
 * Consumers of the old version that compare scores with numbers of their own, with both versions' scores as the mirrored
 * reads of all gateways had them; those that were warned before are left out. None where both are of one model.
 */
export async function cutoverWarnings(
  context: Pick<StepContext<'set_weight'>, 'registry' | 'migration' | 'state'>,
): Promise<readonly ThresholdWarning[]> {
  const { registry, migration, state } = context;
  const { corpus, fromVersion: from, toVersion: to } = migration;
  const warned = new Set(state.facts.warned?.map(({ service }) => service));
  const consumers = (await registry.consumers.list({ corpus })).filter(
    ({ version, usesScoreThresholds, migrated, serviceName }) =>
      version === from && usesScoreThresholds && !migrated && !warned.has(serviceName),
  );
  if (consumers.length === 0) return [];
  const versions = await registry.corpusVersions.list({ corpus });
  const modelOf = (label: string) => versions.find(({ version }) => version === label)?.fingerprint;
  if (modelOf(from) === modelOf(to)) return [];
  const totals = await new Measured(context, migration.createdAt.toISOString()).now();
  const scores = totals.mirrored(to).scores;
  return thresholdWarnings(
    consumers,
    { corpus, from, to },
    { from: scores?.primary ?? null, to: scores?.shadow ?? null },
  );
}
