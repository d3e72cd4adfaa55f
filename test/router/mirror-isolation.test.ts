import { rm } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import t from 'tap';
import { isRunning, until } from '../process/wait.js';
import { route, textCall, V1, V2 } from './harness.js';
import {
  type IsolatedRig,
  type IsolatedRigOptions,
  isolatedRig,
  QUEUE_LENGTH_MAX,
  type RealPlan,
  realBuild,
  realTarget,
} from './isolated-rig.js';
import { pause, quiet } from './mirroring.js';
import { QUERIES } from './small-engines.js';

/** Enough that a large top k is work. */
const DOCUMENTS = Array.from(
  { length: 3000 },
  (_, i) => `document ${i} of ${(i * 7919) % 3001} about ${i % 13}`,
);
const REQUESTS = 200;
const TOP_K = 1000;
/** A vector and 1 000 hits without documents. */
const ANSWER_BYTES = 130_000;
/** Sent at once, so that mirrors pile up. */
const BURST = 4;

let primary: RealPlan;
let candidate: RealPlan;
/** Ids and scores of each query, answered without any shadow. */
const expected = new Map<string, readonly (readonly [string, number])[]>();
const hitsOf = async ({ router }: IsolatedRig, query: string) =>
  (await router.search(textCall(query, { topK: TOP_K }))).hits.map(({ id, score }) => [id, score] as const);

t.before(async () => {
  primary = await realBuild(t, { ...V1, documents: DOCUMENTS });
  candidate = await realBuild(t, { ...V2, documents: DOCUMENTS });
  const rig = isolatedRig(t, [primary]);
  await rig.router.apply(route(1, [realTarget(primary, 'active', 10_000)]));
  for (const query of QUERIES) expected.set(query, await hitsOf(rig, query));
  await rig.router.close();
  t.same(rig.processes.indexes, [], 'without a shadow there is no process');
});

interface Fault extends IsolatedRigOptions {
  readonly name: string;
  /** Called before each request; its promise is not waited for by any. */
  readonly strike: (rig: IsolatedRig, at: number) => void;
  /** After the last request. */
  readonly relieve?: (rig: IsolatedRig) => void;
  /** At least one mirror ended so. */
  readonly dropped: readonly string[];
  readonly recovers: boolean;
}

const signal = (rig: IsolatedRig, name: NodeJS.Signals): void => {
  const { state } = rig.shadow();
  if (state.kind === 'ready') process.kill(state.pid, name);
};

const breaker = { failuresToOpen: 5, openMsFirst: 20, openMsMax: 40 };
const FAULTS: readonly Fault[] = [
  {
    name: 'stopped for good',
    mirror: { deadlineMs: 50, concurrencyMax: 4, queueLengthMax: 8 },
    strike: (rig, at) => at === 20 && signal(rig, 'SIGSTOP'),
    dropped: ['deadline', 'breaker_open'],
    recovers: true,
  },
  {
    name: 'stopped for good with much patience',
    mirror: { concurrencyMax: 4, queueLengthMax: 8 },
    strike: (rig, at) => at === 20 && signal(rig, 'SIGSTOP'),
    dropped: ['concurrency', 'error'],
    recovers: true,
  },
  {
    name: 'stopped and continued, over and over',
    mirror: { deadlineMs: 20, concurrencyMax: 4, queueLengthMax: 8, breaker },
    strike: (rig, at) => signal(rig, at % 40 < 20 ? 'SIGSTOP' : 'SIGCONT'),
    relieve: (rig) => signal(rig, 'SIGCONT'),
    dropped: ['deadline'],
    recovers: true,
  },
  {
    name: 'killed with SIGSEGV, over and over',
    mirror: { concurrencyMax: 4, queueLengthMax: 8, breaker },
    strike: (rig, at) => at % 20 === 10 && signal(rig, 'SIGSEGV'),
    dropped: ['error', 'breaker_open'],
    recovers: true,
  },
  {
    name: 'slower than it is asked',
    mirror: { concurrencyMax: 1, queueLengthMax: 2 },
    strike: () => undefined,
    dropped: ['concurrency'],
    recovers: true,
  },
  {
    name: 'refusing what it has no room for',
    mirror: { concurrencyMax: 4, queueLengthMax: 8 },
    queueLengthMax: 1,
    strike: () => undefined,
    dropped: ['overloaded'],
    recovers: true,
  },
  {
    name: 'gone from the disk after a crash',
    mirror: { concurrencyMax: 4, queueLengthMax: 8, breaker },
    strike: (rig, at) => {
      if (at !== 20) return;
      const { bundle } = rig.shadow();
      void rm(bundle.folder, { recursive: true }).then(() => signal(rig, 'SIGSEGV'));
    },
    dropped: ['error', 'breaker_open'],
    recovers: false,
  },
];

