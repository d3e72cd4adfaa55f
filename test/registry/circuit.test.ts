import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import { Circuit } from '../../src/registry/circuit.js';
import { everyConnectionBusy, newsOf } from '../../src/registry/pg-errors.js';
import { FakeTimers } from '../process/fake-timers.js';
import { refused } from './registry-fixtures.js';

const SILENT_MS = 2_000;
const OPEN_MS_FIRST = 250;
const OPEN_MS_MAX = 1_000;

/** A server whose answers the test gives. */
function rig() {
  const timers = new FakeTimers();
  const probes: { readonly answer: () => void; readonly fail: () => void }[] = [];
  const seen: string[] = [];
  const circuit = new Circuit({
    breaker: { failuresToOpen: 3, openMsFirst: OPEN_MS_FIRST, openMsMax: OPEN_MS_MAX },
    silentMs: SILENT_MS,
    place: 'server:5432/db',
    timers,
    probe: () =>
      new Promise((resolve, reject) => {
        probes.push({ answer: resolve, fail: () => reject(new Error('no answer')) });
      }),
    newsOf,
    onOpened: () => seen.push('opened'),
    onClosed: () => seen.push('closed'),
  });
  const lost = (): Promise<void> => circuit.run(() => Promise.reject(new Error('lost')));
  const refusedCall = (): Promise<void> =>
    circuit.run(() => Promise.reject(new SwitchyardError('REVISION_CONFLICT', 'no')));
  return { circuit, timers, probes, seen, lost, refusedCall };
}

/** Lets promises that are settled be heard. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

t.test('it opens after failures in a row, and what the server refuses is an answer', async (t) => {
  const { circuit, seen, lost, refusedCall } = rig();
  for (let at = 0; at < 2; at++) await t.rejects(lost(), { message: 'lost' });
  await t.rejects(refusedCall(), refused('REVISION_CONFLICT'));
  for (let at = 0; at < 2; at++) await t.rejects(lost(), { message: 'lost' });
  t.same(circuit.report, { state: 'closed', openedCount: 0 });
  await t.rejects(lost(), { message: 'lost' });
  t.same(circuit.report, { state: 'open', openedCount: 1 });
  t.same(seen, ['opened']);
});

t.test(
  'a call that got no connection says nothing of the server: neither that it is away nor that it answers',
  async (t) => {
    const { circuit, timers, probes, lost } = rig();
    const busy = (): Promise<void> =>
      circuit.run(() => Promise.reject(everyConnectionBusy('server:5432/db', 6, 5_000)));
    for (let at = 0; at < 5; at++) await t.rejects(busy(), refused('REGISTRY_UNAVAILABLE'));
    t.same(circuit.report, { state: 'closed', openedCount: 0 });
    circuit.run(() => new Promise<never>(() => undefined)).catch(() => undefined);
    timers.advance(SILENT_MS - 1);
    await t.rejects(busy());
    timers.advance(1);
    t.equal(probes.length, 1, 'the server is still asked whether it is there');
    for (let at = 0; at < 2; at++) await t.rejects(lost());
    await t.rejects(busy());
    await t.rejects(lost());
    t.equal(circuit.report.state, 'open');
  },
);

t.test('open, it asks nothing and says when the next try is; a probe closes it', async (t) => {
  const { circuit, timers, probes, seen, lost } = rig();
  for (let at = 0; at < 3; at++) await t.rejects(lost());
  let asked = 0;
  const call = (): Promise<number> => circuit.run(async () => ++asked);
  await t.rejects(call(), {
    ...refused('REGISTRY_UNAVAILABLE'),
    details: { breaker: 'open' },
    retryAfterMs: OPEN_MS_FIRST,
  });
  timers.advance(OPEN_MS_FIRST);
  t.equal(circuit.report.state, 'trial');
  await t.rejects(call(), { ...refused('REGISTRY_UNAVAILABLE'), details: { breaker: 'trial' } });
  t.equal(probes.length, 1, 'one probe, however many call');
  for (const waitMs of [OPEN_MS_FIRST * 2, OPEN_MS_MAX, OPEN_MS_MAX]) {
    probes.at(-1)?.fail();
    await settled();
    t.equal(circuit.report.state, 'open');
    const before = probes.length;
    timers.advance(waitMs - 1);
    t.equal(probes.length, before, 'it waits for longer each time, up to a limit');
    timers.advance(1);
    t.equal(probes.length, before + 1);
  }
  probes.at(-1)?.answer();
  await settled();
  t.same(circuit.report, { state: 'closed', openedCount: 1 });
  t.same(seen, ['opened', 'closed']);
  t.equal(await call(), 1);
});

t.test('a server that says nothing to anybody opens it before any call fails', async (t) => {
  const { circuit, timers, probes, seen } = rig();
  const hung = circuit.run(() => new Promise<never>(() => undefined));
  hung.catch(() => undefined);
  timers.advance(SILENT_MS - 1);
  t.equal(probes.length, 0);
  timers.advance(1);
  t.equal(probes.length, 1);
  t.equal(circuit.report.state, 'closed', 'not before the probe failed');
  probes[0]?.fail();
  await settled();
  t.equal(circuit.report.state, 'open');
  t.same(seen, ['opened']);
});

t.test('a long statement, or one dead connection among others, does not open it', async (t) => {
  const { circuit, timers, probes } = rig();
  circuit.run(() => new Promise<never>(() => undefined)).catch(() => undefined);
  timers.advance(SILENT_MS);
  probes[0]?.answer();
  await settled();
  t.equal(circuit.report.state, 'closed', 'the server answers others');
  timers.advance(SILENT_MS - 500);
  await circuit.run(async () => 1);
  timers.advance(500);
  t.equal(probes.length, 1, 'an answer to anybody is proof enough');
  timers.advance(SILENT_MS);
  t.equal(probes.length, 2);
  await circuit.run(async () => 1);
  probes[1]?.fail();
  await settled();
  t.equal(circuit.report.state, 'closed', 'somebody was answered while the probe was not');
});

t.test('calls that end after it opened neither close it nor keep it open', async (t) => {
  const { circuit, timers, probes, lost } = rig();
  let answer: () => void = () => undefined;
  const late = circuit.run(
    () =>
      new Promise<void>((resolve) => {
        answer = resolve;
      }),
  );
  let fail: (why: Error) => void = () => undefined;
  const lateFailure = circuit.run(
    () =>
      new Promise<void>((_, reject) => {
        fail = reject;
      }),
  );
  for (let at = 0; at < 3; at++) await t.rejects(lost());
  answer();
  await late;
  t.equal(circuit.report.state, 'open');
  timers.advance(OPEN_MS_FIRST);
  fail(new Error('late'));
  await t.rejects(lateFailure);
  probes[0]?.answer();
  await settled();
  t.equal(circuit.report.state, 'closed');
});

t.test('closed for good it leaves no timer behind', async (t) => {
  const { circuit, timers, lost } = rig();
  circuit.run(() => new Promise<never>(() => undefined)).catch(() => undefined);
  for (let at = 0; at < 3; at++) await t.rejects(lost());
  circuit.close();
  t.equal(timers.pending, 0);
});
