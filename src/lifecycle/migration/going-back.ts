import { type MigrationPlan, stepOfPlan } from './plan-schema.js';
import { unfitting } from './refusals.js';
import type { Facts, MigrationEventBody, MigrationState, Position, ReturningState } from './state.js';

/** From everywhere. An ended migration can only be rolled back, and only when it had completed. */
export function goBack(
  plan: MigrationPlan,
  state: MigrationState,
  { kind, routeRevision }: Extract<MigrationEventBody, { readonly kind: 'abort' | 'rollback' }>,
  atIso: string,
): MigrationState {
  const why = kind === 'abort' ? 'an operator aborted it' : 'an operator rolled it back';
  switch (state.kind) {
    case 'running':
    case 'paused':
      // Behind complete the cutover is over: what can still be stopped is the old version's retirement.
      if (kind === 'abort' && state.facts.placement.kind === 'released')
        return { kind: 'completed', facts: state.facts };
      return returned(
        kind === 'abort' ? 'aborted' : 'rolled_back',
        'operator',
        state.at,
        state.facts,
        routeRevision,
        why,
        atIso,
        // Of a record of before, which does not say what was asked for.
        stepOfPlan(plan, state.at.step).kind === 'set_weight',
      );
    case 'completed': {
      if (kind === 'abort') throw unfitting(state, kind);
      const at = { step: 0, attempt: 1, beganAt: atIso };
      return returned('rolled_back', 'operator', at, state.facts, routeRevision, why, atIso);
    }
    case 'aborted':
    case 'rolled_back':
      throw unfitting(state, kind);
    default:
      return state satisfies never;
  }
}

/**
 * `routeRevision` null: the old version had everything, and the route need not change. It is settled at once only where no
 * replica may have been asked to load the new version in advance, which is still to be taken back (`mayBeLoading`).
 */
export function returned(
  kind: 'aborted' | 'rolled_back',
  cause: ReturningState['cause'],
  at: Position,
  facts: Facts,
  routeRevision: number | null,
  why: string,
  sinceAt: string,
  mayBeLoading = false,
): MigrationState {
  const isTouched = facts.placement.kind !== 'untouched';
  if (routeRevision === null && isTouched)
    throw new TypeError('a migration that touched the route gives it back in the same transaction');
  const after: Facts = {
    ...facts,
    gate: null,
    ...(routeRevision === null ? {} : { placement: { kind: 'restored' }, routeRevision }),
  };
  const isAsked = mayBeLoading || facts.wasAskedFor === true;
  const settled = routeRevision === null && !isAsked ? { rollbackMs: null, lagging: [] } : null;
  return { kind, at, facts: after, cause, why, sinceAt, settled };
}
