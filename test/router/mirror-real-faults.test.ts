import { isDeepStrictEqual } from 'node:util';
import t from 'tap';
import type { MirrorDrop } from '../../src/router/mirror-drop.js';
import { wordNetGlosses } from '../fixtures/glosses.js';
import { isRunning, until } from '../process/wait.js';
import { textCall } from './harness.js';
import { pause, quiet } from './mirroring.js';
import { ANSWERS_OWED_MAX, type RealRig, realRig } from './real-rig.js';

const REQUESTS = 96;
const CLIENTS = 4;
const TOP_K = 1000;
const MIRROR = {
  concurrencyMax: 4,
  queueLengthMax: 4,
  deadlineMs: 500,
  breaker: { failuresToOpen: 5, openMsFirst: 20, openMsMax: 100 },
};
/** A vector of 384 numbers and 1 000 hits without documents. */
const ANSWER_BYTES_MAX = 150_000;
/** What this process may hold in buffers beyond what it held; one answer of a lying shadow is as much alone. */
const GROWTH_BYTES_MAX = 60 * 1024 * 1024;

interface Fault {
  readonly name: string;
  /** A program beside the fixtures; else the product's own. */
  readonly program?: string;
  /** Called before each request. */
  readonly strike?: (signal: (name: NodeJS.Signals) => void, at: number) => void;
  /** Mirrors were dropped for one reason at least of each group. */
  readonly dropped: readonly (readonly MirrorDrop[])[];
  /** Whether mirrors are compared in spite of the fault, or after it. */
  readonly compares: boolean;
}

const FAULTS: readonly Fault[] = [
  {
    name: 'hung',
    strike: (signal, at) => at === 16 && signal('SIGSTOP'),
    dropped: [['deadline'], ['concurrency']],
    compares: true,
  },
  { name: 'ten times slower', program: 'slow-main.js', dropped: [['concurrency']], compares: true },
  {
    name: 'answering with errors',
    program: 'erring-main.js',
    dropped: [['error'], ['breaker_open']],
    compares: false,
  },
  {
    name: 'answering with huge results',
    program: 'huge-main.js',
    // On a busy machine such an answer takes longer to come than it is waited for.
    dropped: [['error', 'deadline'], ['breaker_open']],
    compares: false,
  },
  {
    name: 'killed with SIGSEGV over and over',
    strike: (signal, at) => at % 24 === 8 && signal('SIGSEGV'),
    dropped: [['error'], ['breaker_open']],
    compares: true,
  },
];

let rig: RealRig;
let queries: readonly string[];
/** Ids and scores of each query, answered without any shadow. */
const expected = new Map<string, readonly (readonly [string, number])[]>();
const hitsOf = async (query: string) =>
  (await rig.router.search(textCall(query, { topK: TOP_K }))).hits.map(
    ({ id, score }) => [id, score] as const,
  );

t.before(async () => {
  const texts = await wordNetGlosses(24, 97);
  rig = await realRig(t, texts, MIRROR);
  queries = texts.slice(0, 12).map((text) => text.split(' ').slice(0, 4).join(' '));
  for (const query of queries) expected.set(query, await hitsOf(query));
});

/** By reason and outcome, since `before`. */
const counted = ({ metrics }: RealRig, before: ReadonlyMap<string, number>): ReadonlyMap<string, number> =>
  new Map([...metrics.counts].map(([name, count]) => [name, count - (before.get(name) ?? 0)]));

for (const { name, program, strike, dropped, compares } of FAULTS)
  t.test(`a real shadow that is ${name} costs the primary no request`, async (t) => {
    const { router, metrics } = rig;
    const shadow = await rig.openShadow(
      t,
      program === undefined ? undefined : new URL(`../fixtures/index-children/${program}`, import.meta.url),
    );
    const before = new Map(metrics.counts);
    const buffersBefore = process.memoryUsage().arrayBuffers;
    const signal = (signalName: NodeJS.Signals): void => {
      const { state } = shadow;
      if (state.kind === 'ready') process.kill(state.pid, signalName);
    };
    const most = { lane: 0, owed: 0, bytes: 0, encoding: 0, buffers: 0 };
    const watch = (): void => {
      const lane = router.mirrorStates()[0]?.lane ?? { running: 0, waiting: 0 };
      const { owed, bytes, bufferedBytes } = shadow.load;
      most.lane = Math.max(most.lane, lane.running + lane.waiting);
      most.owed = Math.max(most.owed, owed);
      most.bytes = Math.max(most.bytes, bytes + bufferedBytes);
      most.encoding = Math.max(most.encoding, rig.shadowEncoder().counters.queueLength.shadow);
      most.buffers = Math.max(most.buffers, process.memoryUsage().arrayBuffers - buffersBefore);
    };
    let sent = 0;
    const failed: string[] = [];
    const client = async (): Promise<void> => {
      while (sent < REQUESTS) {
        const at = sent++;
        strike?.(signal, at);
        const query = queries[at % queries.length] as string;
        try {
          if (!isDeepStrictEqual(await hitsOf(query), expected.get(query)))
            failed.push(`request ${at} was answered differently`);
        } catch (error) {
          failed.push(`request ${at}: ${error}`);
        }
        watch();
      }
    };
    await Promise.all(Array.from({ length: CLIENTS }, client));
    await quiet(rig);
    t.same(failed, [], 'no request of the primary was lost or changed');
    const { concurrencyMax, queueLengthMax } = MIRROR;
    t.ok(most.lane <= concurrencyMax + queueLengthMax, `${most.lane} mirrors ran and waited`);
    t.ok(most.encoding <= ANSWERS_OWED_MAX, `${most.encoding} texts waited for the shadow's encoder`);
    t.ok(
      most.owed <= ANSWERS_OWED_MAX && most.bytes <= ANSWERS_OWED_MAX * ANSWER_BYTES_MAX,
      `${most.owed} answers owed, ${most.bytes} bytes`,
    );
    t.ok(most.buffers <= GROWTH_BYTES_MAX, `buffers grew by ${most.buffers} bytes`);
    const counts = counted(rig, before);
    const drops = [...counts].filter(([key]) => key.startsWith('dropped v2 '));
    const dropCount = drops.reduce((sum, [, count]) => sum + count, 0);
    const compared = counts.get('compared v2') ?? 0;
    t.equal(counts.get('offered v2'), REQUESTS);
    t.equal(dropCount + compared, REQUESTS, 'every mirror is accounted for');
    for (const reasons of dropped)
      t.ok(
        reasons.some((why) => (counts.get(`dropped v2 ${why}`) ?? 0) > 0),
        `${reasons.join(' or ')} in ${[...counts].join(' ')}`,
      );
    if (compares) {
      // It is well again, and the breaker may still be open.
      for (let at = 0; metrics.of('compared v2') === (before.get('compared v2') ?? 0) && at < 2000; at++) {
        await hitsOf(queries[0] as string);
        await pause(10);
      }
      await until('the shadow is there', () => shadow.state.kind === 'ready', 60_000);
      t.ok(metrics.of('compared v2') > (before.get('compared v2') ?? 0), 'mirrors are compared');
    } else t.equal(compared, 0, 'nothing that such a shadow says is compared');
    const pid = shadow.state.kind === 'ready' ? shadow.state.pid : null;
    await shadow.close();
    t.notOk(pid !== null && isRunning(pid), 'no process is left');
    t.same(rig.errors, []);
  });
