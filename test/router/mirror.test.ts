import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import { createRig, PLANS, route, textCall, V1, V1B, V2, vectorCall } from './harness.js';
import { isShadow, mirroring, pause, quiet } from './mirroring.js';
import {
  buildOf,
  CORPUS,
  createEngines,
  DOCUMENTS,
  type Engines,
  embedText,
  target,
} from './small-engines.js';

t.test(
  'a mirror encodes the text again with its own model, in the shadow lane, after the answer',
  async (t) => {
    const rig = await mirroring();
    const order: string[] = [];
    rig.engines.conditions.onEncode = async (model, { lane }) => {
      order.push(`encode ${model} ${lane}`);
    };
    rig.engines.conditions.onSearch = async ({ version }, { lane, vector, withDocument }) => {
      order.push(`search ${version} ${lane} ${withDocument}`);
      if (version === 'v2')
        t.same(vector.values, embedText('beta', 'owl'), "the vector is of the shadow's space");
    };
    const outcome = await rig.router.search(textCall('owl', { withDocument: true }));
    order.push('answered');
    t.equal(outcome.servedBy.corpusVersion, 'v1');
    await quiet(rig);
    await pause();
    t.same(order, [
      'encode alpha live',
      'search v1 live true',
      'answered',
      'encode beta shadow',
      'search v2 shadow false',
    ]);
    t.same(
      [rig.metrics.of('offered v2'), rig.metrics.of('compared v2'), rig.metrics.sum('dropped')],
      [1, 1, 0],
    );
    const [report] = rig.recorder.report(CORPUS);
    t.match(report, {
      compared: 1,
      pair: { kind: 'candidate', primary: { version: 'v1' }, shadow: { version: 'v2' } },
    });
    await rig.router.close();
  },
);

t.test('while what is served waits for workers nothing is mirrored, and that is counted', async (t) => {
  let isBusy = true;
  const rig = await mirroring({ over: { primaryIsBusy: () => isBusy } });
  await rig.router.search(textCall('owl'));
  t.same([rig.metrics.of('offered v2'), rig.metrics.of('dropped v2 primary_busy')], [1, 1]);
  isBusy = false;
  await rig.router.search(textCall('owl'));
  await quiet(rig);
  t.same([rig.metrics.of('offered v2'), rig.metrics.of('compared v2')], [2, 1]);
  await rig.router.close();
});

t.test('a raw vector is mirrored to its own model only', async (t) => {
  const rig = await mirroring();
  await rig.router.search(vectorCall(embedText('alpha', 'owl'), { model: 'alpha@1' }));
  t.same([rig.metrics.of('offered v2'), rig.metrics.of('dropped v2 no_text')], [1, 1]);
  await rig.router.close();

  const noise = await mirroring({}, V1B);
  const asked = embedText('alpha', 'owl');
  let searched: Float32Array | null = null;
  noise.engines.conditions.onSearch = async (spec, { vector }) => {
    if (isShadow(spec)) searched = vector.values.slice();
  };
  await noise.router.search(vectorCall(asked, { model: 'alpha@1' }));
  asked.fill(0);
  await quiet(noise);
  await pause();
  t.equal(noise.metrics.of('compared v1'), 1);
  const [report] = noise.recorder.report(CORPUS);
  t.equal(report?.pair.kind, 'candidate', 'of the same model, but of other documents');
  t.same(searched, embedText('alpha', 'owl'), 'the copy was private: the zeroed vector was not searched');
  await noise.router.close();
});

t.test(
  'a share of the reads is mirrored; what is not sampled is no drop, and pinned reads are not mirrored',
  async (t) => {
    const rig = await mirroring({ mirror: { queueLengthMax: 10_000, concurrencyMax: 100 } }, V2, 2500);
    for (let at = 0; at < 2000; at++) await rig.router.search(textCall('owl'));
    await quiet(rig);
    const offered = rig.metrics.of('offered v2');
    t.ok(Math.abs(offered - 500) < 5 * Math.sqrt(2000 * 0.25 * 0.75), `${offered} of 2000 at 2500 bps`);
    t.equal(rig.metrics.of('compared v2') + rig.metrics.sum('dropped'), offered);
    for (let at = 0; at < 100; at++) await rig.router.search(textCall('owl', { corpusVersion: 'v1' }));
    t.equal(rig.metrics.of('offered v2'), offered);
    await rig.router.close();
  },
);

t.test('a hung shadow adds no turn of the event loop to a request', async (t) => {
  const turnsOf = async (mirrorBps: number): Promise<number> => {
    const rig = await mirroring({}, V2, mirrorBps);
    rig.engines.conditions.onSearch = (spec) => (isShadow(spec) ? new Promise(() => {}) : Promise.resolve());
    rig.engines.conditions.onEncode = () => Promise.resolve();
    let microtasks = 0;
    let isAnswered = false;
    const answer = rig.router.search(textCall('owl')).then(() => {
      isAnswered = true;
    });
    for (; !isAnswered; microtasks++) await null;
    await answer;
    await rig.router.close();
    return microtasks;
  };
  t.equal(await turnsOf(10_000), await turnsOf(0));
});

