import t from 'tap';
import type { SearchIndex } from '../../src/index/search-index.js';
import type { TargetSpec } from '../../src/router/targets.js';
import { Checker } from './checker.js';
import { createRig, PLANS, route, textCall, V1, V2 } from './harness.js';
import { buildOf, createEngines, type Engines, QUERIES, target } from './small-engines.js';

/** v2's index with the check of invariant 1 taken out and the rows of another model in it. */
function withForeignRows(): Engines {
  const honest = createEngines(PLANS);
  const foreign = createEngines([{ ...V2, model: 'alpha' }]);
  const openTarget = async (spec: TargetSpec): Promise<SearchIndex> => {
    const index = await honest.factories.openTarget(spec);
    if (spec.version !== 'v2') return index;
    const rows = await foreign.factories.openTarget(spec);
    const { fingerprint } = rows.bundle.manifest.model;
    return {
      bundle: index.bundle,
      unavailable: null,
      search: (query) => rows.search({ ...query, vector: { ...query.vector, fingerprint } }),
      close: () => index.close(),
    };
  };
  return { ...honest, factories: { ...honest.factories, openTarget } };
}

const MISPAIRINGS: readonly { readonly name: string; readonly engines: () => Engines }[] = [
  {
    name: 'an encoder that computes in the space of another model',
    engines: () => createEngines(PLANS, (model) => (model === 'beta' ? 'alpha' : model)),
  },
  { name: 'an index with rows of another model that takes every vector', engines: withForeignRows },
];

t.test('a gateway with a deliberate mispairing is caught, whatever it claims', async (t) => {
  for (const { name, engines } of MISPAIRINGS) {
    const { router } = createRig({ engines: engines() });
    const checker = new Checker(PLANS, QUERIES);
    await router.apply(route(1, [target(V1, 'active', 5000), target(V2, 'active', 5000)]));
    for (let at = 0; at < 50; at++) {
      const query = QUERIES[at % QUERIES.length] as string;
      checker.check(query, 10, await router.search(textCall(query, { affinityKey: `k${at}` })));
    }
    t.ok(checker.mispaired.length > 10, `${name}: ${checker.mispaired.length} of 50 mispaired`);
    t.ok(checker.mispaired.length < 40, `${name}: the honest target is not suspected`);
    await router.close();
  }
});

t.test("an answer under another build's name is mislabelled, not mispaired", async (t) => {
  const { router } = createRig();
  const checker = new Checker(PLANS, QUERIES);
  await router.apply(route(1, [target(V1, 'active', 10_000)]));
  const outcome = await router.search(textCall('sea'));
  checker.check('sea', 10, { ...outcome, servedBy: { ...outcome.servedBy, build: buildOf('v2') } });
  t.same([checker.mispaired.length, checker.mislabelled.length], [0, 1]);
  await router.close();
});
