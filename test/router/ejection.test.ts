import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import { DEFAULT_EJECTION } from '../../src/router/ejection.js';
import type { SearchOutcome } from '../../src/router/query.js';
import { FakeTimers } from '../process/fake-timers.js';
import { createCachingRig } from './caching.js';
import { Checker } from './checker.js';
import { createRig, PLANS, type Rig, refusal, route, textCall, V1, V1B, V2, vectorCall } from './harness.js';
import { buildOf, CORPUS, createEngines, embedText, QUERIES, target } from './small-engines.js';

const [FIRST, SECOND, OTHER] = [buildOf('v1'), buildOf('v1b'), buildOf('v2')];
const failure = (): SwitchyardError => new SwitchyardError('INDEX_UNAVAILABLE', 'the search worker died');

/** A clock of the test's own: 0 stands still until it is told to go on. */
function clocked(): { rig: Rig; timers: FakeTimers } {
  const timers = new FakeTimers();
  return { rig: createRig({ over: { timers } }), timers };
}

/** What fails in `broken` fails until it is taken out. */
function breakable({ engines }: Rig): Set<string> {
  const broken = new Set<string>();
  engines.conditions.onSearch = async ({ build }) => {
    if (broken.has(build)) throw failure();
  };
  return broken;
}

const search = (rig: Rig, number: number): Promise<SearchOutcome> =>
  rig.router.search(textCall(QUERIES[number % QUERIES.length] as string, { affinityKey: `k${number}` }));

const stateOf = (rig: Rig, build: string): string | undefined =>
  rig.router.ejectionReports().find((report) => build.startsWith(report.build))?.state;

t.test('a failing target is ejected, and another of its model answers in its place', async (t) => {
  const { rig, timers } = clocked();
  const broken = breakable(rig);
  const checker = new Checker(PLANS, QUERIES);
  await rig.router.apply(route(1, [target(V1, 'active', 5_000), target(V1B, 'active', 5_000)]));
  broken.add(FIRST);
  let asked = 0;
  const { onSearch } = rig.engines.conditions;
  rig.engines.conditions.onSearch = async (spec, query) => {
    if (spec.build === FIRST) asked++;
    await onSearch(spec, query);
  };
  for (let at = 0; at < 100; at++) {
    const query = QUERIES[at % QUERIES.length] as string;
    const outcome = await search(rig, at);
    checker.check(query, 10, outcome);
    t.equal(outcome.servedBy.build, SECOND);
  }
  t.same([checker.mispaired, checker.mislabelled], [[], []]);
  t.equal(asked, DEFAULT_EJECTION.breaker.failuresToOpen, 'then it is left alone');
  t.equal(stateOf(rig, FIRST), 'ejected');
  t.match(rig.router.health(), { ready: true, degraded: [`target_ejected:${CORPUS}/v1`] });

  timers.advance(DEFAULT_EJECTION.breaker.openMsFirst);
  for (let at = 0; at < 100; at++) await search(rig, at);
  t.equal(asked, DEFAULT_EJECTION.breaker.failuresToOpen + 1, 'one trial, which failed');
  timers.advance(DEFAULT_EJECTION.breaker.openMsFirst);
  for (let at = 0; at < 100; at++) await search(rig, at);
  t.equal(asked, DEFAULT_EJECTION.breaker.failuresToOpen + 1, 'the second time is longer');
  broken.clear();
  timers.advance(DEFAULT_EJECTION.breaker.openMsFirst);
  for (let at = 0; at < 100; at++) await search(rig, at);
  t.equal(stateOf(rig, FIRST), 'in_use');
  t.match(rig.router.health(), { ready: true, degraded: [] });
  await rig.router.close();
});

t.test('an answer from another target names the one that the route meant', async (t) => {
  const rig = createRig();
  const broken = breakable(rig);
  await rig.router.apply(route(1, [target(V1, 'active', 10_000), target(V1B, 'draining')]));
  const before = await rig.router.search(textCall('owl'));
  t.same([before.servedBy.build, before.degraded], [FIRST, []]);
  broken.add(FIRST);
  const instead = await rig.router.search(textCall('owl'));
  t.equal(instead.servedBy.build, SECOND);
  t.equal(instead.servedBy.fingerprint, before.servedBy.fingerprint);
  t.equal(instead.servedBy.routeRevision, before.servedBy.routeRevision);
  t.same(instead.degraded, [`fallback_from:v1/${FIRST.slice(0, 16)}`]);
  await rig.router.close();
});