t.test(
  'a shadow that returns far more than it was asked for changes nothing and is cut for the comparison',
  async (t) => {
    const engines = createEngines(PLANS);
    const huge: Engines = {
      ...engines,
      factories: {
        ...engines.factories,
        async openTarget(spec) {
          const index = await engines.factories.openTarget(spec);
          if (!isShadow(spec)) return index;
          return {
            bundle: index.bundle,
            unavailable: null,
            close: () => index.close(),
            async search(query) {
              const answer = await index.search(query);
              const document = { text: 'x'.repeat(1000) };
              const more = Array.from({ length: 50_000 }, (_, at) => ({
                ...answer.hits[0],
                id: `more ${at}`,
                document,
              }));
              return { ...answer, hits: [...answer.hits, ...(more as typeof answer.hits)] };
            },
          };
        },
      },
    };
    const rig = await mirroring({ engines: huge });
    for (let at = 0; at < 5; at++)
      t.equal((await rig.router.search(textCall('owl', { topK: 5 }))).hits.length, 5);
    await quiet(rig);
    await pause();
    const [report] = rig.recorder.report(CORPUS);
    t.equal(report?.compared, 5);
    t.equal(report?.distributions.shadow_underfill.max, 0);
    t.equal(report?.worst.length, 1, 'one entry per query');
    t.equal(report?.worst[0]?.shadowIds.length, 5);
    await rig.router.close();
  },
);

t.test('waiting mirrors are bounded by bytes as well, and keep no served documents alive', async (t) => {
  const rig = await mirroring({ mirror: { concurrencyMax: 1, queueLengthMax: 1000, queueBytesMax: 5000 } });
  rig.engines.conditions.onSearch = (spec) => (isShadow(spec) ? new Promise(() => {}) : Promise.resolve());
  for (let at = 0; at < 50; at++) await rig.router.search(textCall('a'.repeat(500)));
  t.ok((rig.router.mirrorStates()[0]?.lane.waiting ?? 0) <= 5);
  t.ok(rig.metrics.of('dropped v2 concurrency') >= 40);
  await rig.router.close();
});

t.test('a breaker keeps reads from a failing shadow, tries again, and closes when it heals', async (t) => {
  // Far ahead of the real clock, which the engines go by: no deadline passes while the machine is slow.
  let nowMs = performance.now() + 3_600_000;
  const timers = { nowMs: () => nowMs, after: () => () => {} };
  const rig = await mirroring({
    mirror: { breaker: { failuresToOpen: 3, openMsFirst: 100, openMsMax: 150 } },
    over: { timers },
  });
  let isBroken = true;
  let reached = 0;
  rig.engines.conditions.onSearch = async (spec) => {
    if (!isShadow(spec)) return;
    reached++;
    if (isBroken) throw new SwitchyardError('INDEX_UNAVAILABLE', 'died');
  };
  const read = async (times: number): Promise<void> => {
    for (let at = 0; at < times; at++) {
      await rig.router.search(textCall('owl'));
      await pause(2);
      await quiet(rig);
    }
  };
  await read(10);
  t.equal(reached, 3);
  t.match(rig.router.mirrorStates()[0]?.lane, { breaker: 'open', lastFailure: 'INDEX_UNAVAILABLE' });
  t.equal(rig.metrics.of('dropped v2 breaker_open'), 7);
  nowMs += 100;
  await read(3);
  t.equal(reached, 4, 'one trial');
  nowMs += 149;
  await read(1);
  t.equal(reached, 4, 'a failed trial keeps it open for longer');
  nowMs += 1;
  isBroken = false;
  await read(5);
  t.equal(reached, 9);
  t.equal(rig.router.mirrorStates()[0]?.lane.breaker, 'closed');
  await rig.router.close();
});

t.test('mirrors to a shadow that is loading, broken or removed are dropped as not ready', async (t) => {
  const engines = createEngines(PLANS);
  engines.conditions.onOpen = async (spec) => {
    if (isShadow(spec)) throw new SwitchyardError('CORRUPT_BUNDLE', 'broken');
  };
  const rig = createRig({ engines });
  await rig.router.apply(route(1, [target(V1, 'active', 10_000), target(V2, 'shadow', 0, 10_000)]));
  await rig.router.search(textCall('owl'));
  t.equal(rig.metrics.of('dropped v2 not_ready'), 1);
  await rig.router.close();

  const removed = await mirroring();
  await removed.router.search(textCall('owl'));
  await removed.router.apply(route(2, [target(V1, 'active', 10_000)]));
  await pause();
  t.equal(removed.metrics.of('compared v2') + removed.metrics.of('dropped v2 not_ready'), 1);
  await removed.router.close();
  t.same([removed.engines.faults, removed.engines.openNames()], [[], []]);
});

t.test('closing drops what waits and what runs as shutting down', async (t) => {
  const rig = await mirroring({ mirror: { concurrencyMax: 1, queueLengthMax: 10 } });
  rig.engines.conditions.onSearch = (spec) => (isShadow(spec) ? new Promise(() => {}) : Promise.resolve());
  for (let at = 0; at < 4; at++) await rig.router.search(textCall('owl'));
  await pause();
  await rig.router.close();
  t.equal(rig.metrics.of('dropped v2 shutting_down'), 4);
});

t.test('worst queries are listed by keyed hash, worst first, without their text', async (t) => {
  const rig = await mirroring({ mirror: { queueLengthMax: 1000 } });
  for (const text of [...DOCUMENTS, ...DOCUMENTS]) {
    await rig.router.search(textCall(text));
    await quiet(rig);
  }
  await pause();
  const [report] = rig.recorder.report(CORPUS);
  const worst = report?.worst ?? [];
  t.equal(worst.length, 50);
  t.equal(new Set(worst.map(({ queryHash }) => queryHash)).size, 50);
  t.same(
    worst.map(({ rbo }) => rbo),
    worst.map(({ rbo }) => rbo).sort((a, b) => a - b),
  );
  t.ok(worst.every(({ text }) => text === null));
  t.notMatch(JSON.stringify(worst.map(({ queryHash }) => queryHash)), /cat|owl/);
  t.equal(report?.pair.shadow.build, buildOf('v2'));
  await rig.router.close();
});
