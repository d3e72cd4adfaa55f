import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import { DEFAULT_BACKOFF } from '../../src/process/backoff.js';
import { childEnv } from '../../src/process/child-env.js';
import type { ChildState } from '../../src/process/child-state.js';
import { SupervisedChild, type SupervisedChildOptions } from '../../src/process/supervised-child.js';
import { systemTimers } from '../../src/process/timers.js';
import { isRunning, until } from './wait.js';

interface Started {
  readonly child: SupervisedChild;
  readonly states: ChildState[];
  readonly answers: string[];
  readonly logs: string[];
  readonly envs: Record<string, string>[];
}

const QUICK = { ...DEFAULT_BACKOFF, delayMsFirst: 20, delayMsMax: 100 };

function start(t: Test, options: Partial<SupervisedChildOptions> = {}): Started {
  const states: ChildState[] = [];
  const answers: string[] = [];
  const logs: string[] = [];
  const envs: Record<string, string>[] = [];
  const child = new SupervisedChild({
    name: 'echo',
    command: process.execPath,
    args: [fileURLToPath(new URL('./echo-child.js', import.meta.url))],
    env: childEnv(process.env),
    payloadBytesMax: 1024 * 1024,
    bufferedBytesMax: 64 * 1024,
    startTimeoutMs: 20_000,
    silentMsMax: 20_000,
    closeGraceMs: 10_000,
    backoff: QUICK,
    log: (_level, message) => logs.push(message),
    timers: systemTimers,
    random: () => 0,
    onSpawn: () => undefined,
    onFrame: ({ kind, payload }) => {
      if (kind === 9) {
        envs.push(JSON.parse(payload.toString()) as Record<string, string>);
        child.markReady();
      } else answers.push(payload.toString());
    },
    onDrain: () => undefined,
    onState: (state) => states.push(state),
    ...options,
  });
  child.start();
  t.teardown(() => child.close());
  return { child, states, answers, logs, envs };
}

const isReady = ({ child }: Started): boolean => child.state.kind === 'ready';
const pidOf = ({ child }: Started): number => (child.state.kind === 'ready' ? child.state.pid : 0);

t.test('it starts, answers, and leaves nothing running when closed', async (t) => {
  const started = start(t);
  await until('ready', () => isReady(started));
  const pid = pidOf(started);
  t.equal(started.child.send(1, 1, [Buffer.from('hello')]), 'sent');
  await until('an answer', () => started.answers.includes('hello'));
  await started.child.close();
  t.notOk(isRunning(pid));
  t.same(
    started.states.map(({ kind }) => kind),
    ['starting', 'ready', 'closing', 'closed'],
  );
  t.equal(started.child.send(1, 2), 'closed');
});

t.test('a child sees no secret of its parent', async (t) => {
  const secret = randomUUID();
  const names = [
    'DATABASE_URL',
    'REDIS_URL',
    'SWITCHYARD_AUTH__HMAC_SECRET',
    'SWITCHYARD_API_KEY',
    'AWS_SECRET',
  ];
  for (const name of names) process.env[name] = `scheme://user:${secret}@host`;
  t.teardown(() => {
    for (const name of names) delete process.env[name];
  });
  const started = start(t, { env: childEnv(process.env) });
  await until('ready', () => isReady(started));
  const [env = {}] = started.envs;
  t.notOk(JSON.stringify(env).includes(secret));
  t.equal(env.PATH, process.env.PATH);
  t.equal(env.ORT_DISABLE_TELEMETRY, '1');
  // The whole list, but for what the test runner adds to every process that a test starts.
  const own = Object.keys(env).filter((name) => !/^(NODE_OPTIONS|TAP|_TAPJS_|__CF_)/.test(name));
  t.same(own.sort(), Object.keys(childEnv(process.env)).sort());
});

t.test('a killed child is said to be so, and started again', async (t) => {
  const started = start(t);
  await until('ready', () => isReady(started));
  const pid = pidOf(started);
  process.kill(pid, 'SIGKILL');
  await until('waiting', () => started.child.state.kind === 'waiting');
  t.match(started.child.state, {
    attempt: 1,
    retryInMs: 20,
    down: { kind: 'exited', signal: 'SIGKILL', code: null },
  });
  await until('ready again', () => isReady(started));
  t.not(pidOf(started), pid);
  t.equal(started.child.restarts, 1);
});

t.test('a child that ends again and again is started ever more slowly', async (t) => {
  const started = start(t);
  const delays: number[] = [];
  for (let i = 0; i < 4; i++) {
    await until('ready', () => isReady(started));
    started.child.send(3, 0, [Buffer.from([7])]);
    await until('waiting', () => started.child.state.kind === 'waiting');
    if (started.child.state.kind === 'waiting') delays.push(started.child.state.retryInMs);
    t.match(started.child.state, { down: { kind: 'exited', code: 7 } });
  }
  t.same(delays, [20, 40, 80, 100]);
});

