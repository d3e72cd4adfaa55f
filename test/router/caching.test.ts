import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import type { SearchOutcome } from '../../src/router/query.js';
import { type CachingRig, createCachingRig } from './caching.js';
import { Checker } from './checker.js';
import { createGate, PLANS, refusal, route, textCall, V1, V1B, V2, V3, vectorCall } from './harness.js';
import { CORPUS, embedText, fingerprintOf, QUERIES, target } from './small-engines.js';

const until = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 1));
};

async function serving(targets = [target(V1, 'active', 10_000)]): Promise<CachingRig> {
  const rig = createCachingRig();
  await rig.router.apply(route(1, targets));
  await until(() => rig.router.targets().every(({ state }) => state === 'ready'));
  return rig;
}

const useOf = ({ servedBy }: SearchOutcome): string => servedBy.resultCache;

t.test('the same question again touches neither encoder nor index', async (t) => {
  const rig = await serving();
  const checker = new Checker(PLANS, ['owl']);
  const first = await rig.router.search(textCall('owl'));
  t.same(rig.work, ['encode alpha live', 'search v1 live']);
  const again = await rig.router.search(textCall('owl'));
  t.same(rig.work, ['encode alpha live', 'search v1 live']);
  t.same([useOf(first), useOf(again)], ['MISS', 'HIT']);
  t.same(again.hits, first.hits);
  t.ok(first.hitsWire?.equals(again.hitsWire ?? Buffer.alloc(0)));
  t.match(again.timings, { queueUs: 0, encodeUs: 0, searchUs: 0 });
  t.not(again.queryId, first.queryId);
  checker.check('owl', 10, first);
  checker.check('owl', 10, again);
  t.same([checker.mispaired, checker.mislabelled], [[], []]);
  t.equal(rig.metrics.of('served v1 split'), 2, 'a hit is traffic like any other');
  await rig.router.close();
});

t.test('another size, form or text is another question; an embedding serves them all', async (t) => {
  const rig = await serving();
  await rig.router.search(textCall('owl'));
  rig.work.length = 0;
  t.equal(useOf(await rig.router.search(textCall('owl', { topK: 3 }))), 'MISS');
  t.equal(useOf(await rig.router.search(textCall('owl', { withDocument: true }))), 'MISS');
  t.same(rig.work, ['search v1 live', 'search v1 live'], 'the text was not encoded again');
  const values = embedText('alpha', 'owl');
  t.equal(useOf(await rig.router.search(vectorCall(values, { model: 'alpha@1' }))), 'MISS');
  t.equal(useOf(await rig.router.search(vectorCall(values.slice(), { model: 'alpha@1' }))), 'HIT');
  t.equal(useOf(await rig.router.search(textCall('owls'))), 'MISS');
  const embedded = await rig.router.embed({
    model: 'alpha@1',
    text: 'owl',
    role: 'query',
    priority: 'live',
    deadlineAtMs: Number.POSITIVE_INFINITY,
  });
  t.equal(rig.work.filter((work) => work.startsWith('encode')).length, 1, 'owls alone');
  t.same(embedded.values, values);
  t.equal(embedded.tokenCount, 3);
  await rig.router.close();
});

t.test('what a caller does to a vector does not change what is remembered', async (t) => {
  const rig = await serving();
  const call = {
    model: 'alpha@1',
    text: 'owl',
    role: 'query',
    priority: 'live',
    deadlineAtMs: Number.POSITIVE_INFINITY,
  } as const;
  for (let turn = 0; turn < 3; turn++) {
    const { values } = await rig.router.embed(call);
    t.same(values, embedText('alpha', 'owl'), `turn ${turn}`);
    values.fill(Number.NaN);
    structuredClone(values, { transfer: [values.buffer as ArrayBuffer] });
  }
  await rig.router.close();
});

t.test('a route change to another build is a miss, and the way back a hit', async (t) => {
  const rig = await serving([target(V1, 'active', 10_000), target(V2, 'active'), target(V1B, 'active')]);
  const checker = new Checker(PLANS, QUERIES);
  const uses: string[] = [];
  for (const [revision, plan] of [V1, V2, V1B, V1, V2].entries()) {
    await rig.router.apply(
      route(
        revision + 2,
        [V1, V2, V1B].map((each) => target(each, 'active', each === plan ? 10_000 : 0)),
      ),
    );
    for (const query of QUERIES) {
      const outcome = await rig.router.search(textCall(query));
      checker.check(query, 10, outcome);
      t.equal(outcome.servedBy.routeRevision, revision + 2);
      uses.push(useOf(outcome));
    }
  }
  const each = QUERIES.length;
  t.same(uses, [...Array(3 * each).fill('MISS'), ...Array(2 * each).fill('HIT')]);
  t.same([checker.mispaired, checker.mislabelled], [[], []]);
  t.equal(
    rig.work.filter((work) => work.startsWith('encode')).length,
    2 * each,
    'v1b took the vectors of v1',
  );
  await rig.router.close();
});