for (const { name, strike, relieve, dropped, recovers, ...options } of FAULTS)
  t.test(`a shadow that is ${name} changes and fails no response`, async (t) => {
    const shadowBuild = recovers ? candidate : await realBuild(t, { ...V2, documents: DOCUMENTS });
    const rig = isolatedRig(t, [primary, shadowBuild], options);
    const { router, metrics } = rig;
    await router.apply(
      route(1, [realTarget(primary, 'active', 10_000), realTarget(shadowBuild, 'shadow', 0, 10_000)]),
    );
    await until('the shadow is loaded', () => router.targets().every(({ state }) => state === 'ready'));
    const shadow = rig.shadow();
    t.equal(rig.pool.counters.openIndexes, 1, 'the shadow is not on the search workers');
    let owedMax = 0;
    let bytesMax = 0;
    let laneMax = 0;
    for (let at = 0; at < REQUESTS; at += BURST) {
      const burst = QUERIES.slice(0, BURST).map(async (query, i) => {
        strike(rig, at + i);
        if (!isDeepStrictEqual(await hitsOf(rig, query), expected.get(query)))
          t.fail(`request ${at + i} was answered differently`);
      });
      await Promise.all(burst);
      const [{ lane } = { lane: { running: 0, waiting: 0 } }] = router.mirrorStates();
      laneMax = Math.max(laneMax, lane.running + lane.waiting);
      owedMax = Math.max(owedMax, shadow.load.owed);
      bytesMax = Math.max(bytesMax, shadow.load.bytes + shadow.load.bufferedBytes);
      await pause(1);
    }
    relieve?.(rig);
    await quiet(rig);
    t.ok(laneMax <= 12, `${laneMax} mirrors ran and waited`);
    t.ok(
      owedMax <= QUEUE_LENGTH_MAX && bytesMax <= QUEUE_LENGTH_MAX * ANSWER_BYTES,
      `${owedMax} answers owed, ${bytesMax} bytes`,
    );
    const ended = metrics.of('compared v2') + metrics.sum('dropped v2');
    t.same([metrics.of('offered v2'), ended], [REQUESTS, REQUESTS], 'every mirror is accounted for');
    for (const why of dropped)
      t.ok(metrics.of(`dropped v2 ${why}`) > 0, `${why} in ${[...metrics.counts].join(' ')}`);
    if (recovers) {
      await until('the shadow is back', () => shadow.state.kind === 'ready');
      const compared = metrics.of('compared v2');
      // The breaker may still be open.
      for (let at = 0; metrics.of('compared v2') === compared && at < 2000; at++) {
        await router.search(textCall(QUERIES[0] as string));
        await pause(5);
      }
      t.ok(metrics.of('compared v2') > compared, 'mirrors are compared again');
    } else {
      await until('refused', () => shadow.state.kind === 'failed');
      t.match(router.mirrorStates()[0]?.lane, { lastFailure: 'INDEX_UNAVAILABLE' });
    }
    t.same(rig.errors, []);
    const pid = shadow.state.kind === 'ready' ? shadow.state.pid : null;
    await router.close();
    t.same(rig.processes.indexes, []);
    t.notOk(pid !== null && isRunning(pid), 'no process is left');
  });

t.test('a shadow moves onto the search workers before it gets weight', async (t) => {
  const rig = isolatedRig(t, [primary, candidate]);
  const { router } = rig;
  await router.apply(
    route(1, [realTarget(primary, 'active', 10_000), realTarget(candidate, 'shadow', 0, 10_000)]),
  );
  await until('the shadow is loaded', () => rig.processes.counters.openIndexes === 1);
  const { state } = rig.shadow();
  if (state.kind !== 'ready') throw new Error(`the shadow is ${state.kind}`);
  const outcome = await router.apply(
    route(2, [realTarget(primary, 'active', 5000), realTarget(candidate, 'active', 5000)]),
  );
  t.equal(outcome.kind, 'applied');
  t.equal(rig.pool.counters.openIndexes, 2);
  await until('its process is gone', () => !isRunning(state.pid));
  t.same(rig.processes.counters.openIndexes, 0);
});
