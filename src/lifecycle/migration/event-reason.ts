import { stepName } from './plan.js';
import { stepOfPlan } from './plan-schema.js';
import type { Migration } from './record.js';
import type { MigrationEventBody } from './state.js';

const LENGTH_MAX = 1_900;

/** Why, in the audit, of what a driver writes down. */
export const reasonOf = (event: MigrationEventBody, migration: Migration): string =>
  text(event, migration).slice(0, LENGTH_MAX);

function text(event: MigrationEventBody, { plan, state, fromVersion, toVersion }: Migration): string {
  const step = 'at' in state ? stepName(stepOfPlan(plan, state.at.step)) : '';
  if ('why' in event) return event.why;
  const { why } = ('findings' in event ? (event.findings ?? {}) : {}) as { readonly why?: unknown };
  if (event.kind === 'step_done' && typeof why === 'string') return `${step}: ${why}`;
  switch (event.kind) {
    case 'route_placed':
      return `${step} of the migration ${fromVersion} → ${toVersion}`;
    case 'consumers_warned':
      return event.warnings.map(({ message }) => message).join('; ');
    case 'settled':
      return event.settled.lagging.length === 0
        ? 'every replica serves the old version'
        : `these replicas did not follow: ${event.settled.lagging.join(', ')}`;
    default:
      return `${event.kind}: ${step}`;
  }
}
