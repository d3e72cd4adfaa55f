import fc from 'fast-check';
import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import { compilePlan, DEFAULT_PLAN } from '../../src/lifecycle/migration/plan.js';
import { type MigrationPlan, stepOfPlan } from '../../src/lifecycle/migration/plan-schema.js';
import {
  isFinished,
  isReturning,
  type MigrationEventBody,
  type MigrationState,
  type Placement,
  weightOf,
} from '../../src/lifecycle/migration/state.js';
import { begun, transition } from '../../src/lifecycle/migration/transition.js';
import type { Digest } from '../../src/vocabulary.js';

const AT = '2026-11-26T07:00:00.000Z';
const OLD = 'a'.repeat(64) as Digest;
const NEW = 'b'.repeat(64) as Digest;
const NEWER = 'c'.repeat(64) as Digest;
const FROM = { from: { build: OLD, tier: 'ssd' as const }, routeRevision: 1 };

const SHORT = compilePlan({
  steps: [
    { build: {} },
    { verify: {} },
    { shadow: {} },
    { analysis: { shadow: {} } },
    { set_weight: { weight: 100 } },
    { analysis: { error_rate: {} } },
    { pause: { duration_s: 1 } },
    { set_weight: { weight: 10_000 } },
    { complete: {} },
    { retire: {} },
  ].toSpliced(7, 0, { analysis: { error_rate: {} } }),
});
const PLANS: readonly MigrationPlan[] = [SHORT, compilePlan(DEFAULT_PLAN)];

const placements = (plan: MigrationPlan): readonly Placement[] => [
  { kind: 'untouched' },
  { kind: 'shadow', mirrorBps: 10_000, build: NEW },
  { kind: 'shadow', mirrorBps: 10_000, build: NEWER },
  { kind: 'released' },
  { kind: 'restored' },
  ...plan.steps.flatMap((step): Placement[] =>
    step.kind === 'set_weight' ? [{ kind: 'weighted', weightBps: step.options.weight }] : [],
  ),
];

/** What the driver would do next, so that random walks also come far. */
function driverEvent(plan: MigrationPlan, state: MigrationState, revision: number): MigrationEventBody {
  if (isReturning(state)) return { kind: 'settled', settled: { rollbackMs: 1, lagging: [] } };
  if (state.kind !== 'running') return { kind: 'promote' };
  const step = stepOfPlan(plan, state.at.step);
  const { placement, verified } = state.facts;
  switch (step.kind) {
    case 'verify':
      // Verified anew it is another build, as after a change of the version.
      return {
        kind: 'verified',
        verified: { build: state.at.attempt === 1 ? NEW : NEWER, watermark: null },
        findings: null,
      };
    case 'shadow':
      if (verified === null) throw new TypeError('nothing is mirrored before it is verified');
      return placement.kind === 'shadow' && placement.build === verified.build
        ? { kind: 'step_done', findings: null }
        : {
            kind: 'route_placed',
            placement: {
              kind: 'shadow',
              mirrorBps: step.options.mirror_bps,
              build: verified.build,
            },
            routeRevision: revision,
          };
    case 'analysis':
      return { kind: 'analysis_successful', findings: null };
    case 'set_weight':
      return weightOf(state.facts) === step.options.weight
        ? { kind: 'step_done', findings: null }
        : {
            kind: 'route_placed',
            placement: { kind: 'weighted', weightBps: step.options.weight },
            routeRevision: revision,
          };
    case 'complete':
      return placement.kind === 'released'
        ? { kind: 'step_done', findings: null }
        : { kind: 'route_placed', placement: { kind: 'released' }, routeRevision: revision };
    case 'build':
    case 'pause':
    case 'retire':
      return { kind: 'step_done', findings: null };
    default:
      return step satisfies never;
  }
}

const anyEvent = (plan: MigrationPlan): fc.Arbitrary<MigrationEventBody> =>
  fc.oneof(
    fc.constantFrom<MigrationEventBody>(
      { kind: 'pause' },
      { kind: 'resume' },
      { kind: 'promote' },
      { kind: 'abort', routeRevision: 50 },
      { kind: 'rollback', routeRevision: 50 },
      { kind: 'step_done', findings: null },
      { kind: 'step_broke', why: 'it broke' },
      { kind: 'release_held', why: 'a consumer' },
      { kind: 'verified', verified: { build: NEW, watermark: null }, findings: null },
      { kind: 'analysis_successful', findings: null },
      { kind: 'analysis_inconclusive', findings: null, why: 'too little' },
      { kind: 'analysis_failed', findings: null, why: 'worse', routeRevision: 50 },
      { kind: 'route_accepted', routeRevision: 9, why: 'a tier' },
      { kind: 'route_diverged', why: 'weights' },
      { kind: 'version_changed', why: 'another default build', routeRevision: 51 },
      { kind: 'settled', settled: { rollbackMs: 5, lagging: [] } },
    ),
    fc
      .constantFrom(...placements(plan))
      .map((placement): MigrationEventBody => ({ kind: 'route_placed', placement, routeRevision: 7 })),
  );