t.test('bypass asks and tells the caches nothing', async (t) => {
  const rig = await serving();
  await rig.router.search(textCall('owl'));
  rig.work.length = 0;
  t.equal(useOf(await rig.router.search(textCall('owl', { bypassCache: true }))), 'BYPASS');
  t.same(rig.work, ['encode alpha live', 'search v1 live']);
  await rig.router.search(textCall('dog', { bypassCache: true }));
  await rig.router.batchSearch([textCall('dog', { bypassCache: true })]);
  t.equal(useOf(await rig.router.search(textCall('dog'))), 'MISS');
  t.equal(rig.embeddings.layers.count, 2, 'owl and the dog that was asked for openly');
  await rig.router.close();
});

t.test('a pin reads and fills the same entries as the split, since a key names the build', async (t) => {
  const rig = await serving();
  await rig.router.search(textCall('owl', { corpusVersion: 'v1' }));
  t.equal(useOf(await rig.router.search(textCall('owl'))), 'HIT');
  t.same([rig.metrics.of('served v1 pinned'), rig.metrics.of('served v1 split')], [1, 1]);
  await rig.router.close();
});

t.test('errors and degraded answers are not remembered', async (t) => {
  const rig = await serving();
  const { onSearch } = rig.engines.conditions;
  rig.engines.conditions.onSearch = async () => {
    throw new SwitchyardError('QUEUE_FULL', 'no room');
  };
  t.equal((await refusal(rig.router.search(textCall('owl')))).reason, 'QUEUE_FULL');
  rig.engines.conditions.onSearch = onSearch;
  t.equal(useOf(await rig.router.search(textCall('owl'))), 'MISS');

  rig.router.setDegraded('registry_unavailable', true);
  t.equal(useOf(await rig.router.search(textCall('dog'))), 'MISS');
  t.equal(useOf(await rig.router.search(textCall('dog'))), 'MISS');
  const known = await rig.router.search(textCall('owl'));
  t.same([useOf(known), known.degraded], ['HIT', ['registry_unavailable']], 'a whole answer stays one');
  rig.router.setDegraded('registry_unavailable', false);
  t.equal(useOf(await rig.router.search(textCall('dog'))), 'MISS');
  t.equal(useOf(await rig.router.search(textCall('dog'))), 'HIT');
  await rig.router.close();
});

t.test('equal questions at the same time run once, and each is answered for itself', async (t) => {
  const rig = await serving();
  const gate = createGate();
  const { onSearch } = rig.engines.conditions;
  rig.engines.conditions.onSearch = async (spec, query) => {
    await gate.opened;
    await onSearch(spec, query);
  };
  const calls = Array.from({ length: 20 }, () => rig.router.search(textCall('owl')));
  const hurried = refusal(rig.router.search(textCall('owl', { deadlineAtMs: performance.now() + 20 })));
  t.equal((await hurried).reason, 'DEADLINE_EXCEEDED');
  gate.open();
  const outcomes = await Promise.all(calls);
  t.same(rig.work, ['encode alpha live', 'search v1 live']);
  t.equal(new Set(outcomes.map(({ queryId }) => queryId)).size, 20);
  t.same(new Set(outcomes.map(useOf)), new Set(['MISS']));
  for (const { hits } of outcomes) t.same(hits, outcomes[0]?.hits);
  await rig.router.close();
});

t.test('a batch takes what is known and encodes the rest together, each text once', async (t) => {
  const rig = await serving();
  const checker = new Checker(PLANS, QUERIES);
  const [known, ...rest] = QUERIES as [string, ...string[]];
  await rig.router.search(textCall(known));
  rig.work.length = 0;
  const asked = [known, ...rest, ...rest, known];
  const outcomes = await rig.router.batchSearch(asked.map((query) => textCall(query)));
  outcomes.forEach((outcome, at) => {
    if (outcome instanceof Error) throw outcome;
    checker.check(asked[at] as string, 10, outcome);
    t.equal(useOf(outcome), asked[at] === known ? 'HIT' : 'MISS');
  });
  t.same([checker.checked, checker.mispaired, checker.mislabelled], [asked.length, [], []]);
  t.same(rig.work, ['encode alpha live', ...rest.map(() => 'search v1 live')]);
  const again = await rig.router.batchSearch(asked.map((query) => textCall(query)));
  t.same(
    new Set(again.map((outcome) => (outcome instanceof Error ? outcome.message : useOf(outcome)))),
    new Set(['HIT']),
  );
  await rig.router.close();
});