t.test('each search of a batch falls back as it would alone, and within its model alone', async (t) => {
  const { rig } = clocked();
  const broken = breakable(rig);
  const checker = new Checker(PLANS, QUERIES);
  const { router, metrics } = rig;
  await router.apply(
    route(1, [target(V1, 'active', 5_000), target(V1B, 'draining'), target(V2, 'active', 5_000)]),
  );
  broken.add(FIRST);
  const calls = QUERIES.slice(0, 16).map((query, at) => textCall(query, { affinityKey: `k${at}` }));
  const outcomes = await router.batchSearch(calls);
  const builds = new Map<string, number>();
  for (const [at, outcome] of outcomes.entries()) {
    if (outcome instanceof Error) throw outcome;
    checker.check(QUERIES[at] as string, 10, outcome);
    const { build, routeRevision } = outcome.servedBy;
    builds.set(build, (builds.get(build) ?? 0) + 1);
    t.equal(routeRevision, 1);
    t.same(outcome.degraded, build === SECOND ? [`fallback_from:v1/${FIRST.slice(0, 16)}`] : []);
  }
  t.same([checker.mispaired, checker.mislabelled], [[], []]);
  t.same([...builds.keys()].sort(), [SECOND, OTHER].sort());
  t.equal(metrics.of('failed v1 split'), builds.get(SECOND), 'each failure is counted where it was');
  t.equal(metrics.of('served v1 split'), builds.get(SECOND));

  broken.add(OTHER);
  const refused = (await router.batchSearch(calls)).filter((outcome) => outcome instanceof SwitchyardError);
  t.equal(refused.length, builds.get(OTHER), 'for the other model there is nobody');
  for (const { reason } of refused as SwitchyardError[]) t.equal(reason, 'INDEX_UNAVAILABLE');
  await router.close();
});

/** Two builds by one model, the first picked; a batch of sixteen texts; the encode calls that came of it. */
async function batching(): Promise<{
  rig: Rig;
  encodes: number[];
  batch: () => ReturnType<Rig['router']['batchSearch']>;
}> {
  const { rig } = clocked();
  await rig.router.apply(route(1, [target(V1, 'active', 10_000), target(V1B, 'draining')]));
  const encodes: number[] = [];
  const batch = () =>
    rig.router.batchSearch(
      Array.from({ length: 16 }, (_, at) => textCall(`text ${at}`, { bypassCache: true })),
    );
  return { rig, encodes, batch };
}

t.test(
  'one encode call of a batch that fails is one failure of its target, and is made up for by one',
  async (t) => {
    const { rig, encodes, batch } = await batching();
    let failures = 1;
    rig.engines.conditions.onEncode = async (_, { texts }) => {
      encodes.push(texts.length);
      if (failures-- > 0) throw new SwitchyardError('ENCODER_UNAVAILABLE', 'the encoder died');
    };
    for (const outcome of await batch()) {
      if (outcome instanceof Error) throw outcome;
      t.equal(outcome.servedBy.build, SECOND);
    }
    t.same(encodes, [16, 16], 'those that failed together were encoded together again');
    t.equal(stateOf(rig, FIRST), 'in_use', 'and not sixteen failures');
    t.equal(rig.metrics.of('failed v1 split'), 16, 'though each request is counted as one that failed there');
    t.same(
      [rig.metrics.of('fault v1 split'), rig.metrics.of('cause v1 split')],
      [16, 1],
      'and whoever counts failures is told that they share one',
    );
    failures = 2 * DEFAULT_EJECTION.breaker.failuresToOpen;
    for (let failed = 2; failed < DEFAULT_EJECTION.breaker.failuresToOpen; failed++) {
      await batch();
      t.equal(stateOf(rig, FIRST), 'in_use', `${failed} failed calls in a row`);
    }
    await batch();
    t.equal(stateOf(rig, FIRST), 'ejected');
    await rig.router.close();
  },
);

