import t from 'tap';
import { OneAtATime } from '../../src/process/one-at-a-time.js';

t.test('asked while it works, it works once more, and never twice at once', async (t) => {
  const gates: (() => void)[] = [];
  let atOnce = 0;
  const work = new OneAtATime(async () => {
    t.equal(++atOnce, 1);
    await new Promise<void>((resolve) => gates.push(resolve));
    atOnce--;
  });
  await work.settled();
  work.ask();
  for (let times = 0; times < 5; times++) work.ask();
  t.equal(gates.length, 1);
  const settled = work.settled();
  gates[0]?.();
  await settled;
  t.equal(gates.length, 2, 'five questions lead to one more run');
  gates[1]?.();
  await work.settled();
  t.equal(gates.length, 2, 'and to no other');
});
