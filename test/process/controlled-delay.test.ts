import t from 'tap';
import { ControlledDelay } from '../../src/process/controlled-delay.js';

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
