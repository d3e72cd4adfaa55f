import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { supervise } from '../../src/cli/supervise.js';
import { temporaryFolder } from '../fixtures/folders.js';
import { silentLog } from '../fixtures/postgres.js';
import { isRunning, until } from '../process/wait.js';

/** A program that notes each of its lives, and does in it what the arguments say: one word for each. */
const PROGRAM = `
  const { appendFileSync, readFileSync, existsSync } = require('node:fs');
  const [file, ...lives] = process.argv.slice(2);
  const life = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\\n').length : 0;
  appendFileSync(file, process.pid + '\\n');
  const what = lives[life] ?? 'run';
  if (what === 'crash') process.kill(process.pid, 'SIGSEGV');
  else if (what === 'fail') process.exit(3);
  else {
    process.on('SIGTERM', () => process.exit(0));
    setInterval(() => undefined, 1000);
  }
`;

async function start(t: Parameters<typeof temporaryFolder>[0], lives: readonly string[]) {
  const folder = await temporaryFolder(t);
  const program = path.join(folder, 'program.cjs');
  const file = path.join(folder, 'lives');
  await writeFile(program, PROGRAM);
  let isAsked = false;
  let ask = (): void => undefined;
  const promise = new Promise<void>((resolve) => {
    ask = () => {
      isAsked = true;
      resolve();
    };
  });
  const stop = {
    promise,
    get isAsked() {
      return isAsked;
    },
  };
  let pids: number[] = [];
  const ended = supervise(program, [file, ...lives], stop, silentLog);
  return {
    ended,
    ask: () => ask(),
    livesBegan: async (count: number): Promise<readonly number[]> => {
      const look = async (): Promise<void> => {
        pids = (await readFile(file, 'utf8').catch(() => '')).trim().split('\n').filter(Boolean).map(Number);
      };
      const timer = setInterval(() => void look(), 20);
      await until(`${count} lives`, () => pids.length >= count).finally(() => clearInterval(timer));
      return pids;
    },
  };
}

t.test('what crashes or is killed is started again, and ends when it is asked to', async (t) => {
  const { ended, ask, livesBegan } = await start(t, ['crash', 'fail', 'run']);
  const [, , third] = await livesBegan(3);
  ask();
  t.equal(await ended, 0, 'the status of the child');
  t.notOk(isRunning(third as number));
});

t.test('a first start that fails is told, not repeated', async (t) => {
  const { ended, livesBegan } = await start(t, ['fail']);
  t.equal(await ended, 3);
  t.equal((await livesBegan(1)).length, 1);
});

t.test('asked to end while it waits before the next start, it ends', async (t) => {
  const { ended, ask, livesBegan } = await start(t, ['crash', 'crash', 'crash', 'crash', 'crash', 'crash']);
  await livesBegan(2);
  ask();
  const status = await ended;
  t.ok(status === 0 || status === 1, `status ${status}`);
});
