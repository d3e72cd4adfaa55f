import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import type { ModelSpec } from '../../src/router/targets.js';
import { createGate, createRig, PLANS, route, V1, V1B, V2 } from './harness.js';
import { CORPUS, createEngines, embedText, fingerprintOf, target } from './small-engines.js';

const settle = () => new Promise((resolve) => setTimeout(resolve, 15));

t.test('a model whose encoder cannot be opened is reported failed until one is ready', async (t) => {
  const engines = createEngines(PLANS);
  const { openEncoder } = engines.factories;
  let broken: SwitchyardError | null = new SwitchyardError('PROBE_MISMATCH', 'another space');
  let attempts = 0;
  const factories = {
    ...engines.factories,
    openEncoder: async (model: ModelSpec) => {
      attempts++;
      await settle();
      if (broken !== null) throw broken;
      return openEncoder(model);
    },
  };
  const { router } = createRig({ engines, over: { factories } });
  const states = () =>
    router.encoders().map(({ model, state, provider }) => [model.modelRef, state, provider]);
  t.same(states(), []);
  const applying = router.apply(route(1, [target(V1, 'active', 10_000)]));
  await Promise.resolve();
  await Promise.resolve();
  t.same(states(), [['alpha@1', 'starting', null]]);
  t.match(await applying, { kind: 'failed', error: { reason: 'PROBE_MISMATCH' } });
  const targetStates = new Set<string>();
  while (attempts < 4) {
    t.same(states(), [['alpha@1', 'failed', null]], 'between the attempts and while one runs');
    for (const { state } of router.targets()) targetStates.add(state);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  t.same([...targetStates].sort(), ['failed', 'loading']);
  broken = null;
  while (router.routeStatus()[0]?.applied !== 1) await settle();
  t.same(states(), [['alpha@1', 'ready', 'cpu']]);

  broken = new SwitchyardError('CORRUPT_MODEL', 'not what was published');
  await router.apply(route(2, [target(V1, 'active', 10_000), target(V2, 'shadow')]));
  while (!states().some(([model, state]) => model === 'beta@1' && state === 'failed')) await settle();
  t.same(states().sort(), [
    ['alpha@1', 'ready', 'cpu'],
    ['beta@1', 'failed', null],
  ]);
  await router.apply(route(3, [target(V1, 'active', 10_000)]));
  while (states().length > 1) await settle();
  t.same(states(), [['alpha@1', 'ready', 'cpu']], 'what nobody wants is not reported');
  await router.close();
});

t.test('what an earlier want of a model came to is forgotten, whether or not anybody looked', async (t) => {
  const engines = createEngines(PLANS);
  const { openEncoder } = engines.factories;
  const gate = createGate();
  let isBroken = true;
  const factories = {
    ...engines.factories,
    openEncoder: async (model: ModelSpec) => {
      if (model.modelRef === 'beta@1' && isBroken) throw new SwitchyardError('CORRUPT_MODEL', 'not whole');
      if (model.modelRef === 'beta@1') await gate.opened;
      return openEncoder(model);
    },
  };
  const { router } = createRig({ engines, over: { factories } });
  const both = [target(V1, 'active', 10_000), target(V2, 'shadow')];
  const stateOfBeta = () => router.encoders().find(({ model }) => model.modelRef === 'beta@1');
  await router.apply(route(1, both));
  while (!router.targets().some(({ state }) => state === 'failed')) await settle();
  const reported = stateOfBeta();
  t.match(reported, { state: 'failed', provider: null, error: { reason: 'CORRUPT_MODEL' } });
  t.same(stateOfBeta(), reported, 'a report changes nothing');
  await router.apply(route(2, [target(V1, 'active', 10_000)]));
  await router.apply(route(3, both.slice(0, 1)));
  isBroken = false;
  const applying = router.apply(route(4, both));
  await settle();
  t.match(stateOfBeta(), { state: 'starting', error: null });
  gate.open();
  await applying;
  while (stateOfBeta()?.state !== 'ready') await settle();
  t.equal(stateOfBeta()?.error, null);
  await router.close();
  t.same([engines.openNames(), engines.faults], [[], []]);
});

t.test(
  'a target whose index alone fails keeps its encoder for the next attempt, and leaves none',
  async (t) => {
    const { router, engines } = createRig();
    const onlyV1 = [target(V1, 'active', 10_000)];
    let [attempts, isBroken] = [0, true];
    const gate = createGate();
    const corrupt = new SwitchyardError('CORRUPT_BUNDLE', 'not what was published');
    engines.conditions.onOpen = async () => {
      attempts++;
      if (isBroken) throw corrupt;
    };
    t.match(await router.apply(route(1, onlyV1)), { kind: 'failed', error: { reason: 'CORRUPT_BUNDLE' } });
    while (attempts < 5) await settle();
    t.match(engines.counts, { encodersOpened: 1, encodersClosed: 0 });
    t.match(router.encoders(), [{ state: 'ready', provider: 'cpu', error: null }]);
    isBroken = false;
    while (router.routeStatus()[0]?.applied !== 1) await settle();
    t.match(engines.counts, { opened: 1, encodersOpened: 1, encodersClosed: 0 }, 'and serves with it');
    router.remove(CORPUS);
    while (engines.openNames().length > 0) await settle();

    isBroken = true;
    await router.apply(route(2, onlyV1));
    router.remove(CORPUS);
    while (engines.openNames().length > 0) await settle();
    t.match(engines.counts, { encodersOpened: 2, encodersClosed: 2 }, 'given up between two attempts');

    isBroken = true;
    await router.apply(route(3, onlyV1));
    engines.conditions.onOpen = async () => {
      attempts++;
      await gate.opened;
      throw corrupt;
    };
    const before = attempts;
    while (attempts === before) await settle();
    router.remove(CORPUS);
    gate.open();
    while (engines.openNames().length > 0) await settle();
    t.match(engines.counts, { encodersOpened: 3, encodersClosed: 3 }, 'given up in the middle of one');
    await router.close();
    t.same(engines.faults, []);
  },
);

t.test('an index and an encoder are opened once, whatever wants them', async (t) => {
  const { router, engines } = createRig();
  const holdings = { targets: [{ corpus: CORPUS, target: target(V2, 'active') }], models: [] };
  router.hold(holdings);
  router.hold(holdings);
  while (router.targets()[0]?.state !== 'ready') await settle();
  await router.apply(route(1, [target(V1, 'active', 5000), target(V1B, 'active', 5000)]));
  await router.apply(
    route(2, [target(V1, 'active', 4000), target(V1B, 'active', 5000), target(V2, 'active', 1000)]),
  );
  await router.apply(route(3, [target(V1, 'draining'), target(V2, 'active', 10_000)]));
  t.match(engines.counts, { opened: 3, closed: 1, encodersOpened: 2 });
  await router.apply(route(4, [target(V1, 'active', 10_000)]));
  await settle();
  t.match(engines.counts, { opened: 3, closed: 1 }, 'what is held stays open without a route');
  router.hold({ targets: [], models: [{ fingerprint: fingerprintOf('gamma'), modelRef: 'gamma@1' }] });
  await settle();
  t.match(engines.counts, { closed: 2, encodersOpened: 3, encodersClosed: 1 });
  t.same(
    (
      await router.embed({
        model: 'gamma@1',
        text: 'owl',
        role: 'query',
        priority: 'live',
        deadlineAtMs: Number.POSITIVE_INFINITY,
      })
    ).values,
    embedText('gamma', 'owl'),
  );
  await router.close();
  t.same([engines.openNames(), engines.faults], [[], []]);
});