/** A word to the driver, mostly; else anything at all. */
const script = (plan: MigrationPlan) =>
  fc.array(fc.oneof({ weight: 5, arbitrary: fc.constant(null) }, { weight: 2, arbitrary: anyEvent(plan) }), {
    maxLength: 60,
  });

interface Walk {
  readonly states: readonly MigrationState[];
  readonly events: readonly MigrationEventBody[];
}

function walk(plan: MigrationPlan, events: readonly (MigrationEventBody | null)[]): Walk {
  const states = [begun(plan, FROM, AT)];
  const taken: MigrationEventBody[] = [];
  for (const [at, given] of events.entries()) {
    const state = states.at(-1) as MigrationState;
    const event = given ?? driverEvent(plan, state, at + 2);
    try {
      states.push(transition(plan, state, event, AT));
      taken.push(event);
    } catch (error) {
      if (!(error instanceof SwitchyardError) || error.reason !== 'STATUS_CONFLICT') throw error;
    }
  }
  return { states, events: taken };
}

for (const [number, plan] of PLANS.entries()) {
  t.test(`whatever happens to a migration of plan ${number + 1}`, async (t) => {
    const holds = (name: string, property: (walk: Walk) => boolean) =>
      t.test(name, async (t) => {
        fc.assert(
          fc.property(script(plan), (events) => property(walk(plan, events))),
          { numRuns: 2_000, seed: 7 },
        );
        t.pass();
      });

    await holds(
      'weight rises only behind a gate that was passed or overridden by a person',
      ({ states, events }) =>
        events.every((_event, at) => {
          const [before, after] = [states[at], states[at + 1]] as [MigrationState, MigrationState];
          const isRaised = weightOf(after.facts) > weightOf(before.facts);
          return !isRaised || (before.facts.gate !== null && before.facts.verified !== null);
        }),
    );

    await holds('the first weight goes to the build that was mirrored and judged', ({ states, events }) =>
      events.every((event, at) => {
        const [before, after] = [states[at], states[at + 1]] as [MigrationState, MigrationState];
        if (weightOf(before.facts) > 0 || weightOf(after.facts) === 0) return true;
        const judged = states.slice(0, at + 1).findLast(
          // Where the gate began: the state in which its analysis was run.
          ({ facts }, index) => facts.gate === null && states[index + 1]?.facts.gate !== null,
        );
        const { placement } = judged?.facts ?? before.facts;
        const { verified } = after.facts;
        return (
          event.kind === 'route_placed' && placement.kind === 'shadow' && placement.build === verified?.build
        );
      }),
    );

    await holds(
      'a gate lets one weight through, and is made by an analysis or a promotion alone',
      ({ states, events }) =>
        events.every((event, at) => {
          const [before, after] = [states[at], states[at + 1]] as [MigrationState, MigrationState];
          if (before.facts.gate === null && after.facts.gate !== null)
            return event.kind === 'analysis_successful' || event.kind === 'promote';
          return weightOf(after.facts) <= weightOf(before.facts) || after.facts.gate === null;
        }),
    );

    await holds('it can be rolled back from every state in which the new version could serve', ({ states }) =>
      states.every((state) => {
        if (isReturning(state)) return true;
        const back = transition(plan, state, { kind: 'rollback', routeRevision: 99 }, AT);
        return back.kind === 'rolled_back' && weightOf(back.facts) === 0;
      }),
    );

    await holds('what ended stays ended, but for the rollback of one that completed', ({ states, events }) =>
      events.every((event, at) => !isFinished(states[at] as MigrationState) || event.kind === 'rollback'),
    );

    await holds('no state is lost: it is JSON, and a driver goes on from what was written', ({ states }) =>
      states.every((state) => {
        const read = JSON.parse(JSON.stringify(state)) as MigrationState;
        if (JSON.stringify(read) !== JSON.stringify(state)) return false;
        if (isFinished(state) || state.kind === 'paused') return true;
        transition(plan, read, driverEvent(plan, read, 9), AT);
        return true;
      }),
    );

    await holds('a failed analysis takes the weight back in the same step', ({ states, events }) =>
      events.every(
        (event, at) =>
          event.kind !== 'analysis_failed' || weightOf((states[at + 1] as MigrationState).facts) === 0,
      ),
    );

    await holds('a version that changed has no weight until it is verified again', ({ states, events }) =>
      events.every((event, at) => {
        const { facts } = states[at + 1] as MigrationState;
        return event.kind !== 'version_changed' || (weightOf(facts) === 0 && facts.verified === null);
      }),
    );

    await t.test('left to itself it completes, with all weight on the new version', async (t) => {
      const { states } = walk(plan, new Array(60).fill(null));
      const last = states.at(-1) as MigrationState;
      t.equal(last.kind, 'completed');
      t.equal(weightOf(last.facts), 10_000);
    });
  });
}

