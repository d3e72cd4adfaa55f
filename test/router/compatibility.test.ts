import t from 'tap';
import { createRig, PLANS, refusal, route, V1, V1B, V2 } from './harness.js';
import { buildOf, createEngines, fingerprintOf, target } from './small-engines.js';

t.test('a target is not added when route, bundle and encoder are not of one model', async (t) => {
  const wrongRoute = createRig();
  const lying = { ...target(V2, 'active', 10_000), fingerprint: fingerprintOf('alpha'), modelRef: 'alpha@1' };
  t.match(await wrongRoute.router.apply(route(1, [lying])), {
    kind: 'failed',
    error: { reason: 'FINGERPRINT_MISMATCH', message: /built by mf1_.*the route says mf1_/ },
  });
  await wrongRoute.router.close();
  t.same(wrongRoute.engines.openNames(), [], 'what was opened for the check is closed again');

  const engines = createEngines(PLANS);
  const { router } = createRig({
    engines,
    over: {
      factories: {
        ...engines.factories,
        openEncoder: () =>
          engines.factories.openEncoder({ fingerprint: fingerprintOf('beta'), modelRef: 'x' }),
      },
    },
  });
  t.match(await router.apply(route(1, [target(V1, 'active', 10_000)])), {
    kind: 'failed',
    error: { reason: 'FINGERPRINT_MISMATCH', message: /encoder opened for alpha@1/ },
  });
  await router.close();
  t.same(engines.openNames(), []);

  const swapped = createEngines(PLANS);
  const other = createRig({
    engines: swapped,
    over: {
      factories: {
        ...swapped.factories,
        openTarget: (spec) => swapped.factories.openTarget({ ...spec, build: buildOf('v1b') }),
      },
    },
  });
  t.match(await other.router.apply(route(1, [target(V1, 'active', 10_000)])), {
    kind: 'failed',
    error: { reason: 'CORRUPT_BUNDLE' },
  });
  await other.router.close();
});

t.test('a route that breaks a rule is refused before anything is loaded', async (t) => {
  const { router, engines } = createRig();
  const bad = [
    [target(V1, 'active', 5000), target(V1, 'draining')],
    [target(V1, 'shadow', 1)],
    [target(V1, 'active', 10_001)],
    [target(V1, 'active', 5000), { ...target(V1B, 'active', 5000), fingerprint: fingerprintOf('beta') }],
    [target(V1, 'active', 5000), { ...target(V2, 'active', 5000), modelRef: 'alpha@1' }],
  ];
  for (const targets of bad)
    t.equal((await refusal(router.apply(route(1, targets)))).reason, 'INVALID_ROUTE');
  t.equal(engines.counts.opened, 0);
  t.same(router.routeStatus(), []);
  await router.close();
});
