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

/** A child that gets the processor for `share` of the time. */
function starvedWatch(share: number) {
  const timers = new FakeTimers();
  const hangs: number[] = [];
  let markedAtMs = 0;
  const cpuWait = {
    mark: () => {
      markedAtMs = timers.nowMs();
    },
    sinceMarkMs: () => (timers.nowMs() - markedAtMs) * (1 - share),
  };
  const hang = new HangWatch(10_000, timers, (silentMs) => hangs.push(silentMs), cpuWait);
  return { timers, hangs, hang };
}

t.test('a child that waits for the processor is given the time that it had', async (t) => {
  const starved = starvedWatch(0.1);
  starved.hang.setOutstanding(1);
  starved.timers.advance(80_000);
  t.same(starved.hangs, [], 'it had 8 s of its 10');
  starved.hang.sign();
  starved.timers.advance(70_000);
  t.same(starved.hangs, [], 'and again after a sign');
  starved.timers.advance(70_000);
  t.equal(starved.hangs.length, 1, 'silent with the processor for longer than it may be');
});

t.test('one that never gets it is given up at last, one that sleeps is not excused', async (t) => {
  const never = starvedWatch(0);
  never.hang.setOutstanding(1);
  never.timers.advance(190_000);
  t.same(never.hangs, []);
  never.timers.advance(30_000);
  t.equal(never.hangs.length, 1);
  const asleep = starvedWatch(1);
  asleep.hang.setOutstanding(1);
  asleep.timers.advance(13_000);
  t.equal(asleep.hangs.length, 1);
});

t.test('a stopped watch leaves no timer', async (t) => {
  const { timers, watch: hang } = watch();
  hang.setOutstanding(1);
  hang.stop();
  t.equal(timers.pending, 0);
});