t.test('a vector of the wrong length or with a NaN is neither remembered nor used', async (t) => {
  const rig = await serving();
  const fingerprint = fingerprintOf('alpha');
  const { encoder } = { encoder: { model: { fingerprint, dimensions: 16 } } } as unknown as Parameters<
    CachingRig['embeddings']['find']
  >[0];
  const text = { encoder, text: 'owl', role: 'query' as const };
  const entry = (values: Float32Array) => ({ fingerprint, values, tokenCount: 1, isTruncated: false });
  rig.embeddings.remember(text, entry(new Float32Array(15).fill(1)));
  rig.embeddings.remember(text, entry(new Float32Array(16).fill(Number.NaN)));
  rig.embeddings.remember(text, {
    ...entry(new Float32Array(16).fill(1)),
    fingerprint: fingerprintOf('beta'),
  });
  t.equal(rig.embeddings.layers.count, 0);
  rig.embeddings.remember(text, entry(embedText('alpha', 'owl')));
  t.same((await rig.embeddings.find(text))?.values, embedText('alpha', 'owl'));
  t.equal(await rig.embeddings.find({ ...text, role: 'document' }), null, 'another role is another entry');
  await rig.router.close();
});

t.test('mirrors are sampled before the lookup and leave vectors of their own model alone', async (t) => {
  const rig = await serving([target(V1, 'active', 10_000), target(V3, 'shadow', 0, 10_000)]);
  for (let turn = 1; turn <= 5; turn++) {
    const outcome = await rig.router.search(textCall('owl'));
    t.equal(useOf(outcome), turn === 1 ? 'MISS' : 'HIT');
    await until(() => rig.metrics.sum('compared') === turn);
  }
  t.equal(rig.metrics.of('offered v3'), 5, 'hits are mirrored as well');
  t.same(
    rig.work.filter((work) => work.includes('gamma')),
    ['encode gamma shadow'],
    'the shadow remembers its vector',
  );
  t.equal(rig.work.filter((work) => work === 'search v3 shadow').length, 5, 'and searches every time');
  t.same([rig.results.layers.count, rig.embeddings.layers.count], [1, 2]);
  t.equal(
    useOf(await rig.router.search(textCall('owl', { corpusVersion: 'v3' }))),
    'MISS',
    'no result of it is kept',
  );
  await rig.router.close();
});

t.test('a mirror to the same model works for a remembered answer, with and without the text', async (t) => {
  const rig = await serving([target(V1, 'active', 10_000), target(V1B, 'shadow', 0, 10_000)]);
  const vector = embedText('alpha', 'dog');
  for (let turn = 0; turn < 2; turn++) {
    await rig.router.search(textCall('owl'));
    await rig.router.search(vectorCall(vector, { model: 'alpha@1' }));
  }
  await until(() => rig.metrics.sum('compared') + rig.metrics.sum('dropped') === 4);
  t.equal(rig.metrics.sum('compared'), 4);
  t.same(rig.errors, []);
  await rig.router.close();
});

t.test('service times are compared only where nothing was remembered on either side', async (t) => {
  const deltas = ({ recorder }: CachingRig) => {
    const { count, min, max } = recorder.report(CORPUS)[0]?.distributions.service_delta_us ?? {};
    return { count, min, max };
  };
  const asked = async (rig: CachingRig, calls: readonly Parameters<CachingRig['router']['search']>[0][]) => {
    for (const call of calls) {
      const before = rig.metrics.sum('compared');
      await rig.router.search(call);
      await until(() => rig.metrics.sum('compared') === before + 1);
    }
  };
  // Encoding takes 10 µs everywhere here, and a search 10.
  const zero = (count: number) => ({ count, min: 0, max: 0 });
  const other = await serving([target(V1, 'active', 10_000), target(V3, 'shadow', 0, 10_000)]);
  await asked(other, [textCall('owl'), textCall('dog')]);
  t.same(deltas(other), zero(2));
  await asked(other, [textCall('owl'), textCall('owl', { bypassCache: true }), textCall('dog', { topK: 3 })]);
  t.same(deltas(other), zero(2), 'an answer, a vector of the shadow and a vector of the primary were there');
  await other.router.close();

  const same = await serving([target(V1, 'active', 10_000), target(V1B, 'shadow', 0, 10_000)]);
  const given = vectorCall(embedText('alpha', 'dog'), { model: 'alpha@1' });
  await asked(same, [textCall('owl'), textCall('owl', { topK: 3 }), given]);
  t.same(deltas(same), zero(3), 'of one model the searches are compared, whoever encoded');
  await asked(same, [textCall('owl')]);
  t.same(deltas(same), zero(3));
  await same.router.close();
});
