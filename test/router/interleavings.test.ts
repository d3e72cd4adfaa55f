import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import type { Route, RouteTarget } from '../../src/registry/route.js';
import type { SearchCall, SearchOutcome } from '../../src/router/query.js';
import type { TargetSpec } from '../../src/router/targets.js';
import { Checker } from './checker.js';
import { createRig, PLANS, type Rig, route, textCall, V1, V1B, V2, V3, vectorCall } from './harness.js';
import { referencePick } from './reference-pick.js';
import { buildOf, createEngines, embedText, QUERIES, seededRandom, target } from './small-engines.js';

const STEPS_WANTED = 10_000;

/** One of several ways a corpus may be routed; weights sum to 10 000. */
const ROUTES: readonly (readonly RouteTarget[])[] = [
  [target(V1, 'active', 10_000)],
  [target(V1, 'active', 10_000), target(V2, 'shadow', 0, 5000)],
  [target(V1, 'active', 9900), target(V2, 'active', 100)],
  [target(V1, 'active', 5000), target(V2, 'active', 5000), target(V3, 'shadow', 0, 10_000)],
  [target(V1, 'draining'), target(V2, 'active', 10_000)],
  [target(V2, 'active', 10_000)],
  [
    target(V1, 'active', 3000),
    target(V1B, 'active', 3000),
    target(V2, 'active', 3000),
    target(V3, 'active', 1000),
  ],
  [target(V1B, 'active', 10_000), target(V2, 'draining'), target(V1, 'shadow', 0, 10_000)],
  [target(V3, 'active', 10_000), target(V1, 'active', 0)],
];

type Step =
  | {
      readonly kind: 'ask';
      readonly replica: number;
      readonly query: number;
      readonly how: How;
      readonly key: number;
    }
  | { readonly kind: 'batch'; readonly replica: number }
  | { readonly kind: 'change'; readonly routing: number }
  | { readonly kind: 'deliver'; readonly replica: number; readonly back: number }
  | { readonly kind: 'hold'; readonly replica: number; readonly routing: number }
  | { readonly kind: 'break' | 'mend'; readonly plan: number }
  | { readonly kind: 'encoder down' | 'encoder up'; readonly plan: number }
  | { readonly kind: 'pass'; readonly turns: number };
type How =
  | { readonly kind: 'free' | 'keyed' }
  | { readonly kind: 'model' | 'vector' | 'pin'; readonly plan: number };

const plan = fc.nat(PLANS.length - 1);
const replica = fc.nat(1);
const how: fc.Arbitrary<How> = fc.oneof(
  fc.record({ kind: fc.constantFrom('free' as const, 'keyed' as const) }),
  fc.record({ kind: fc.constantFrom('model' as const, 'vector' as const, 'pin' as const), plan }),
);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant('ask' as const),
      replica,
      query: fc.nat(QUERIES.length - 1),
      how,
      key: fc.nat(50),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('batch' as const), replica }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('change' as const), routing: fc.nat(ROUTES.length - 1) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('deliver' as const),
      replica,
      back: fc.constantFrom(0, 0, 0, 1, 2),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('hold' as const), replica, routing: fc.nat(ROUTES.length - 1) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('break' as const, 'mend' as const), plan }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constantFrom('encoder down' as const, 'encoder up' as const), plan }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('pass' as const), turns: fc.integer({ min: 1, max: 12 }) }),
  },
);

/** What the design allows a call to be served by, from the route as it was written. */
function allowed({ targets }: Route, call: SearchCall): readonly RouteTarget[] {
  if (call.corpusVersion !== null) return targets.filter(({ version }) => version === call.corpusVersion);
  const active = targets.filter(({ weightBps }) => weightBps > 0);
  if (call.model === null) return active;
  const ofModel = (some: readonly RouteTarget[]) => some.filter(({ modelRef }) => modelRef === call.model);
  const first = ofModel(active);
  return first.length > 0 ? first : ofModel(targets.filter(({ role }) => role === 'draining'));
}

