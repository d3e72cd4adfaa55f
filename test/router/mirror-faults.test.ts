import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import type { IndexQuery } from '../../src/index/search-index.js';
import { Checker } from './checker.js';
import { PLANS, type RigOptions, textCall } from './harness.js';
import { isShadow, mirroring, pause } from './mirroring.js';
import { QUERIES } from './small-engines.js';

interface Fault {
  readonly name: string;
  readonly mirror?: RigOptions['mirror'];
  readonly onSearch: (query: IndexQuery) => Promise<void>;
  /** At least one mirror ended so. */
  readonly expected: string;
  /** Every other mirror ended so too, or for want of a place. */
  readonly isNoFault?: true;
}

const FAULTS: readonly Fault[] = [
  {
    name: 'hung',
    mirror: { deadlineMs: 20 },
    onSearch: () => new Promise(() => {}),
    expected: 'dropped v2 deadline',
  },
  {
    name: 'hung, with the queue full',
    onSearch: () => new Promise(() => {}),
    expected: 'dropped v2 concurrency',
  },
  { name: 'slow', mirror: { deadlineMs: 15 }, onSearch: () => pause(40), expected: 'dropped v2 deadline' },
  {
    name: 'failing',
    onSearch: () => Promise.reject(new SwitchyardError('INDEX_UNAVAILABLE', 'the shadow process died')),
    expected: 'dropped v2 error',
  },
  {
    name: 'failing on and on',
    onSearch: () => Promise.reject(new Error('no SwitchyardError either')),
    expected: 'dropped v2 breaker_open',
  },
  {
    name: 'overloaded',
    onSearch: () => Promise.reject(new SwitchyardError('QUEUE_FULL', 'full')),
    expected: 'dropped v2 overloaded',
    isNoFault: true,
  },
  {
    name: 'in a queue that stands',
    onSearch: () => Promise.reject(new SwitchyardError('OVERLOADED', 'it waited too long')),
    expected: 'dropped v2 overloaded',
    isNoFault: true,
  },
];

t.test('whatever happens to a shadow, the primary answers the same and waits for nothing', async (t) => {
  for (const { name, mirror, onSearch, expected, isNoFault = false } of FAULTS) {
    const rig = await mirroring({ mirror: { concurrencyMax: 2, queueLengthMax: 3, ...mirror } });
    const checker = new Checker(PLANS, QUERIES);
    rig.engines.conditions.onSearch = (spec, query) => (isShadow(spec) ? onSearch(query) : Promise.resolve());
    rig.engines.conditions.onEncode = () => Promise.resolve();
    for (let at = 0; at < 60; at++) {
      const query = QUERIES[at % QUERIES.length] as string;
      checker.check(query, 10, await rig.router.search(textCall(query)));
      const { running = 0, waiting = 0 } = rig.router.mirrorStates()[0]?.lane ?? {};
      if (running > 2 || waiting > 5) t.fail(`${name}: ${running} running, ${waiting} waiting`);
      if (at % 10 === 9) await pause();
    }
    await pause(60);
    t.same([checker.checked, checker.mispaired, checker.mislabelled], [60, [], []], name);
    t.ok(
      rig.metrics.of(expected) > 0,
      `${name}: ${expected} in ${[...rig.metrics.counts.keys()].join(', ')}`,
    );
    if (isNoFault)
      t.same(
        ['error', 'breaker_open', 'deadline'].map((why) => rig.metrics.of(`dropped v2 ${why}`)),
        [0, 0, 0],
        `${name}: that speaks against no version and ejects no shadow`,
      );
    // Closing does not wait for what hangs: its target is let go of at the deadline or the shutdown.
    await rig.router.close();
    const ended = rig.metrics.of('compared v2') + rig.metrics.sum('dropped v2');
    t.equal(rig.metrics.of('offered v2'), 60, name);
    t.equal(ended, 60, `${name}: every mirror is accounted for`);
    t.same([rig.engines.openNames(), rig.engines.faults, rig.errors], [[], [], []], name);
  }
});
