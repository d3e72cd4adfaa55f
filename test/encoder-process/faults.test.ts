import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { shortMiniLmFolder } from '../fixtures/model.js';
import { isRunning, until } from '../process/wait.js';
import { pidOf, reasonOf, request, startEncoder } from './start.js';

t.test('a crash fails what is in flight, retryably, and the encoder comes back', async (t) => {
  const { encoder, states, logs } = startEncoder(t, await shortMiniLmFolder('int8'));
  await encoder.ready();
  const before = await encoder.encode(request(['a big cat']));
  const pid = pidOf(encoder);
  process.kill(pid, 'SIGSTOP');
  const lost = [encoder.encode(request(['a big cat'])), encoder.encode(request(['b'], { lane: 'bulk' }))];
  process.kill(pid, 'SIGKILL');
  t.same(await Promise.all(lost.map(reasonOf)), ['ENCODER_UNAVAILABLE', 'ENCODER_UNAVAILABLE']);
  const failures = await Promise.all(lost.map((one) => one.catch((error: unknown) => error)));
  t.equal(failures[0], failures[1], 'by one failure, which counts once against a target');
  t.equal(encoder.state.kind, 'restarting');
  await t.rejects(encoder.encode(request(['meanwhile'])), {
    reason: 'ENCODER_UNAVAILABLE',
    message: /restarting/,
  });
  await encoder.ready();
  t.same((await encoder.encode(request(['a big cat']))).values, before.values);
  t.not(pidOf(encoder), pid);
  t.equal(encoder.counters.restarts, 1);
  t.same(encoder.counters.queueLength, { live: 0, shadow: 0, bulk: 0 });
  t.match(
    states.map(({ kind }) => kind),
    ['ready', 'restarting', 'restarting', 'ready'],
  );
  t.ok(logs.some((line) => line.includes('was ended by SIGKILL')));
});

t.test('a stopped process cannot grow the gateway, and the watch restarts it', async (t) => {
  const { encoder, logs } = startEncoder(t, await shortMiniLmFolder('int8'), { silentMsMax: 2_000 });
  await encoder.ready();
  const pid = pidOf(encoder);
  process.kill(pid, 'SIGSTOP');
  const text = 'ab '.repeat(20_000);
  const reasons = new Map<string, number>();
  let outstandingMax = 0;
  let bufferedMax = 0;
  let queuedMax = 0;
  for (let wave = 0; wave < 30 && encoder.state.kind === 'ready'; wave++) {
    const deadlineAtMs = performance.now() + 20;
    const all = Array.from({ length: 100 }, () => encoder.encode(request([text], { deadlineAtMs })));
    outstandingMax = Math.max(outstandingMax, encoder.counters.outstanding);
    bufferedMax = Math.max(bufferedMax, encoder.counters.bufferedBytes);
    queuedMax = Math.max(queuedMax, encoder.counters.queueLength.live);
    for (const reason of await Promise.all(all.map(reasonOf)))
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  }
  t.ok((reasons.get('DEADLINE_EXCEEDED') ?? 0) > 0);
  t.ok((reasons.get('QUEUE_FULL') ?? 0) > 0);
  t.notOk(reasons.has('resolved'));
  // 180 MB were asked for; a window of 1 MiB and its headers is what was taken.
  t.ok(bufferedMax <= 1_100_000, `${bufferedMax} bytes waited in the pipe`);
  t.ok(outstandingMax <= 20, `${outstandingMax} pieces were owed`);
  t.equal(queuedMax, 64);
  await until('killed by the watch', () => !isRunning(pid));
  await encoder.ready();
  t.ok(logs.some((line) => line.includes('gave no sign')));
  t.equal((await encoder.encode(request(['works again']))).tokenCounts.length, 1);
});

t.test('an encoder whose parent is killed ends by itself', async (t) => {
  const script = fileURLToPath(new URL('./parent-main.js', import.meta.url));
  const parent = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => parent.kill('SIGKILL'));
  let printed = '';
  parent.stdout.on('data', (chunk: Buffer) => {
    printed += chunk.toString();
  });
  await until('the encoder is ready', () => printed.endsWith('\n'), 60_000);
  const pid = Number(printed);
  t.ok(isRunning(pid));
  parent.kill('SIGKILL');
  await until('the encoder is gone', () => !isRunning(pid));
  t.pass('gone');
});

t.test('closing an encoder that never became ready leaves nothing running', async (t) => {
  const { encoder } = startEncoder(t, await shortMiniLmFolder('int8'));
  const ready = reasonOf(encoder.ready());
  t.equal(await reasonOf(encoder.encode(request(['too early']))), 'ENCODER_UNAVAILABLE');
  await encoder.close();
  t.equal(await ready, 'SHUTTING_DOWN');
  t.equal(encoder.state.kind, 'closed');
});