t.test('a batch whose index fails goes on elsewhere with the vectors it has', async (t) => {
  const { rig, encodes, batch } = await batching();
  const broken = breakable(rig);
  rig.engines.conditions.onEncode = async (_, { texts }) => void encodes.push(texts.length);
  broken.add(FIRST);
  for (const outcome of await batch()) {
    if (outcome instanceof Error) throw outcome;
    t.equal(outcome.servedBy.build, SECOND);
  }
  t.same(encodes, [16], 'nothing is encoded twice');
  await rig.router.close();
});

t.test(
  'a bad moment of the index under a batch is one failure, though each item has an error of its own',
  async (t) => {
    const { rig, batch } = await batching();
    const broken = breakable(rig);
    broken.add(FIRST);
    const { failuresToOpen } = DEFAULT_EJECTION.breaker;
    for (let failed = 1; failed < failuresToOpen; failed++) {
      for (const outcome of await batch()) {
        if (outcome instanceof Error) throw outcome;
        t.equal(outcome.servedBy.build, SECOND);
      }
      t.same([rig.metrics.of('fault v1 split'), rig.metrics.of('cause v1 split')], [16 * failed, failed]);
      t.equal(stateOf(rig, FIRST), 'in_use');
    }
    await batch();
    t.equal(stateOf(rig, FIRST), 'ejected', 'batch after batch is no bad moment');
    broken.add(SECOND);
    for (const outcome of await batch()) t.match(outcome, { reason: 'INDEX_UNAVAILABLE' });
    await rig.router.close();
  },
);

t.test(
  'what a pinned request meets first is told of the split as well, and ejects nobody twice',
  async (t) => {
    const { rig } = await batching();
    breakable(rig).add(FIRST);
    const { failuresToOpen } = DEFAULT_EJECTION.breaker;
    for (let failed = 1; failed <= failuresToOpen; failed++) {
      t.equal(stateOf(rig, FIRST), 'in_use');
      await rig.router.batchSearch(
        ['v1', null, 'v1', null].map((corpusVersion, at) =>
          textCall(`text ${at}`, { bypassCache: true, corpusVersion }),
        ),
      );
      t.same(
        ['fault v1 pinned', 'cause v1 pinned', 'fault v1 split', 'cause v1 split'].map((name) =>
          rig.metrics.of(name),
        ),
        [2 * failed, failed, 2 * failed, failed],
      );
    }
    t.equal(stateOf(rig, FIRST), 'ejected');
    await rig.router.close();
  },
);

t.test(
  'what fails a batch for several reasons is a failure of each, and a hurried item hides none',
  async (t) => {
    const { rig } = await batching();
    rig.engines.conditions.onSearch = async (_, { deadlineAtMs }) => {
      if (deadlineAtMs === Number.POSITIVE_INFINITY) throw failure();
      throw new SwitchyardError('DEADLINE_EXCEEDED', 'too late');
    };
    const deadlines = [
      20,
      DEFAULT_EJECTION.timeoutMs,
      20,
      Number.POSITIVE_INFINITY,
      DEFAULT_EJECTION.timeoutMs,
    ];
    const calls = deadlines.map((deadlineAtMs, at) =>
      textCall(`text ${at}`, { bypassCache: true, deadlineAtMs }),
    );
    await rig.router.batchSearch(calls);
    // One item failed again at the other build, which is of the same version.
    t.equal(rig.metrics.of('failed v1 split'), 6);
    t.same([rig.metrics.of('fault v1 split'), rig.metrics.of('cause v1 split')], [4, 3]);
    await rig.router.close();
  },
);

t.test('nothing of another model takes its place, so the last of a model is never ejected', async (t) => {
  const { rig, timers } = clocked();
  const broken = breakable(rig);
  await rig.router.apply(route(1, [target(V1, 'active', 5_000), target(V2, 'active', 5_000)]));
  broken.add(OTHER);
  let refused = 0;
  for (let at = 0; at < 60; at++) {
    const outcome = await search(rig, at).catch((error: unknown) => error);
    if (outcome instanceof SwitchyardError) {
      t.equal(outcome.reason, 'INDEX_UNAVAILABLE');
      refused++;
    } else t.equal((outcome as SearchOutcome).servedBy.build, FIRST);
  }
  t.ok(refused > 15 && refused < 45, `${refused} of 60 were meant for v2 and refused`);
  t.equal(stateOf(rig, OTHER), 'failing');
  broken.clear();
  const vector = embedText('beta', 'owl');
  t.equal((await rig.router.search(vectorCall(vector, { model: 'beta@1' }))).servedBy.build, OTHER);
  timers.advance(DEFAULT_EJECTION.breaker.openMsFirst);
  await rig.router.search(vectorCall(vector, { model: 'beta@1' }));
  t.equal(stateOf(rig, OTHER), 'in_use');
  await rig.router.close();
});