t.test('a child that was stable starts its back-off anew', async (t) => {
  const started = start(t, { backoff: { ...QUICK, stableAfterMs: 0 } });
  for (let i = 0; i < 2; i++) {
    await until('ready', () => isReady(started));
    started.child.send(3, 0, [Buffer.from([1])]);
    await until('waiting', () => started.child.state.kind === 'waiting');
    t.match(started.child.state, { attempt: 1, retryInMs: 20 });
  }
});

t.test('a child that blocks while it owes an answer is killed and started again', async (t) => {
  const started = start(t, { silentMsMax: 300 });
  await until('ready', () => isReady(started));
  const pid = pidOf(started);
  started.child.setOutstanding(1);
  started.child.send(4, 0);
  await until('waiting', () => started.child.state.kind === 'waiting');
  t.match(started.child.state, { down: { kind: 'unresponsive' } });
  await until('ready again', () => isReady(started));
  t.notOk(isRunning(pid));
});

t.test('a stopped child cannot grow its parent', async (t) => {
  const started = start(t);
  await until('ready', () => isReady(started));
  const pid = pidOf(started);
  process.kill(pid, 'SIGSTOP');
  const payload = Buffer.alloc(16 * 1024, 1);
  const outcomes = new Set(Array.from({ length: 1_000 }, (_, i) => started.child.send(1, i, [payload])));
  t.ok(outcomes.has('full'));
  t.ok(started.child.bufferedBytes <= 64 * 1024 + 12);
  process.kill(pid, 'SIGCONT');
  await until('drained', () => started.child.bufferedBytes === 0);
  t.equal(started.child.send(1, 1, [payload]), 'sent');
});

t.test('garbage in the channel ends the child, not the parent', async (t) => {
  const started = start(t);
  await until('ready', () => isReady(started));
  started.child.send(6, 0);
  await until('waiting', () => started.child.state.kind === 'waiting');
  t.match(started.child.state, { down: { kind: 'protocol', error: { reason: 'INTERNAL' } } });
});

t.test('a program that does not exist is a failed start, tried again', async (t) => {
  const started = start(t, { command: '/nonexistent/program' });
  await until('waiting', () => started.child.state.kind === 'waiting');
  t.match(started.child.state, { down: { kind: 'spawn_failed', code: 'ENOENT' } });
  await until('second attempt', () => started.child.restarts > 1);
  await started.child.close();
  t.equal(started.child.state.kind, 'closed');
});

t.test('a child that is never ready is killed at its time', async (t) => {
  const started = start(t, { startTimeoutMs: 200, onFrame: () => undefined });
  await until('waiting', () => started.child.state.kind === 'waiting');
  t.match(started.child.state, { down: { kind: 'start_timeout', afterMs: 200 } });
});

t.test('a child declared failed is ended, and tried again ever more slowly', async (t) => {
  const started = start(t);
  const pauses: number[] = [];
  for (let attempt = 1; attempt <= 3; attempt++) {
    await until('ready', () => isReady(started));
    const pid = pidOf(started);
    started.child.fail(new SwitchyardError('CORRUPT_MODEL', 'model.onnx is not what was imported'));
    const { state } = started.child;
    t.match(state, { kind: 'failed', attempt, error: { reason: 'CORRUPT_MODEL' } });
    if (state.kind === 'failed') pauses.push(state.retryInMs);
    t.equal(started.child.send(1, 1), 'closed');
    await until('gone', () => !isRunning(pid));
  }
  t.same(pauses, [20, 40, 80]);
  await until('ready once more', () => isReady(started));
  t.equal(started.child.restarts, 3);
});

t.test('a failed child that is closed is not tried again', async (t) => {
  const started = start(t);
  await until('ready', () => isReady(started));
  started.child.fail(new SwitchyardError('CORRUPT_MODEL', 'model.onnx is not what was imported'));
  await started.child.close();
  t.match([started.child.state.kind, started.child.restarts], ['closed', 0]);
});

t.test('a child that does not end in time is killed by close', async (t) => {
  const script = fileURLToPath(new URL('./echo-child.js', import.meta.url));
  const started = start(t, { args: [script, 'stubborn'], closeGraceMs: 100 });
  await until('ready', () => isReady(started));
  const pid = pidOf(started);
  await started.child.close();
  t.notOk(isRunning(pid));
  t.ok(started.logs.some((line) => line.includes('did not end in time')));
});

t.test(
  'Ctrl-C in a terminal reaches the whole group, and the child goes on until its parent closes it',
  async (t) => {
    const started = start(t);
    await until('ready', () => isReady(started));
    const pid = pidOf(started);
    process.kill(pid, 'SIGINT');
    process.kill(pid, 'SIGTERM');
    started.child.send(1, 1, [Buffer.from('still here')]);
    await until('an answer', () => started.answers.includes('still here'));
    t.ok(isRunning(pid));
  },
);

t.test('what a child prints reaches the log line by line', async (t) => {
  const started = start(t);
  await until('ready', () => isReady(started));
  started.child.send(5, 0, [Buffer.from('first\nsecond\n')]);
  await until('both lines', () => started.logs.includes('echo: second'));
  t.ok(started.logs.includes('echo: first'));
});
