import type { StepKind } from './plan-schema.js';
import { SampleTotals } from './sample.js';
import type { StepContext } from './step.js';

/** What all gateways measured since this step was begun: nothing from before counts. */
export async function sinceBegan<Kind extends StepKind>({
  registry,
  migration,
  state,
}: Pick<StepContext<Kind>, 'registry' | 'migration' | 'state'>): Promise<SampleTotals> {
  const since = new Date(state.at.beganAt);
  return new SampleTotals(await registry.migrations.samples(migration.migrationId, since));
}

/** Since the version and the route are what they are: mirrored reads outlive the step that gathered them. */
export async function sinceSettled<Kind extends StepKind>({
  registry,
  migration,
  state,
}: Pick<StepContext<Kind>, 'registry' | 'migration' | 'state'>): Promise<SampleTotals> {
  const since = new Date(state.facts.measuredFrom);
  return new SampleTotals(await registry.migrations.samples(migration.migrationId, since));
}