t.test('when all of a model fail, the last one is still asked', async (t) => {
  const { rig } = clocked();
  const broken = breakable(rig);
  await rig.router.apply(route(1, [target(V1, 'active', 5_000), target(V1B, 'active', 5_000)]));
  broken.add(FIRST).add(SECOND);
  for (let at = 0; at < 40; at++) t.equal((await refusal(search(rig, at))).reason, 'INDEX_UNAVAILABLE');
  t.same(new Set([stateOf(rig, FIRST), stateOf(rig, SECOND)]), new Set(['failing']));
  broken.delete(SECOND);
  let answered = 0;
  for (let at = 0; at < 20; at++) if (await search(rig, at).catch(() => null)) answered++;
  t.ok(answered > 5, `${answered} of 20 answered`);
  await rig.router.close();
});

t.test('a pinned request falls back within its version alone', async (t) => {
  const same = { ...V2, name: 'v4', version: 'v4', model: 'alpha' };
  const rig = createRig({ engines: createEngines([...PLANS, same]) });
  const broken = breakable(rig);
  await rig.router.apply(route(1, [target(V1, 'active', 10_000), target(same, 'draining')]));
  broken.add(FIRST);
  t.equal((await rig.router.search(textCall('owl'))).servedBy.corpusVersion, 'v4');
  t.equal(
    (await refusal(rig.router.search(textCall('owl', { corpusVersion: 'v1' })))).reason,
    'INDEX_UNAVAILABLE',
  );
  await rig.router.close();
});

t.test('mistakes of clients, full queues and hurried deadlines eject nobody', async (t) => {
  const { rig } = clocked();
  await rig.router.apply(route(1, [target(V1, 'active', 5_000), target(V1B, 'active', 5_000)]));
  for (const reason of ['QUEUE_FULL', 'OVERLOADED', 'TEXT_TOO_LARGE'] as const) {
    rig.engines.conditions.onSearch = async () => {
      throw new SwitchyardError(reason, 'no');
    };
    for (let at = 0; at < 30; at++) t.equal((await refusal(search(rig, at))).reason, reason);
  }
  const hurried = textCall('owl', { deadlineAtMs: 20 });
  rig.engines.conditions.onSearch = async () => {
    throw new SwitchyardError('DEADLINE_EXCEEDED', 'too late');
  };
  for (let at = 0; at < 30; at++) await refusal(rig.router.search(hurried));
  t.same([stateOf(rig, FIRST), stateOf(rig, SECOND)], ['in_use', 'in_use']);
  for (let at = 0; at < 8; at++)
    await refusal(rig.router.search({ ...hurried, affinityKey: 'k', deadlineAtMs: 2_000 }));
  t.ok([stateOf(rig, FIRST), stateOf(rig, SECOND)].includes('ejected'), 'what had two seconds and hung does');
  await rig.router.close();
});

t.test('a second attempt is judged by the time that it had itself', async (t) => {
  for (const [leftMs, isBlamed] of [
    [DEFAULT_EJECTION.timeoutMs - 1, false],
    [DEFAULT_EJECTION.timeoutMs, true],
  ] as const) {
    const { rig, timers } = clocked();
    await rig.router.apply(route(1, [target(V1, 'active', 10_000), target(V1B, 'draining')]));
    rig.engines.conditions.onSearch = async ({ build }) => {
      if (build !== FIRST) throw new SwitchyardError('DEADLINE_EXCEEDED', 'too late');
      // It takes its time to fail, and leaves the other one what is left of it.
      timers.advance(3_000);
      throw failure();
    };
    const { failuresToOpen } = DEFAULT_EJECTION.breaker;
    for (let at = 0; at < failuresToOpen; at++) {
      const call = textCall(`text ${at}`, { deadlineAtMs: timers.nowMs() + 3_000 + leftMs });
      t.equal((await refusal(rig.router.search(call))).reason, 'DEADLINE_EXCEEDED');
    }
    t.equal(rig.metrics.of('failed v1 split'), 2 * failuresToOpen, 'at both');
    const blamed = isBlamed ? 2 * failuresToOpen : failuresToOpen;
    t.equal(rig.metrics.of('fault v1 split'), blamed, `with ${leftMs} ms left`);
    t.equal(stateOf(rig, SECOND), isBlamed ? 'failing' : 'in_use');
    await rig.router.close();
  }
});

