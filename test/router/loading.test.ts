import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import { createGate, createRig, refusal, route, textCall, V1, V2, V3, vectorCall } from './harness.js';
import { CORPUS, embedText, target } from './small-engines.js';

const settle = () => new Promise((resolve) => setTimeout(resolve, 15));

t.test(
  'a route serves only when every target with weight is ready; until then the old one does',
  async (t) => {
    const { router, engines } = createRig();
    const gate = createGate();
    t.match(await router.apply(route(1, [target(V1, 'active', 10_000)])), { kind: 'applied', revision: 1 });
    engines.conditions.onOpen = () => gate.opened;
    const applying = router.apply(route(2, [target(V2, 'active', 10_000), target(V1, 'draining')]));
    await settle();
    t.equal((await router.search(textCall('owl'))).servedBy.corpusVersion, 'v1');
    t.match(router.routeStatus(), [{ corpus: CORPUS, applied: 1, wanted: 2, error: null }]);
    t.equal(router.health().corpora[0]?.serving, true, 'loading a newer revision is no fault');
    gate.open();
    t.match(await applying, { kind: 'applied', revision: 2 });
    t.equal((await router.search(textCall('owl'))).servedBy.corpusVersion, 'v2');
    await router.close();
    t.same(engines.openNames(), []);
  },
);

t.test('before the first revision is loaded the corpus is known and says that it loads', async (t) => {
  const { router, engines } = createRig();
  const gate = createGate();
  engines.conditions.onOpen = () => gate.opened;
  const applying = router.apply(route(1, [target(V1, 'active', 10_000)]));
  t.equal((await refusal(router.search(textCall('owl')))).reason, 'INDEX_UNAVAILABLE');
  t.match(router.health(), { ready: false, corpora: [{ corpus: CORPUS, serving: false, why: 'loading' }] });
  gate.open();
  await applying;
  t.match(router.health(), { ready: true, corpora: [{ serving: true, why: null }], degraded: [] });
  await router.close();
});

t.test(
  'a revision that cannot be loaded is reported, the old one serves, and it is applied when loading heals',
  async (t) => {
    const { router, engines } = createRig();
    await router.apply(route(1, [target(V1, 'active', 10_000)]));
    let isBroken = true;
    engines.conditions.onOpen = async () => {
      if (isBroken) throw new SwitchyardError('CORRUPT_BUNDLE', 'index.usearch is not what was published');
    };
    const outcome = await router.apply(route(2, [target(V2, 'active', 10_000)]));
    t.match(outcome, { kind: 'failed', revision: 2, error: { reason: 'CORRUPT_BUNDLE' } });
    const served = await router.search(textCall('owl'));
    t.equal(served.servedBy.corpusVersion, 'v1');
    t.same(served.degraded, ['route_revision_behind']);
    const health = router.health();
    t.equal(health.ready, true, 'the replica still answers');
    t.match(health.corpora, [{ serving: false, why: /revision 2 cannot be applied: CORRUPT_BUNDLE/ }]);
    t.ok(health.degraded.includes(`route_revision_behind:${CORPUS}`), health.degraded.join());
    t.match(
      router.targets().filter(({ error }) => error !== null),
      [{ spec: { version: 'v2' }, error: { reason: 'CORRUPT_BUNDLE' } }],
    );
    isBroken = false;
    while (router.routeStatus()[0]?.applied !== 2) await settle();
    const healed = await router.search(textCall('owl'));
    t.equal(healed.servedBy.corpusVersion, 'v2');
    t.same(healed.degraded, []);
    t.match(router.health(), { ready: true, corpora: [{ serving: true }], degraded: [] });
    await router.close();
    t.same(engines.openNames(), []);
    t.same(engines.faults, []);
  },
);

