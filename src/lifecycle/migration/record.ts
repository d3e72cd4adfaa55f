import type { MigrationRecord } from '../../registry/migration-record.js';
import { compilePlan } from './plan.js';
import type { MigrationPlan } from './plan-schema.js';
import type { MigrationState } from './state.js';

/** A migration with plan and state as this program understands them. */
export interface Migration extends Omit<MigrationRecord, 'plan' | 'state'> {
  readonly plan: MigrationPlan;
  readonly state: MigrationState;
}

/** The plan is written down as the document it was read from, every default said; the state as it is. */
export const readMigration = (record: MigrationRecord): Migration => ({
  ...record,
  plan: compilePlan(record.plan),
  state: record.state as MigrationState,
});