class World {
  readonly checker = new Checker(PLANS, QUERIES);
  readonly complaints: string[] = [];
  readonly rigs: readonly Rig[];
  private readonly written: Route[] = [route(1, ROUTES[0] as readonly RouteTarget[])];
  private readonly running: Promise<void>[] = [];
  private readonly broken = new Set<string>();
  private readonly brokenEver = new Set<string>();
  private readonly down = new Set<string>();
  private readonly downEver = new Set<string>();

  constructor(seed: number) {
    const random = seededRandom(seed);
    const linger = async () => {
      for (let turns = Math.floor(random() * 4); turns > 0; turns--) await turn();
    };
    this.rigs = [1, 2].map((rig) => {
      const engines = createEngines(PLANS);
      engines.conditions.onEncode = async (model) => {
        await linger();
        if (this.down.has(model)) throw new SwitchyardError('ENCODER_UNAVAILABLE', 'restarting');
      };
      engines.conditions.onSearch = linger;
      engines.conditions.onOpen = async (spec: TargetSpec) => {
        await linger();
        if (this.broken.has(spec.build)) throw new SwitchyardError('CORRUPT_BUNDLE', 'broken');
      };
      return createRig({ engines, seed: seed + rig, mirror: { concurrencyMax: 2, queueLengthMax: 4 } });
    });
  }

  async start(): Promise<void> {
    for (const { router } of this.rigs) await router.apply(this.written[0] as Route);
  }

  async take(step: Step): Promise<void> {
    switch (step.kind) {
      case 'ask':
        return this.ask(step.replica, QUERIES[step.query] as string, step.how, `key ${step.key}`);
      case 'batch':
        return this.askBatch(step.replica);
      case 'change':
        this.written.push(route(this.written.length + 1, ROUTES[step.routing] as readonly RouteTarget[]));
        return;
      case 'deliver': {
        const late = this.written[Math.max(0, this.written.length - 1 - step.back)] as Route;
        this.running.push((this.rigs[step.replica] as Rig).router.apply(late).then(() => {}));
        return;
      }
      case 'hold': {
        const targets = (ROUTES[step.routing] ?? []).map((one) => ({ corpus: 'animals', target: one }));
        (this.rigs[step.replica] as Rig).router.hold({ targets, models: [] });
        return;
      }
      case 'break':
        this.broken.add(buildOf((PLANS[step.plan] as { name: string }).name));
        this.brokenEver.add(buildOf((PLANS[step.plan] as { name: string }).name));
        return;
      case 'mend':
        this.broken.delete(buildOf((PLANS[step.plan] as { name: string }).name));
        return;
      case 'encoder down':
        this.down.add((PLANS[step.plan] as { model: string }).model);
        this.downEver.add(`${(PLANS[step.plan] as { model: string }).model}@1`);
        return;
      case 'encoder up':
        this.down.delete((PLANS[step.plan] as { model: string }).model);
        return;
      case 'pass':
        for (let turns = 0; turns < step.turns; turns++) await turn();
        return;
      default:
        return step satisfies never;
    }
  }

  /** Mends everything, waits for all answers, closes, and says what was left open or used after its end. */
  async end(): Promise<void> {
    this.broken.clear();
    this.down.clear();
    for (const { router } of this.rigs)
      this.running.push(router.apply(this.written[this.written.length - 1] as Route).then(() => {}));
    await Promise.all(this.running);
    for (const { router, engines, metrics, errors } of this.rigs) {
      await router.close();
      for (const version of ['v1', 'v2', 'v3'])
        if (
          metrics.of(`offered ${version}`) !==
          metrics.of(`compared ${version}`) + metrics.sum(`dropped ${version} `)
        )
          this.complaints.push(
            `mirrors of ${version} are not all accounted for: ${[...metrics.counts].join(' ')}`,
          );
      this.complaints.push(...engines.openNames(), ...engines.faults, ...errors.map(String));
    }
    this.complaints.push(...this.checker.mispaired, ...this.checker.mislabelled);
  }

  private ask(at: number, query: string, how: How, key: string): void {
    const { router } = this.rigs[at] as Rig;
    const call = callOf(query, how, key);
    const current = this.currentRoute(router);
    this.running.push(
      router.search(call).then(
        (outcome) => this.judge(query, call, current, outcome),
        (error) => this.judgeError(call, current, error),
      ),
    );
  }

