import { WEIGHT_TOTAL_BPS } from '../../vocabulary.js';
import { goBack, returned } from './going-back.js';
import { type MigrationPlan, type PlanStep, stepOfPlan } from './plan-schema.js';
import { conflict, unfitting, wayBack } from './refusals.js';
import {
  type EventKind,
  type Facts,
  isMirrored,
  isReturning,
  type MigrationEventBody,
  type MigrationState,
  type Placement,
  type Position,
  type RunningState,
  weightOf,
} from './state.js';

/** The state that a migration begins with. */
export const begun = (
  plan: MigrationPlan,
  facts: Pick<Facts, 'from' | 'routeRevision'>,
  atIso: string,
): MigrationState =>
  enter(
    plan,
    0,
    1,
    {
      ...facts,
      placement: { kind: 'untouched' },
      isRouteLost: false,
      hadWeight: false,
      verified: null,
      measuredFrom: atIso,
      gate: null,
    },
    atIso,
  );

/**
 * The one way from state to state; pure. Errors: STATUS_CONFLICT for an event that does not fit, saying what would.
 */
export function transition(
  plan: MigrationPlan,
  state: MigrationState,
  event: MigrationEventBody,
  atIso: string,
): MigrationState {
  switch (event.kind) {
    case 'route_placed':
      return place(plan, state, event.placement, event.routeRevision, atIso);
    case 'route_accepted': {
      const running = runningIn(state, event.kind);
      const facts = { ...running.facts, routeRevision: event.routeRevision, measuredFrom: atIso };
      return again(running, facts, atIso);
    }
    case 'route_diverged': {
      const { at, facts } = runningIn(state, event.kind);
      return { kind: 'paused', at, facts, cause: 'route_changed', why: event.why };
    }
    case 'version_changed':
      return versionChanged(plan, runningIn(state, event.kind), event.routeRevision, atIso);
    case 'verified': {
      const { at, facts } = runningAt(plan, state, ['verify'], event.kind);
      return enter(plan, at.step + 1, 1, { ...facts, verified: event.verified, measuredFrom: atIso }, atIso);
    }
    case 'consumers_warned': {
      const running = runningAt(plan, state, ['set_weight'], event.kind);
      const { facts } = running;
      return { ...running, facts: { ...facts, warned: [...(facts.warned ?? []), ...event.warnings] } };
    }
    case 'release_held': {
      const { at, facts } = runningAt(plan, state, ['complete'], event.kind);
      if (facts.placement.kind === 'released') throw conflict('the old version has left the route already');
      return { kind: 'paused', at, facts, cause: 'in_use', why: event.why };
    }
    case 'step_done': {
      const { at, facts } = runningAt(plan, state, DONE_BY_ITSELF, event.kind);
      assertPlaced(stepOfPlan(plan, at.step), facts);
      return enter(plan, at.step + 1, 1, facts, atIso);
    }
    case 'analysis_successful': {
      const { at, facts } = runningAt(plan, state, ['analysis'], event.kind);
      return enter(plan, at.step + 1, 1, { ...facts, gate: { kind: 'passed', step: at.step } }, atIso);
    }
    case 'analysis_inconclusive': {
      const { at, facts } = runningAt(plan, state, ['analysis'], event.kind);
      return { kind: 'paused', at, facts, cause: 'inconclusive', why: event.why };
    }
    case 'analysis_failed': {
      const { at, facts } = runningAt(plan, state, ['analysis'], event.kind);
      return returned('aborted', 'analysis', at, facts, event.routeRevision, event.why, atIso);
    }
    case 'step_broke': {
      const { at, facts } = runningIn(state, event.kind);
      return { kind: 'paused', at, facts, cause: 'failure', why: event.why };
    }
    case 'settled':
      if (!isReturning(state) || state.settled !== null) throw unfitting(state, event.kind);
      return { ...state, settled: event.settled };
    case 'pause': {
      const { at, facts } = runningIn(state, event.kind);
      return { kind: 'paused', at, facts, cause: 'operator', why: 'an operator paused it' };
    }
    case 'resume':
      if (state.kind !== 'paused') throw unfitting(state, event.kind);
      if (state.cause === 'plan')
        throw conflict('it waits for a confirmation: promote goes on, abort goes back');
      return again(state, { ...state.facts, isRouteLost: state.cause === 'route_changed' }, atIso);
    case 'promote':
      return promoted(plan, state, atIso);
    case 'abort':
    case 'rollback':
      return goBack(plan, state, event, atIso);
    default:
      return event satisfies never;
  }
}

/** Steps that end when their work is done; analyses end with a verdict, `verify` with what it verified. */
const DONE_BY_ITSELF = ['build', 'shadow', 'set_weight', 'pause', 'complete', 'retire'] as const;

/** A step is done only when the route says what it wanted. */
function assertPlaced(step: PlanStep, facts: Facts): void {
  const isPlaced =
    step.kind === 'shadow'
      ? isMirrored(facts)
      : step.kind === 'set_weight'
        ? weightOf(facts) === step.options.weight
        : step.kind === 'complete'
          ? facts.placement.kind === 'released'
          : true;
  if (!isPlaced) throw conflict(`${step.kind} is not done: the route is ${facts.placement.kind}`);
}