t.test('a version that changes before it has weight is verified and measured anew', async (t) => {
  const { states } = walk(SHORT, [null, null, null, null]);
  const state = states.at(-1) as MigrationState;
  t.match(state, { kind: 'running', at: { step: 3 } });
  const changed = { kind: 'version_changed', why: 'x', routeRevision: null } as const;
  const anew = transition(SHORT, state, changed, '2026-11-26T08:00:00.000Z');
  t.match(anew, { kind: 'running', at: { step: 1 }, facts: { verified: null, gate: null } });
  const verified = transition(
    SHORT,
    anew,
    { kind: 'verified', verified: { build: NEWER, watermark: null }, findings: null },
    '2026-11-26T08:01:00.000Z',
  );
  t.match(verified, { at: { step: 2 }, facts: { placement: { kind: 'shadow', build: NEW } } });
  t.throws(() => transition(SHORT, verified, { kind: 'step_done', findings: null }, AT), {
    name: 'SwitchyardError',
    reason: 'STATUS_CONFLICT',
  });
  const placement = { kind: 'shadow', mirrorBps: 10_000, build: NEWER } as const;
  const placedAt = '2026-11-26T08:02:00.000Z';
  const placed = transition(SHORT, verified, { kind: 'route_placed', placement, routeRevision: 9 }, placedAt);
  t.match(placed, { at: { step: 2 }, facts: { placement, routeRevision: 9, measuredFrom: placedAt } });
});

t.test('what replicas may have been asked to load is taken back, wherever it ends then', async (t) => {
  const plan = compilePlan({
    steps: [{ verify: {} }, { analysis: { cost: {} } }, { set_weight: { weight: 10_000 } }, { complete: {} }],
  });
  const loading = walk(plan, [null, null]).states.at(-1) as MigrationState;
  t.match(loading, { kind: 'running', at: { step: 2 }, facts: { placement: { kind: 'untouched' } } });
  const changed = { kind: 'version_changed', why: 'x', routeRevision: null } as const;
  const anew = transition(plan, loading, changed, AT);
  const judged = transition(plan, anew, driverEvent(plan, anew, 9), AT);
  const abort = { kind: 'abort', routeRevision: null } as const;
  const failed = { kind: 'analysis_failed', findings: null, why: 'worse', routeRevision: null } as const;
  for (const ended of [
    transition(plan, loading, abort, AT),
    transition(plan, anew, abort, AT),
    transition(plan, judged, failed, AT),
  ])
    t.match(ended, { kind: 'aborted', facts: { placement: { kind: 'untouched' } }, settled: null });
  t.match(
    transition(plan, begun(plan, FROM, AT), abort, AT),
    { settled: { lagging: [] } },
    'nobody was asked',
  );
});

t.test('one that changes under weight gives it back at once, and begins anew', async (t) => {
  const state = walk(SHORT, new Array(6).fill(null)).states.at(-1) as MigrationState;
  t.equal(weightOf(state.facts), 100);
  const changed = { kind: 'version_changed', why: 'x', routeRevision: 9 } as const;
  const anew = transition(SHORT, state, changed, '2026-11-26T08:00:00.000Z');
  t.match(anew, {
    kind: 'running',
    at: { step: 1 },
    facts: {
      ...{ verified: null, gate: null, placement: { kind: 'restored' }, routeRevision: 9 },
      ...{ hadWeight: true, served: NEW },
    },
  });
  t.equal(weightOf(anew.facts), 0);
  t.throws(() => transition(SHORT, state, { ...changed, routeRevision: null }, AT), TypeError);
  const completing = walk(SHORT, new Array(14).fill(null)).states.find(
    ({ facts }) => facts.placement.kind === 'released',
  ) as MigrationState;
  for (const other of [anew, completing])
    t.throws(() => transition(SHORT, other, changed, AT), {
      name: 'SwitchyardError',
      reason: 'STATUS_CONFLICT',
    });
});

t.test('a route that somebody changed pauses it; going on puts it back first', async (t) => {
  const { states } = walk(SHORT, new Array(6).fill(null));
  const state = states.at(-1) as MigrationState;
  t.equal(weightOf(state.facts), 100);
  const paused = transition(SHORT, state, { kind: 'route_diverged', why: 'weights' }, AT);
  t.match(paused, { kind: 'paused', cause: 'route_changed' });
  const resumed = transition(SHORT, paused, { kind: 'resume' }, AT);
  t.match(resumed, { kind: 'running', facts: { isRouteLost: true } });
  const placement = state.facts.placement;
  t.match(transition(SHORT, resumed, { kind: 'route_placed', placement, routeRevision: 12 }, AT), {
    facts: { isRouteLost: false, routeRevision: 12 },
  });
});

t.test('a gate gives no weight to a build beside the one that is mirrored', async (t) => {
  const state = walk(SHORT, new Array(5).fill(null)).states.at(-1) as MigrationState;
  t.match(state, { kind: 'running', at: { step: 4 }, facts: { gate: { kind: 'passed' } } });
  const placement = { kind: 'weighted', weightBps: 100 } as const;
  const event = { kind: 'route_placed', placement, routeRevision: 9 } as const;
  t.equal(weightOf(transition(SHORT, state, event, AT).facts), 100);
  const verified = { build: NEWER, watermark: null };
  const other = { ...state, facts: { ...state.facts, verified } };
  t.throws(() => transition(SHORT, other, event, AT), {
    name: 'SwitchyardError',
    reason: 'STATUS_CONFLICT',
  });
});