  private askBatch(at: number): void {
    const { router } = this.rigs[at] as Rig;
    const calls = QUERIES.map((query, order) => callOf(query, { kind: 'keyed' }, `key ${order}`));
    const current = this.currentRoute(router);
    this.running.push(
      router.batchSearch(calls).then((items) =>
        items.forEach((item, order) => {
          const call = calls[order] as SearchCall;
          if (item instanceof Error) this.judgeError(call, current, item);
          else this.judge(QUERIES[order] as string, call, current, item);
        }),
      ),
    );
  }

  private currentRoute(router: Rig['router']): Route {
    const applied = router.routeStatus()[0]?.applied;
    const current = this.written.find(({ revision }) => revision === applied);
    if (current === undefined) throw new Error('a revision that nobody wrote is applied');
    return current;
  }

  private judge(query: string, call: SearchCall, current: Route, outcome: SearchOutcome): void {
    this.checker.check(query, call.topK, outcome);
    const { build, routeRevision } = outcome.servedBy;
    if (routeRevision !== current.revision)
      this.complaints.push(`began under revision ${current.revision}, served under ${routeRevision}`);
    const targets = allowed(current, call);
    if (!targets.some((one) => one.build === build))
      this.complaints.push(`revision ${routeRevision} does not let ${build.slice(0, 8)} serve this call`);
    if (call.affinityKey !== null) {
      const weights = Object.fromEntries(targets.map((one) => [one.build, one.weightBps]));
      if (referencePick(weights, 'salt', call.affinityKey) !== build)
        this.complaints.push(
          `key ${call.affinityKey} met another target than its own under ${routeRevision}`,
        );
    }
  }

  /** No request fails because a route changed: each failure needs a cause in the route itself or in the engines. */
  private judgeError(call: SearchCall, current: Route, thrown: unknown): void {
    const reason = thrown instanceof SwitchyardError ? thrown.reason : 'not a SwitchyardError';
    const targets = allowed(current, call);
    const isExplained =
      (reason === 'MODEL_MISMATCH' && call.model !== null && targets.length === 0) ||
      (reason === 'UNKNOWN_MODEL' && !current.targets.some(({ modelRef }) => modelRef === call.model)) ||
      (reason === 'UNKNOWN_CORPUS_VERSION' && targets.length === 0) ||
      (reason === 'ENCODER_UNAVAILABLE' && targets.some(({ modelRef }) => this.downEver.has(modelRef))) ||
      (reason === 'INDEX_UNAVAILABLE' &&
        targets.every(
          ({ build, weightBps, role, modelRef }) =>
            weightBps === 0 &&
            (role === 'shadow' || this.brokenEver.has(build) || this.downEver.has(modelRef)),
        ));
    if (!isExplained) this.complaints.push(`${reason} under revision ${current.revision}: ${String(thrown)}`);
  }
}

function callOf(query: string, how: How, key: string): SearchCall {
  if (!('plan' in how)) return textCall(query, { affinityKey: how.kind === 'keyed' ? key : null });
  const { model, version } = PLANS[how.plan] as { model: string; version: string };
  if (how.kind === 'model') return textCall(query, { model: `${model}@1` });
  if (how.kind === 'pin') return textCall(query, { corpusVersion: version });
  return vectorCall(embedText(model, query), { model: `${model}@1` });
}

t.test(
  'whatever is interleaved, every answer is of one pair and one revision, and no route change fails a request',
  async (t) => {
    let steps = 0;
    let checked = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 60, maxLength: 160, size: 'max' }),
        fc.nat(1 << 20),
        async (script, seed) => {
          const world = new World(seed);
          await world.start();
          for (const one of script) await world.take(one);
          await world.end();
          steps += script.length;
          checked += world.checker.checked;
          if (world.complaints.length > 0) throw new Error(world.complaints.slice(0, 5).join('\n'));
        },
      ),
      { numRuns: 110, seed: 20_261_123 },
    );
    t.comment(`${steps} steps, ${checked} answers checked`);
    t.ok(steps >= STEPS_WANTED, `${steps} steps`);
    t.ok(checked > steps / 5, `${checked} answers`);
  },
);