t.test(
  'a newer revision takes over from one that is still loading, and an older one is not taken back',
  async (t) => {
    const { router, engines } = createRig();
    await router.apply(route(1, [target(V1, 'active', 10_000)]));
    const gate = createGate();
    engines.conditions.onOpen = ({ version }) => (version === 'v2' ? gate.opened : Promise.resolve());
    const second = router.apply(route(2, [target(V2, 'active', 10_000)]));
    t.match(await router.apply(route(3, [target(V3, 'active', 10_000)])), { kind: 'applied', revision: 3 });
    t.match(await second, { kind: 'superseded', revision: 2 });
    t.match(await router.apply(route(2, [target(V2, 'active', 10_000)])), { kind: 'superseded' });
    t.match(await router.apply(route(3, [target(V3, 'active', 10_000)])), { kind: 'applied', revision: 3 });
    gate.open();
    await settle();
    t.same(
      engines.openNames().map((name) => name.replace(/ #.*/, '')),
      ['encoder gamma', 'v3 shared'],
    );
    await router.close();
    t.same(engines.openNames(), []);
  },
);

t.test('the same revision that says something else is applied, and so is another salt', async (t) => {
  const { router, engines } = createRig();
  const served = async () => (await router.search(textCall('owl'))).servedBy;
  await router.apply(route(5, [target(V1, 'active', 10_000)]));
  const restored = route(5, [target(V2, 'active', 10_000)]);
  t.match(await router.apply(restored), { kind: 'applied', revision: 5 });
  t.match(await served(), { corpusVersion: 'v2', routeRevision: 5 }, 'other targets');
  const another = { ...route(2, [target(V3, 'active', 10_000)]), salt: 'another' };
  t.match(await router.apply(another), { kind: 'applied', revision: 2 });
  t.match(await served(), { corpusVersion: 'v3', routeRevision: 2 }, 'another salt');
  t.match(router.routeStatus(), [{ applied: 2, salt: 'another', wanted: null }]);
  await router.close();
  t.same(engines.openNames(), []);
});

t.test('a build that is recorded again elsewhere is opened from there', async (t) => {
  const { router, engines } = createRig();
  const moved = { ...target(V2, 'active', 10_000), bundleUri: 'file:///mended' };
  engines.conditions.onOpen = async ({ version, bundleUri }) => {
    if (version === 'v2' && bundleUri !== moved.bundleUri)
      throw new SwitchyardError('CORRUPT_BUNDLE', 'it is not there');
  };
  await router.apply(route(1, [target(V1, 'active', 10_000)]));
  t.match(await router.apply(route(2, [target(V2, 'active', 10_000)])), { kind: 'failed', revision: 2 });
  t.match(router.health(), {
    ready: true,
    corpora: [{ serving: false, why: /revision 2 cannot be applied/ }],
  });
  t.match(await router.apply(route(2, [moved])), { kind: 'applied', revision: 2 });
  t.equal((await router.search(textCall('owl'))).servedBy.corpusVersion, 'v2');
  t.match(router.health(), { ready: true, corpora: [{ serving: true }], degraded: [] });
  await router.close();
  t.same(engines.openNames(), []);
});

t.test('a removed target is closed after its last request and not before', async (t) => {
  const { router, engines } = createRig();
  await router.apply(route(1, [target(V1, 'active', 10_000)]));
  const gate = createGate();
  engines.conditions.onSearch = ({ version }) => (version === 'v1' ? gate.opened : Promise.resolve());
  const running = router.search(textCall('owl'));
  await settle();
  await router.apply(route(2, [target(V2, 'active', 10_000)]));
  t.equal((await router.search(textCall('owl'))).servedBy.corpusVersion, 'v2');
  await settle();
  t.equal(engines.counts.closed, 0);
  gate.open();
  t.equal((await running).servedBy.routeRevision, 1);
  await settle();
  t.equal(engines.counts.closed, 1);
  t.same(
    engines.openNames().map((name) => name.replace(/ #.*/, '')),
    ['encoder beta', 'v2 shared'],
  );
  await router.close();
  t.same(engines.faults, []);
});

t.test('a shadow is held apart from the workers, and is loaded on them before it gets weight', async (t) => {
  const { router, engines } = createRig();
  await router.apply(route(1, [target(V1, 'active', 10_000), target(V2, 'shadow')]));
  await settle();
  t.same(
    router
      .targets()
      .map(({ spec, state }) => `${spec.version} ${spec.isolation} ${state}`)
      .sort(),
    ['v1 shared ready', 'v2 isolated ready'],
  );
  const gate = createGate();
  engines.conditions.onOpen = () => gate.opened;
  const applying = router.apply(route(2, [target(V1, 'active', 5000), target(V2, 'active', 5000)]));
  await settle();
  t.equal(router.routeStatus()[0]?.applied, 1, 'a shadow that is ready does not count as ready for weight');
  gate.open();
  await applying;
  await settle();
  t.same(
    engines.openNames().map((name) => name.replace(/ #.*/, '')),
    ['encoder alpha', 'encoder beta', 'v1 shared', 'v2 shared'],
  );
  await router.close();
});

t.test(
  'a shadow that cannot be loaded holds nothing up; a draining target that loads is waited for',
  async (t) => {
    const { router, engines } = createRig();
    const gate = createGate();
    engines.conditions.onOpen = async ({ version }) => {
      if (version === 'v3') throw new SwitchyardError('CORRUPT_BUNDLE', 'broken');
      if (version === 'v2') await gate.opened;
    };
    const applying = router.apply(
      route(1, [target(V1, 'active', 10_000), target(V2, 'draining'), target(V3, 'shadow')]),
    );
    await settle();
    t.equal(router.routeStatus()[0]?.applied, null);
    gate.open();
    t.match(await applying, { kind: 'applied' });
    const drained = await router.search(vectorCall(embedText('beta', 'owl'), { model: 'beta@1' }));
    t.equal(drained.servedBy.corpusVersion, 'v2');
    t.match(router.health(), {
      ready: true,
      corpora: [{ serving: true }],
      degraded: [`target_failed:${CORPUS}/v3`],
    });
    await router.close();
  },
);

t.test('a target that failed at first joins the same revision when it loads', async (t) => {
  const { router, engines } = createRig();
  let isBroken = true;
  engines.conditions.onOpen = async ({ version }) => {
    if (version === 'v2' && isBroken) throw new SwitchyardError('CORRUPT_BUNDLE', 'broken');
  };
  await router.apply(route(1, [target(V1, 'active', 10_000), target(V2, 'draining')]));
  t.equal(
    (await refusal(router.search(textCall('owl', { corpusVersion: 'v2' })))).reason,
    'INDEX_UNAVAILABLE',
  );
  const vector = vectorCall(embedText('beta', 'owl'), { model: 'beta@1' });
  t.equal((await refusal(router.search(vector))).reason, 'INDEX_UNAVAILABLE');
  isBroken = false;
  while (router.targets().some(({ state }) => state !== 'ready')) await settle();
  const outcome = await router.search(textCall('owl', { corpusVersion: 'v2' }));
  t.match(outcome.servedBy, { corpusVersion: 'v2', routeRevision: 1 });
  await router.close();
});

t.test('a corpus that is removed is unknown at once and closed after its requests', async (t) => {
  const { router, engines } = createRig();
  await router.apply(route(1, [target(V1, 'active', 10_000)]));
  const running = router.search(textCall('owl'));
  router.remove(CORPUS);
  t.equal((await refusal(router.search(textCall('owl')))).reason, 'UNKNOWN_CORPUS');
  t.equal((await running).hits.length, 10);
  await settle();
  t.same([engines.openNames(), engines.faults], [[], []]);
  await router.close();
});

t.test('closing waits for requests in flight and for what is still loading', async (t) => {
  const { router, engines } = createRig();
  await router.apply(route(1, [target(V1, 'active', 10_000)]));
  const gate = createGate();
  engines.conditions.onSearch = () => gate.opened;
  engines.conditions.onOpen = () => gate.opened;
  const running = router.search(textCall('owl'));
  await settle();
  const applying = router.apply(route(2, [target(V2, 'active', 10_000)]));
  let isClosed = false;
  const closing = router.close().then(() => {
    isClosed = true;
  });
  t.match(await applying, { kind: 'superseded' });
  await settle();
  t.equal(isClosed, false);
  gate.open();
  t.equal((await running).hits.length, 10);
  await closing;
  t.same([engines.openNames(), engines.faults], [[], []]);
});