/** Begins a step, or ends the migration behind the last one. A confirmation is a pause from its beginning. */
function enter(
  plan: MigrationPlan,
  step: number,
  attempt: number,
  facts: Facts,
  beganAt: string,
): MigrationState {
  const entered = plan.steps[step];
  if (entered === undefined) return { kind: 'completed', facts };
  const at = { step, attempt, beganAt };
  if (entered.kind === 'pause' && entered.options.duration_s === null)
    return { kind: 'paused', at, facts, cause: 'plan', why: 'the plan asks for a confirmation' };
  const wasAskedFor = entered.kind === 'set_weight' ? ({ wasAskedFor: true } as const) : {};
  return { kind: 'running', at, facts: { ...facts, ...wasAskedFor } };
}

/** The same step from its beginning: nothing that was measured before counts. */
const again = ({ at }: { readonly at: Position }, facts: Facts, beganAt: string): MigrationState => ({
  kind: 'running',
  at: { step: at.step, attempt: at.attempt + 1, beganAt },
  facts,
});

function place(
  plan: MigrationPlan,
  state: MigrationState,
  placement: Placement,
  routeRevision: number,
  atIso: string,
): MigrationState {
  const running = runningIn(state, 'route_placed');
  const { at, facts } = running;
  const before = weightOf(facts);
  const step = stepOfPlan(plan, at.step);
  const after = { ...facts, placement, routeRevision, isRouteLost: false };
  // Putting back what was there before somebody else's change raises nothing.
  if (JSON.stringify(placement) === JSON.stringify(facts.placement)) return { ...running, facts: after };
  switch (placement.kind) {
    case 'shadow':
      if (step.kind !== 'shadow' || before > 0)
        throw conflict('only the shadow step mirrors, before any weight');
      if (!isMirrored(after)) throw conflict('nothing is mirrored but the build that was verified');
      return { ...running, facts: { ...after, measuredFrom: atIso } };
    case 'weighted':
      if (step.kind !== 'set_weight' || step.options.weight !== placement.weightBps)
        throw conflict('weight is given by a set_weight step, as much as it says');
      if (facts.verified === null) throw conflict('a version takes weight only when it is verified');
      if (facts.gate === null) throw conflict('weight comes only after a gate that was passed');
      // One of before does not say which build it mirrors to.
      if (facts.placement.kind === 'shadow' && facts.placement.build !== undefined && !isMirrored(facts))
        throw conflict('another build was mirrored than was verified');
      return {
        ...running,
        facts: { ...after, hadWeight: true, served: facts.verified.build, gate: null },
      };
    case 'released':
      if (step.kind !== 'complete' || before !== WEIGHT_TOTAL_BPS)
        throw conflict('the old version leaves the route only in complete, when the new one has all weight');
      return { ...running, facts: after };
    case 'untouched':
    case 'restored':
      throw conflict('a running migration does not go back: abort it');
    default:
      return placement satisfies never;
  }
}

/**
 * It is verified, mirrored and measured anew, from whatever step. Weight that it has goes back in the same transaction, since
 * what was measured is not what the version is any more. Until the shadow step places the new build, the route mirrors to
 * the one of before, which then counts no more.
 */
function versionChanged(
  plan: MigrationPlan,
  { at, facts }: RunningState,
  routeRevision: number | null,
  atIso: string,
): MigrationState {
  if (facts.verified === null) throw conflict('nothing was verified that could be another one now');
  if (facts.placement.kind === 'released')
    throw conflict(
      'the old version has left the route: the new one is what serves, whatever its default build',
    );
  if (routeRevision === null && weightOf(facts) > 0)
    throw new TypeError('a version that changed gives its weight back in the same transaction');
  const verify = plan.steps.findIndex(({ kind }) => kind === 'verify');
  const anew: Facts = { ...facts, verified: null, gate: null };
  const restored: Facts =
    routeRevision === null
      ? anew
      : { ...anew, placement: { kind: 'restored' }, routeRevision, isRouteLost: false };
  return enter(plan, verify, at.attempt + 1, restored, atIso);
}

/** A person goes on: past a confirmation, an analysis that could not decide, or readers of the old version. */
function promoted(plan: MigrationPlan, state: MigrationState, atIso: string): MigrationState {
  if (state.kind === 'running' && stepOfPlan(plan, state.at.step).kind === 'pause')
    return enter(plan, state.at.step + 1, 1, state.facts, atIso);
  if (state.kind !== 'paused') throw unfitting(state, 'promote');
  const { at, facts, cause } = state;
  switch (cause) {
    case 'plan':
      return enter(plan, at.step + 1, 1, facts, atIso);
    case 'inconclusive':
      return enter(plan, at.step + 1, 1, { ...facts, gate: { kind: 'overridden', step: at.step } }, atIso);
    case 'in_use':
      return again(state, { ...facts, isReleaseConfirmed: true }, atIso);
    case 'operator':
    case 'failure':
    case 'route_changed':
      throw conflict(`there is nothing to confirm: resume does the step again, ${wayBack(facts)}`);
    default:
      return cause satisfies never;
  }
}

function runningIn(state: MigrationState, event: EventKind): RunningState {
  if (state.kind !== 'running') throw unfitting(state, event);
  return state;
}

function runningAt(
  plan: MigrationPlan,
  state: MigrationState,
  kinds: readonly PlanStep['kind'][],
  event: EventKind,
): RunningState {
  const running = runningIn(state, event);
  const { kind } = stepOfPlan(plan, running.at.step);
  if (!kinds.includes(kind)) throw conflict(`${event} does not fit the step ${kind}`);
  return running;
}
