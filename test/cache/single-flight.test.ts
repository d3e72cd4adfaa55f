import t from 'tap';
import { SingleFlight } from '../../src/cache/single-flight.js';
import { SwitchyardError } from '../../src/errors.js';
import { systemTimers } from '../../src/process/timers.js';
import { FakeTimers } from '../process/fake-timers.js';
import { createGate } from '../router/harness.js';

const FOREVER = Number.POSITIVE_INFINITY;
const reasonOf = (answer: Promise<unknown>): Promise<string> =>
  answer.then(
    () => 'OK',
    (error: unknown) => (error instanceof SwitchyardError ? error.reason : String(error)),
  );

t.test('concurrent calls of one key run once, other keys run beside them', async (t) => {
  const flights = new SingleFlight<string>(systemTimers);
  const gate = createGate();
  let runs = 0;
  const work = async (): Promise<string> => {
    runs++;
    await gate.opened;
    return `run ${runs}`;
  };
  const calls = Array.from({ length: 50 }, () => flights.run('a', FOREVER, work));
  const other = flights.run('b', FOREVER, async () => 'other');
  t.equal((await other).value, 'other');
  gate.open();
  const answers = await Promise.all(calls);
  t.equal(runs, 1);
  t.same(new Set(answers.map(({ value }) => value)), new Set(['run 1']));
  t.same(answers.filter(({ joined }) => !joined).length, 1);
  t.same([flights.joined, flights.inFlight], [49, 0]);
  await flights.run('a', FOREVER, work);
  t.equal(runs, 2, 'nothing is remembered here');
});

t.test('a leader whose own time is over fails nobody else', async (t) => {
  const flights = new SingleFlight<string>(systemTimers);
  const gate = createGate();
  const late = flights.run('a', FOREVER, async () => {
    await gate.opened;
    throw new SwitchyardError('DEADLINE_EXCEEDED', 'mine');
  });
  let runs = 0;
  const followers = Array.from({ length: 10 }, () =>
    flights.run('a', FOREVER, async () => {
      runs++;
      return 'fine';
    }),
  );
  gate.open();
  t.equal(await reasonOf(late), 'DEADLINE_EXCEEDED');
  for (const { value } of await Promise.all(followers)) t.equal(value, 'fine');
  t.equal(runs, 1, 'one of them took the lead');
});

t.test('leader after leader may fail, and everybody else is still answered', async (t) => {
  const flights = new SingleFlight<string>(systemTimers);
  let left = 3;
  const answers = Array.from({ length: 12 }, () =>
    reasonOf(
      flights.run('a', FOREVER, async () => {
        await new Promise((resolve) => setImmediate(resolve));
        if (left-- > 0) throw new SwitchyardError('ENCODER_UNAVAILABLE', 'it restarts');
        return 'fine';
      }),
    ),
  );
  const reasons = await Promise.all(answers);
  t.equal(reasons.filter((reason) => reason === 'ENCODER_UNAVAILABLE').length, 3, 'each for its own run');
  t.equal(reasons.filter((reason) => reason === 'OK').length, 9);
  t.equal(flights.inFlight, 0);
});

t.test('what would fail for everybody is shared', async (t) => {
  for (const reason of ['QUEUE_FULL', 'TEXT_TOO_LARGE'] as const) {
    const flights = new SingleFlight<string>(systemTimers);
    let runs = 0;
    const calls = Array.from({ length: 5 }, () =>
      reasonOf(
        flights.run('a', FOREVER, async () => {
          runs++;
          await new Promise((resolve) => setImmediate(resolve));
          throw new SwitchyardError(reason, 'no');
        }),
      ),
    );
    t.same(await Promise.all(calls), Array(5).fill(reason));
    t.equal(runs, 1);
  }
});

t.test('each follower has its own deadline', async (t) => {
  const flights = new SingleFlight<string>(systemTimers);
  const gate = createGate();
  const leader = flights.run('a', FOREVER, async () => {
    await gate.opened;
    return 'late';
  });
  const hurried = flights.run('a', performance.now() + 20, async () => 'never run');
  const patient = flights.run('a', performance.now() + 600_000, async () => 'never run');
  t.equal(await reasonOf(hurried), 'DEADLINE_EXCEEDED');
  gate.open();
  t.same([(await leader).value, (await patient).value], ['late', 'late']);
});

t.test(
  'those for whom one flight is too late are told by one error, which another flight does not share',
  async (t) => {
    const timers = new FakeTimers();
    const flights = new SingleFlight<string>(timers);
    const lateIn = async (key: string): Promise<ReadonlySet<unknown>> => {
      const gate = createGate();
      const leader = flights.run(key, FOREVER, async () => {
        await gate.opened;
        return 'late';
      });
      const followers = [10, 20, 20, 30].map((ms) =>
        flights
          .run(key, timers.nowMs() + ms, async () => 'never run')
          .then(
            () => null,
            (error: unknown) => error,
          ),
      );
      timers.advance(30);
      const errors = new Set(await Promise.all(followers));
      gate.open();
      await leader;
      return errors;
    };
    const [first, second, again] = [await lateIn('a'), await lateIn('b'), await lateIn('a')];
    for (const [error, ...more] of [first, second, again]) {
      t.match(error, { reason: 'DEADLINE_EXCEEDED' });
      t.same(more, []);
    }
    t.equal(new Set([...first, ...second, ...again]).size, 3);
  },
);

t.test('an unknown error of the leader stays its own', async (t) => {
  const flights = new SingleFlight<string>(systemTimers);
  const gate = createGate();
  const broken = reasonOf(
    flights.run('a', FOREVER, async () => {
      await gate.opened;
      throw new TypeError('a bug');
    }),
  );
  const follower = flights.run('a', FOREVER, async () => 'fine');
  gate.open();
  t.equal(await broken, 'INTERNAL');
  t.equal((await follower).value, 'fine');
});