t.test('hurried deadlines between them do not make good the failures of a target that hangs', async (t) => {
  const { rig } = clocked();
  await rig.router.apply(route(1, [target(V1, 'active', 10_000), target(V1B, 'draining')]));
  rig.engines.conditions.onSearch = async () => {
    throw new SwitchyardError('DEADLINE_EXCEEDED', 'too late');
  };
  const { failuresToOpen } = DEFAULT_EJECTION.breaker;
  for (let at = 0; at < failuresToOpen; at++) {
    t.equal(stateOf(rig, FIRST), 'in_use');
    for (let more = 0; more < 10; more++)
      await refusal(rig.router.search(textCall('owl', { deadlineAtMs: 20 })));
    await refusal(rig.router.search(textCall('owl', { deadlineAtMs: DEFAULT_EJECTION.timeoutMs })));
  }
  t.equal(stateOf(rig, FIRST), 'ejected');
  t.equal(rig.metrics.of('failed v1 split'), 11 * failuresToOpen);
  t.equal(rig.metrics.of('fault v1 split'), failuresToOpen, 'and no other failure speaks against it');
  await rig.router.close();
});

t.test('one search that hangs under many who ask the same is hardly more than one failure', async (t) => {
  const timers = new FakeTimers();
  const rig = createCachingRig({ over: { timers }, timers });
  await rig.router.apply(route(1, [target(V1, 'active', 10_000), target(V1B, 'draining')]));
  let lost = 0;
  rig.engines.conditions.onSearch = async (_, { deadlineAtMs }) => {
    lost++;
    await new Promise<void>((resolve) => timers.after(deadlineAtMs - timers.nowMs(), resolve));
    throw new SwitchyardError('DEADLINE_EXCEEDED', 'the search hung');
  };
  const deadlineAtMs = timers.nowMs() + 2 * DEFAULT_EJECTION.timeoutMs;
  const asked = Array.from({ length: 12 }, () =>
    refusal(rig.router.search(textCall('owl', { deadlineAtMs }))),
  );
  while (lost === 0) await new Promise((resolve) => setImmediate(resolve));
  timers.advance(2 * DEFAULT_EJECTION.timeoutMs);
  t.same(new Set((await Promise.all(asked)).map(({ reason }) => reason)), new Set(['DEADLINE_EXCEEDED']));
  t.same([lost, rig.metrics.of('fault v1 split')], [1, 12], 'each was kept waiting');
  t.equal(rig.metrics.of('cause v1 split'), 2, 'by what hung, and by that one wait for it');
  t.equal(stateOf(rig, FIRST), 'in_use');
  await rig.router.close();
});

t.test(
  'remembered answers are no trial, and what another target answered is remembered as its own',
  async (t) => {
    const timers = new FakeTimers();
    const rig = createCachingRig({ over: { timers } });
    const broken = breakable(rig);
    await rig.router.apply(route(1, [target(V1, 'active', 10_000), target(V1B, 'draining')]));
    await rig.router.search(textCall('owl'));
    broken.add(FIRST);
    for (let at = 0; at < 10; at++) await rig.router.search(textCall(`dog ${at}`));
    t.equal(stateOf(rig, FIRST), 'ejected');
    t.match((await rig.router.search(textCall('dog 1'))).servedBy, { build: SECOND, resultCache: 'HIT' });
    timers.advance(DEFAULT_EJECTION.breaker.openMsFirst);
    t.match((await rig.router.search(textCall('owl'))).servedBy, { build: FIRST, resultCache: 'HIT' });
    broken.clear();
    t.equal(
      (await rig.router.search(textCall('hare'))).servedBy.build,
      FIRST,
      'the trial was still to be had',
    );
    t.equal(stateOf(rig, FIRST), 'in_use');
    await rig.router.close();
  },
);
