import t from 'tap';
import { HangWatch } from '../../src/process/hang-watch.js';
import { FakeTimers } from './fake-timers.js';

function watch(): { timers: FakeTimers; watch: HangWatch; hangs: number[] } {
  const timers = new FakeTimers();
  const hangs: number[] = [];
  return { timers, hangs, watch: new HangWatch(10_000, timers, (silentMs) => hangs.push(silentMs)) };
}

t.test('silence without owed work is fine, however long', async (t) => {
  const { timers, watch: hang, hangs } = watch();
  hang.setOutstanding(1);
  hang.setOutstanding(0);
  timers.advance(1_000_000);
  t.same(hangs, []);
});

t.test('owed work and no sign of life is a hang, told once', async (t) => {
  const { timers, watch: hang, hangs } = watch();
  hang.setOutstanding(3);
  timers.advance(9_999);
  t.same(hangs, []);
  timers.advance(2_000);
  t.equal(hangs.length, 1);
  t.ok((hangs[0] ?? 0) >= 10_000);
  timers.advance(1_000_000);
  t.equal(hangs.length, 1);
});

t.test('a child that keeps talking is never suspected', async (t) => {
  const { timers, watch: hang, hangs } = watch();
  hang.setOutstanding(1);
  for (let i = 0; i < 100; i++) {
    timers.advance(9_000);
    hang.sign();
  }
  t.same(hangs, []);
});

t.test('frames that lay unread while this process slept acquit the child', async (t) => {
  const { timers, watch: hang, hangs } = watch();
  hang.setOutstanding(1);
  timers.advance(10_000);
  hang.sign();
  timers.advance(5_000);
  t.same(hangs, []);
});

t.test('work that comes after a long idle time gets its full time', async (t) => {
  const { timers, watch: hang, hangs } = watch();
  hang.setOutstanding(1);
  hang.setOutstanding(0);
  timers.advance(9_000);
  hang.setOutstanding(1);
  timers.advance(9_900);
  t.same(hangs, []);
  timers.advance(2_000);
  t.equal(hangs.length, 1);
});

t.test('a stopped watch leaves no timer', async (t) => {
  const { timers, watch: hang } = watch();
  hang.setOutstanding(1);
  hang.stop();
  t.equal(timers.pending, 0);
});
