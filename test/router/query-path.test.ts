import t from 'tap';
import { type Reason, SwitchyardError } from '../../src/errors.js';
import type { SearchCall, SearchOutcome } from '../../src/router/query.js';
import { Checker } from './checker.js';
import {
  createRig,
  PLANS,
  type Rig,
  refusal,
  route,
  textCall,
  V1,
  V1B,
  V2,
  V3,
  vectorCall,
} from './harness.js';
import {
  buildOf,
  CORPUS,
  DIMENSIONS,
  embedText,
  fingerprintOf,
  QUERIES,
  target,
  WITHOUT_TOKENS,
} from './small-engines.js';

/** v1 and v2 share the traffic, v1b drains, v3 is a shadow. */
async function serving(): Promise<Rig> {
  const rig = createRig();
  const targets = [
    target(V1, 'active', 6000),
    target(V2, 'active', 4000),
    target(V1B, 'draining'),
    target(V3, 'shadow'),
  ];
  await rig.router.apply(route(7, targets));
  while (rig.router.targets().some(({ state }) => state === 'loading'))
    await new Promise((resolve) => setTimeout(resolve, 1));
  return rig;
}

t.test('a text is encoded by the model of the target that answers it', async (t) => {
  const rig = await serving();
  const checker = new Checker(PLANS, QUERIES);
  const served = new Set<string>();
  for (let at = 0; at < 100; at++) {
    const query = QUERIES[at % QUERIES.length] as string;
    const outcome = await rig.router.search(textCall(query, { affinityKey: `user-${at}` }));
    checker.check(query, 10, outcome);
    served.add(outcome.servedBy.corpusVersion);
    t.equal(outcome.servedBy.routeRevision, 7);
  }
  t.same([...served].sort(), ['v1', 'v2']);
  t.same([checker.checked, checker.mispaired, checker.mislabelled], [100, [], []]);
  t.equal(rig.metrics.sum('served'), 100);
  await rig.router.close();
});

