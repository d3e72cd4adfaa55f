import type { Registry } from '../../registry/registry.js';
import type { StepKind, StepOf } from './plan-schema.js';
import type { MigrationPorts, Work } from './ports.js';
import type { Migration } from './record.js';
import type { MigrationEventBody, RunningState } from './state.js';

/** A running step, for as long as it is the migration's. */
export interface StepContext<Kind extends StepKind> extends Work {
  readonly migration: Migration;
  readonly state: RunningState;
  readonly step: StepOf<Kind>;
  readonly registry: Registry;
  readonly ports: MigrationPorts;
  /** Rejects when the step is no longer this driver's. */
  wait(ms: number): Promise<void>;
  /** Since the step began, by the registry's clock. */
  elapsedMs(): Promise<number>;
}

/**
 * Does what is missing of a step and gives the event that follows. Done again after a crash at any point it does what
 * is missing then. A step whose event is `route_placed` is run again behind it.
 */
export type RunStep<Kind extends StepKind> = (context: StepContext<Kind>) => Promise<MigrationEventBody>;
