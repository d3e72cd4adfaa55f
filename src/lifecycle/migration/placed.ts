import type { StepKind } from './plan-schema.js';
import type { MigrationEventBody, Placement } from './state.js';
import type { StepContext } from './step.js';

/** The event by which the route comes to say this, as the revision after the one that is there. */
export async function placed<Kind extends StepKind>(
  { registry, migration }: Pick<StepContext<Kind>, 'registry' | 'migration'>,
  placement: Placement,
): Promise<MigrationEventBody> {
  const { revision } = await registry.routes.get(migration.corpus);
  return { kind: 'route_placed', placement, routeRevision: revision + 1 };
}
