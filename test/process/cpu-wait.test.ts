import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import t, { type Test } from 'tap';
import { cpuWaitOf, ownThread } from '../../src/process/cpu-wait.js';
import { until } from '../control/yard.js';

const isKnown = existsSync('/proc/self/task') && existsSync('/proc/self/schedstat');

/** A process that never rests; by default it yields to all others. */
function busy(t: Test, niceness = 19): number {
  const code = `if (${niceness} > 0) require("node:os").setPriority(${niceness}); for (;;);`;
  const child = spawn(process.execPath, ['-e', code], { stdio: 'ignore' });
  t.teardown(() => child.kill('SIGKILL'));
  return child.pid ?? 0;
}

t.test('the wait of a process for a processor is seen, and ends where it is stopped', async (t) => {
  if (!isKnown) return t.comment('this system does not say it');
  // One more than there are processors: some of them always wait.
  const pids = Array.from({ length: availableParallelism() + 1 }, () => busy(t));
  const waits = pids.map((pid) => cpuWaitOf(() => pid));
  for (const wait of waits) wait.mark();
  await until('one of them waited', async () => waits.some((wait) => wait.sinceMarkMs() > 20));
  for (const pid of pids) process.kill(pid, 'SIGSTOP');
  await until('all are stopped', async () => {
    for (const wait of waits) wait.mark();
    await new Promise((resolve) => setTimeout(resolve, 30));
    return waits.every((wait) => wait.sinceMarkMs() === 0);
  });
  t.pass('what is stopped waits for no processor');
});

t.test('what a thread waits for that nobody waits for is not counted', async (t) => {
  if (!isKnown) return t.comment('this system does not say it');
  for (let at = 0; at <= availableParallelism(); at++) busy(t, 0);
  const all = cpuWaitOf(() => process.pid);
  const others = cpuWaitOf(() => process.pid, ownThread());
  all.mark();
  others.mark();
  const endMs = performance.now() + 60_000;
  // This thread wants a processor all the time; the others of this process have nothing to do.
  const isSeen = (): boolean => all.sinceMarkMs() > others.sinceMarkMs() + 50;
  while (!isSeen() && performance.now() < endMs) for (let at = 0; at < 1e6; at++);
  t.ok(isSeen());
});

t.test('of a process that is gone, or of none, nothing is known', async (t) => {
  const child = spawn(process.execPath, ['-e', ''], { stdio: 'ignore' });
  await once(child, 'exit');
  for (const pid of [child.pid ?? 0, null]) {
    const wait = cpuWaitOf(() => pid);
    wait.mark();
    t.equal(wait.sinceMarkMs(), 0);
  }
});