t.test('a response names what served it', async (t) => {
  const rig = await serving();
  const outcome = await rig.router.search(textCall('owl', { model: 'beta@1', topK: 3 }));
  t.same(outcome.servedBy, {
    corpusVersion: 'v2',
    build: buildOf('v2'),
    model: 'beta@1',
    fingerprint: fingerprintOf('beta'),
    routeRevision: 7,
    tier: 'dram',
    resultCache: 'BYPASS',
  });
  t.equal(outcome.hits.length, 3);
  t.match(outcome.queryId, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  t.match(outcome.timings, { queueUs: 2, encodeUs: 10, searchUs: 10 });
  t.ok(outcome.timings.totalUs > 0);
  rig.router.setDegraded('registry_unavailable', true);
  t.same((await rig.router.search(textCall('owl'))).degraded, ['registry_unavailable']);
  rig.router.setDegraded('registry_unavailable', false);
  t.same((await rig.router.search(textCall('owl'))).degraded, []);
  await rig.router.close();
});

t.test('a raw vector is searched only in the space of the model it names', async (t) => {
  const rig = await serving();
  const checker = new Checker(PLANS, ['owl']);
  for (const model of ['alpha', 'beta'])
    for (const name of [`${model}@1`, fingerprintOf(model)])
      checker.check('owl', 10, await rig.router.search(vectorCall(embedText(model, 'owl'), { model: name })));
  t.same([checker.checked, checker.mispaired, checker.mislabelled], [4, [], []]);
  await rig.router.apply(route(8, [target(V2, 'active', 10_000), target(V1, 'draining')]));
  const outcome = await rig.router.search(vectorCall(embedText('alpha', 'owl'), { model: 'alpha@1' }));
  t.equal(outcome.servedBy.corpusVersion, 'v1', 'a draining target still serves vectors of its model');
  await rig.router.close();
});

t.test('a pin reaches a version in any role and is counted apart', async (t) => {
  const rig = await serving();
  for (const version of ['v1', 'v2', 'v3']) {
    const outcome = await rig.router.search(textCall('owl', { corpusVersion: version }));
    t.equal(outcome.servedBy.corpusVersion, version);
    t.equal(rig.metrics.of(`served ${version} pinned`), 1);
  }
  t.equal(rig.metrics.sum('served v1 split') + rig.metrics.sum('served v2 split'), 0);
  await rig.router.close();
});

const vector = (fill: number): Float32Array => new Float32Array(DIMENSIONS).fill(fill);
const REFUSALS: readonly {
  readonly name: string;
  readonly call: SearchCall;
  readonly reason: Reason;
  readonly says: RegExp;
  readonly details?: Readonly<Record<string, string>>;
}[] = [
  {
    name: 'an unknown corpus',
    call: textCall('x', { corpus: 'other' }),
    reason: 'UNKNOWN_CORPUS',
    says: /"other"/,
  },
  { name: 'an empty text', call: textCall(''), reason: 'EMPTY_QUERY', says: /empty/ },
  { name: 'a blank text', call: textCall(' \n\t'), reason: 'EMPTY_QUERY', says: /empty/ },
  {
    name: 'a long text',
    call: textCall('é'.repeat(501)),
    reason: 'TEXT_TOO_LARGE',
    says: /1002 bytes; 1000/,
  },
  { name: 'top_k 0', call: textCall('x', { topK: 0 }), reason: 'INVALID_ARGUMENT', says: /top_k 0 must be/ },
  {
    name: 'a huge top_k',
    call: textCall('x', { topK: 101 }),
    reason: 'INVALID_ARGUMENT',
    says: /101 .* 100/,
  },
  {
    name: 'a vector without a model',
    call: vectorCall(vector(1)),
    reason: 'MODEL_REQUIRED',
    says: /alpha@1, beta@1/,
    details: { models: 'alpha@1, beta@1' },
  },
  {
    name: 'a model that does not exist',
    call: vectorCall(vector(1), { model: 'nobody@1' }),
    reason: 'UNKNOWN_MODEL',
    says: /"nobody@1".*alpha@1, beta@1/,
    details: { models: 'alpha@1, beta@1' },
  },
  {
    name: 'a model that only a shadow has',
    call: vectorCall(vector(1), { model: 'gamma@1' }),
    reason: 'MODEL_MISMATCH',
    says: /models that work: alpha@1, beta@1/,
    details: { models: 'alpha@1, beta@1' },
  },
  {
    name: 'a text for a model of another pinned version',
    call: textCall('x', { model: 'beta@1', corpusVersion: 'v1' }),
    reason: 'MODEL_MISMATCH',
    says: /alpha@1, not by "beta@1"/,
    details: { models: 'alpha@1' },
  },
  {
    name: 'a version that is not routed',
    call: textCall('x', { corpusVersion: 'v9' }),
    reason: 'UNKNOWN_CORPUS_VERSION',
    says: /"v9".*v1, v2, v3/,
    details: { versions: 'v1, v2, v3' },
  },
  {
    name: 'a vector of another length',
    call: vectorCall(new Float32Array(2 * DIMENSIONS).fill(1), { model: 'alpha@1' }),
    reason: 'DIMENSION_MISMATCH',
    says: /has 32 numbers; model alpha@1 has 16/,
    details: { got: '32', expected: '16' },
  },
  {
    name: 'NaN',
    call: vectorCall(vector(Number.NaN), { model: 'alpha@1' }),
    reason: 'NON_FINITE_VECTOR',
    says: /number 0 .* NaN/,
  },
  {
    name: 'infinity at the end',
    call: vectorCall(vector(1).fill(Number.NEGATIVE_INFINITY, DIMENSIONS - 1), { model: 'alpha@1' }),
    reason: 'NON_FINITE_VECTOR',
    says: /number 15/,
  },
  {
    name: 'a zero vector',
    call: vectorCall(vector(0), { model: 'alpha@1' }),
    reason: 'ZERO_VECTOR',
    says: /zeros/,
  },
  {
    name: 'a deadline that passed',
    call: textCall('x', { deadlineAtMs: performance.now() - 1 }),
    reason: 'DEADLINE_EXCEEDED',
    says: /before encode/,
    details: { stage: 'encode' },
  },
  {
    name: 'a deadline that passed, with a vector',
    call: vectorCall(vector(1), { model: 'alpha@1', deadlineAtMs: performance.now() - 1 }),
    reason: 'DEADLINE_EXCEEDED',
    says: /before search/,
    details: { stage: 'search' },
  },
];

t.test('what cannot be answered is refused with its reason', async (t) => {
  const rig = await serving();
  for (const { name, call, reason, says, details } of REFUSALS) {
    const error = await refusal(rig.router.search(call));
    t.equal(error.reason, reason, name);
    t.match(error.message, says, name);
    t.match(error.details, details ?? {}, name);
  }
  const stranger = await refusal(rig.router.search(textCall('x', { corpus: 'other' })));
  t.notMatch(
    `${stranger.message} ${JSON.stringify(stranger.details)}`,
    CORPUS,
    'other corpora are not named',
  );
  await rig.router.close();
  t.same(rig.engines.openNames(), [], 'refused calls hold nothing open');
});

t.test(
  'a batch answers every item or its error under one revision, with one encode call per model',
  async (t) => {
    const rig = await serving();
    const encodes: string[] = [];
    const swap = rig.engines.conditions.onEncode;
    rig.engines.conditions.onEncode = async (model, { texts }) => {
      encodes.push(`${model} ${texts.length}`);
      // The route changes while the batch is being encoded.
      await rig.router.apply(route(8, [target(V2, 'active', 10_000)]));
      await swap(model, { texts, role: 'query', lane: 'live', deadlineAtMs: 0 });
    };
    const checker = new Checker(PLANS, QUERIES);
    const asked = [...QUERIES, ...QUERIES, 'sea'];
    const calls = [
      ...QUERIES.map((query) => textCall(query, { model: 'alpha@1' })),
      ...QUERIES.map((query) => textCall(query, { model: 'beta@1' })),
      vectorCall(embedText('beta', 'sea'), { model: 'beta@1' }),
      ...REFUSALS.filter(({ reason }) => reason !== 'UNKNOWN_CORPUS').map(({ call }) => call),
    ];
    const items = await rig.router.batchSearch(calls);
    t.equal(items.length, calls.length);
    items.forEach((item, at) => {
      const expected = REFUSALS.find(({ call }) => call === calls[at]);
      if (item instanceof Error) t.equal((item as SwitchyardError).reason, expected?.reason);
      else {
        t.equal(item.servedBy.routeRevision, 7);
        checker.check(asked[at] as string, 10, item);
      }
    });
    t.same(encodes.sort(), ['alpha 5', 'beta 5']);
    t.same([checker.checked, checker.mispaired, checker.mislabelled], [asked.length, [], []]);
    t.equal((await rig.router.search(textCall('owl'))).servedBy.routeRevision, 8);
    const mixed = await refusal(rig.router.batchSearch([textCall('x'), textCall('x', { corpus: 'other' })]));
    t.equal(mixed.reason, 'INVALID_ARGUMENT');
    t.same(await rig.router.batchSearch([]), []);
    await rig.router.close();
    t.same(rig.engines.faults, []);
  },
);

t.test('one text that no encoder takes does not take the rest of its batch with it', async (t) => {
  const rig = await serving();
  rig.engines.conditions.onEncode = async (_, { texts }) => {
    if (texts.includes('poison')) throw new SwitchyardError('TEXT_TOO_LARGE', 'too many tokens');
  };
  const items = await rig.router.batchSearch(
    ['owl', 'poison', 'cat'].map((text) => textCall(text, { model: 'alpha@1' })),
  );
  t.same(
    items.map((item) => (item instanceof SwitchyardError ? item.reason : 'answered')),
    ['answered', 'TEXT_TOO_LARGE', 'answered'],
  );
  await rig.router.close();
});

t.test('a text without tokens fails alone, and nothing of its batch is encoded twice', async (t) => {
  const rig = await serving();
  const encodes: (readonly string[])[] = [];
  rig.engines.conditions.onEncode = async (_, { texts }) => {
    encodes.push(texts);
  };
  const texts = ['owl', WITHOUT_TOKENS, 'cat'];
  const ask = () => rig.router.batchSearch(texts.map((text) => textCall(text, { model: 'alpha@1' })));
  const items = await ask();
  t.match(items[1], { reason: 'EMPTY_QUERY', message: /no token under this model/ });
  const checker = new Checker(PLANS, texts);
  for (const at of [0, 2]) {
    const item = items[at];
    if (item instanceof Error) throw item;
    checker.check(texts[at] as string, 10, item as SearchOutcome);
  }
  t.same([checker.checked, checker.mispaired, checker.mislabelled], [2, [], []]);
  t.same(encodes, [texts]);
  t.match((await ask())[1], { reason: 'EMPTY_QUERY' }, 'again, and not from a memory of it');
  await rig.router.close();
});

t.test('embed gives the vector of a loaded model and names the loaded ones else', async (t) => {
  const rig = await serving();
  const call = {
    model: 'beta@1',
    text: 'owl',
    role: 'query',
    priority: 'live',
    deadlineAtMs: Number.POSITIVE_INFINITY,
  } as const;
  for (const model of ['beta@1', fingerprintOf('beta')]) {
    const outcome = await rig.router.embed({ ...call, model });
    t.same(outcome.values, embedText('beta', 'owl'));
    t.match(outcome, {
      model: 'beta@1',
      fingerprint: fingerprintOf('beta'),
      tokenCount: 3,
      truncated: false,
    });
  }
  const unknown = await refusal(rig.router.embed({ ...call, model: 'nobody' }));
  t.equal(unknown.reason, 'UNKNOWN_MODEL');
  t.match(unknown.details, { models: 'alpha@1, beta@1, gamma@1' });
  t.equal((await refusal(rig.router.embed({ ...call, text: ' ' }))).reason, 'EMPTY_QUERY');
  await rig.router.close();
  t.equal((await refusal(rig.router.embed(call))).reason, 'SHUTTING_DOWN');
  t.equal((await refusal(rig.router.search(textCall('x')))).reason, 'SHUTTING_DOWN');
  t.equal(rig.router.health().ready, false);
});
