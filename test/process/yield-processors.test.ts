import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import t from 'tap';
import { type Yielding, yieldProcessors } from '../../src/process/yield-processors.js';
import { finished, spawnNode } from '../fixtures/product.js';

const SCHED_IDLE = 5;
/** Field 41 of /proc/self/stat, counted from behind the name, which may hold spaces. */
const policyOf = (pid: number | 'self'): number =>
  Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[38]);

const [, , asked] = process.argv;
if (asked !== undefined) {
  const had = yieldProcessors(JSON.parse(asked) as Yielding);
  // What it starts inherits both.
  const child = spawnSync(process.execPath, ['-p', 'require("node:os").getPriority()'], { encoding: 'utf8' });
  const said = { had, niceness: getPriority(), child: Number(child.stdout), policy: policyOf('self') };
  process.stdout.write(`${JSON.stringify(said)}\n`);
} else {
  const yielding = async (options: Yielding) => {
    const { stdout, stderr } = await finished(spawnNode(process.argv[1] ?? '', [JSON.stringify(options)]));
    t.equal(stderr, '');
    return JSON.parse(stdout) as { had: boolean; niceness: number; child: number; policy: number };
  };
  const own = getPriority();
  const isLinux = process.platform === 'linux';
  const hasChrt = isLinux && spawnSync('chrt', ['--version']).status === 0;

  t.test('a process that yields is nicer than others, and so is what it starts', async (t) => {
    const niceness = Math.min(19, own + 3);
    t.match(await yielding({ niceness, scheduling: 'nice' }), { had: true, niceness, child: niceness });
    t.match(await yielding({ niceness: 0, scheduling: 'idle' }), { had: true, niceness: own, child: own });
  });

  t.test('with scheduling idle it takes what nobody else wants, where that can be had', async (t) => {
    const niceness = Math.min(19, own + 3);
    const { had, policy, ...rest } = await yielding({ niceness, scheduling: 'idle' });
    t.match(rest, { niceness, child: niceness });
    t.equal(had, hasChrt);
    if (isLinux) t.equal(policy === SCHED_IDLE, hasChrt, `policy ${policy}`);
  });
}
