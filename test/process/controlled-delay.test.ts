import t from 'tap';
import { ControlledDelay, LaneDelays } from '../../src/process/controlled-delay.js';

const LIMITS = { targetMs: 100, maxMs: 1_000 } as const;

t.test('a queue stands when the least wait of an interval is above the target', (t) => {
  const delay = new ControlledDelay(LIMITS);
  delay.began(2_000, 0);
  t.notOk(delay.isTooLong(5_000), 'one wait says nothing');
  delay.began(2_000, 99);
  t.notOk(delay.isStanding);
  delay.began(2_000, 100);
  t.ok(delay.isStanding);
  t.ok(delay.isTooLong(1_001));
  t.notOk(delay.isTooLong(1_000), 'within the limit nobody is dropped');
  t.end();
});

t.test('a burst, of which somebody waited little, does not stand', (t) => {
  const delay = new ControlledDelay(LIMITS);
  for (let atMs = 0; atMs < 1_000; atMs += 10) {
    delay.began(atMs % 100 === 50 ? 99 : 900, atMs);
    t.notOk(delay.isStanding, `${atMs} ms`);
  }
  t.end();
});

t.test('it stands no longer when an interval was good, or nobody waits', (t) => {
  const delay = new ControlledDelay(LIMITS);
  const stand = (fromMs: number): void => {
    delay.began(2_000, fromMs);
    delay.began(2_000, fromMs + 100);
    t.ok(delay.isStanding);
  };
  stand(0);
  delay.began(10, 150);
  delay.began(2_000, 200);
  t.notOk(delay.isStanding);
  delay.emptied();
  stand(1_000);
  delay.emptied();
  t.notOk(delay.isTooLong(60_000));
  t.end();
});

t.test('without limits nobody is ever dropped', (t) => {
  const delay = new ControlledDelay(null);
  for (let atMs = 0; atMs < 1_000; atMs += 50) delay.began(60_000, atMs);
  t.notOk(delay.isTooLong(60_000));
  t.end();
});

t.test('a background lane alone has ten times the limits, and goes with a live queue that stands', (t) => {
  const delays = new LaneDelays(LIMITS);
  delays.began('bulk', 999, 0);
  delays.began('bulk', 999, 100);
  t.notOk(delays.isStanding, 'it may wait ten times as long');
  delays.began('bulk', 20_000, 200);
  delays.began('bulk', 20_000, 300);
  t.ok(delays.isStanding);
  t.notOk(delays.isTooLong('bulk', 10_000));
  t.ok(delays.isTooLong('bulk', 10_001));
  t.notOk(delays.isTooLong('live', 60_000), 'live work has nothing to do with it');
  t.notOk(delays.isTooLong('shadow', 60_000), 'nor has another lane');
  delays.emptied('bulk');
  t.notOk(delays.isTooLong('bulk', 60_000));
  delays.began('live', 2_000, 400);
  delays.began('live', 2_000, 500);
  for (const lane of ['live', 'shadow', 'bulk'] as const) t.ok(delays.isTooLong(lane, 1_001), lane);
  t.end();
});
