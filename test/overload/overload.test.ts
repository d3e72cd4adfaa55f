import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import { AdaptiveLimit } from '../../src/gateway/overload/adaptive-limit.js';
import { Overload } from '../../src/gateway/overload/overload.js';
import { Partitions } from '../../src/gateway/overload/partitions.js';
import { FakeTimers } from '../process/fake-timers.js';
import { SETTINGS, SimulatedService } from './simulated-service.js';

/** 400 requests a second, as one encoder. */
const LOAD = { servers: 1, serviceMs: 2.5, deadlineMs: 1_000, seed: 7 };

t.test('below capacity nothing is refused, and bursts change nothing', (t) => {
  const service = new SimulatedService(LOAD);
  const { live } = service.run({ seconds: 30, live: 0.75 * service.capacityPerS, bulk: 0 });
  t.equal(live.refused, 0);
  t.equal(live.late, 0);
  t.equal(service.limit, SETTINGS.limitMax);
  t.end();
});

t.test('at three times capacity goodput is capacity, and what is accepted is answered in time', (t) => {
  const service = new SimulatedService(LOAD);
  const { live } = service.run({ seconds: 60, live: 3 * service.capacityPerS, bulk: 0 });
  const goodput = live.good / 60 / service.capacityPerS;
  t.ok(goodput > 0.95, `goodput ${goodput.toFixed(3)} of capacity`);
  t.ok(live.late / live.good < 0.01, `${live.late} late of ${live.good}`);
  t.ok(service.limit < 120, `limit ${service.limit}: about target queue time × rate`);
  t.end();
});

t.test('without it everything waits until it is worthless', (t) => {
  const service = new SimulatedService(LOAD, { enabled: false });
  const { live } = service.run({ seconds: 60, live: 3 * service.capacityPerS, bulk: 0 });
  t.ok(live.good / 60 / service.capacityPerS < 0.1, 'goodput collapses');
  t.end();
});

t.test(
  'a service that becomes ten times slower drops what waited too long, and serves the rest in time',
  (t) => {
    const run = (queueMsMax: number) => {
      const service = new SimulatedService({ ...LOAD, deadlineMs: 10_000 }, { queueMsMax });
      const perSecond = 0.75 * service.capacityPerS;
      service.run({ seconds: 10, live: perSecond, bulk: 0 });
      service.serviceMs *= 10;
      return service.run({ seconds: 20, live: perSecond, bulk: 0 }).live;
    };
    const without = run(Number.POSITIVE_INFINITY);
    t.ok(without.queueMsMost > 2_500, `what was let in before waited ${without.queueMsMost.toFixed(0)} ms`);
    t.equal(without.shed, 0);
    const live = run(1_000);
    t.ok(
      live.queueMsMost <= 1_100,
      `${live.queueMsMost.toFixed(0)} ms in the queue at most, but for an interval`,
    );
    t.ok(live.shed > 0 && live.shed < 250, `${live.shed} dropped`);
    t.ok(live.good > 0.95 * without.good, `${live.good} answered, as many as the service can`);
    t.end();
  },
);

t.test('two seconds after an overload everything is accepted again', (t) => {
  const service = new SimulatedService(LOAD);
  service.run({ seconds: 20, live: 3 * service.capacityPerS, bulk: 0 });
  service.run({ seconds: 2, live: 0.5 * service.capacityPerS, bulk: 0 });
  const { live } = service.run({ seconds: 10, live: 0.5 * service.capacityPerS, bulk: 0 });
  t.equal(live.refused + live.late, 0);
  t.ok(live.latencyMsMost < 100, `${live.latencyMsMost} ms at most`);
  t.end();
});

t.test('bulk work takes what is left, and live work its share whatever the bulk does', (t) => {
  const service = new SimulatedService(LOAD);
  const alone = service.run({ seconds: 30, live: 0, bulk: 3 * service.capacityPerS });
  t.ok(alone.bulk.good + alone.bulk.late > 25 * service.capacityPerS, 'alone it has the whole service');
  const both = service.run({ seconds: 30, live: 0.5 * service.capacityPerS, bulk: 3 * service.capacityPerS });
  t.equal(both.live.refused, 0, 'live requests below their share are never refused');
  t.equal(both.live.late, 0);
  t.ok(both.bulk.good + both.bulk.late > 10 * service.capacityPerS, 'bulk work goes on beside it');
  t.end();
});

t.test('bulk work alone is limited as live work is, with ten times its patience', (t) => {
  const service = new SimulatedService({ ...LOAD, deadlineMs: 20_000 });
  service.run({ seconds: 20, live: 0, bulk: 3 * service.capacityPerS });
  const { bulk } = service.run({ seconds: 60, live: 0, bulk: 3 * service.capacityPerS });
  t.ok(bulk.good / 60 / service.capacityPerS > 0.95, `${bulk.good} answered: all that the service can`);
  t.ok(bulk.queueMsMost < 2_000, `${bulk.queueMsMost.toFixed(0)} ms in the queue at most`);
  t.ok(service.bulkLimit < 1_000, `limit ${service.bulkLimit}: about its queue time × rate`);
  t.equal(service.limit, SETTINGS.limitMax, 'which live work does not feel');
  const after = service.run({
    seconds: 10,
    live: 0.5 * service.capacityPerS,
    bulk: 3 * service.capacityPerS,
  });
  t.same([after.live.refused, after.live.late], [0, 0]);
  t.ok(after.live.latencyMsMost < 100, `${after.live.latencyMsMost.toFixed(0)} ms at most`);
  t.end();
});

t.test(
  'bulk work alone that waits for a service which became slower is dropped, and not kept for ever',
  (t) => {
    const run = (queueMsMax: number) => {
      const service = new SimulatedService({ ...LOAD, deadlineMs: 60_000 }, { queueMsMax });
      service.run({ seconds: 20, live: 0, bulk: 3 * service.capacityPerS });
      service.serviceMs *= 50;
      return service.run({ seconds: 60, live: 0, bulk: 3 * service.capacityPerS }).bulk;
    };
    const without = run(Number.POSITIVE_INFINITY);
    t.ok(without.queueMsMost > 20_000, `what was let in before waited ${without.queueMsMost.toFixed(0)} ms`);
    const bulk = run(SETTINGS.queueMsMax);
    t.ok(
      bulk.queueMsMost <= 10_200,
      `${bulk.queueMsMost.toFixed(0)} ms in the queue at most, but for an interval`,
    );
    t.ok(bulk.shed > 0, `${bulk.shed} dropped`);
    t.ok(bulk.good > 0.9 * without.good, `${bulk.good} answered, as many as the service can`);
    t.end();
  },
);

t.test('what is sure to bulk work is sure, however long it waits behind live work', (t) => {
  const service = new SimulatedService({ ...LOAD, deadlineMs: 60_000 });
  service.run({ seconds: 30, live: 1.5 * service.capacityPerS, bulk: service.capacityPerS });
  const sure = Math.floor(service.limit * SETTINGS.shares.bulk);
  t.ok(service.bulkLimit >= Math.max(sure, SETTINGS.limitMin), `${service.bulkLimit} of ${service.limit}`);
  t.end();
});

t.test('the limit falls by the ratio of target and queue time, and rises only where it was in use', (t) => {
  const timers = new FakeTimers();
  const limit = new AdaptiveLimit({ ...SETTINGS, limitMax: 400, intervalMs: 100 }, () => timers.nowMs());
  const interval = (queueMs: number, inFlight: number): number => {
    for (let at = 0; at < 10; at++) {
      timers.advance(10);
      limit.observe(at === 0 ? queueMs * 9 : queueMs, inFlight);
    }
    return limit.limit;
  };
  t.equal(interval(50, 300), 400, 'within the target');
  t.equal(interval(125, 300), 240, '300 in flight, a queue of 1.25 × the target');
  t.equal(interval(1_000, 240), 120, 'never less than half at once');
  t.equal(interval(0, 40), 120, 'idle: nothing is learnt');
  t.equal(interval(0, 110), 126, 'up by half a square root');
  for (let at = 0; at < 20; at++) interval(5_000, 500);
  t.equal(limit.limit, SETTINGS.limitMin, 'and no further');
  t.end();
});

t.test(
  'a deadline that passed is a wait of so long at least: below the target it says nothing either way',
  (t) => {
    const timers = new FakeTimers();
    const limitOf = (
      waits: (at: number) => readonly [queueMs: number, wasCutShort: boolean],
    ): AdaptiveLimit => {
      const limit = new AdaptiveLimit({ ...SETTINGS, limitMax: 400, intervalMs: 100 }, () => timers.nowMs());
      for (let at = 0; at < 1_000; at++) {
        timers.advance(10);
        limit.observe(waits(at)[0], 300, waits(at)[1]);
      }
      return limit;
    };
    const hurried = limitOf(() => [1, true]);
    t.same([hurried.limit, hurried.queueMs], [400, 0], 'whoever leaves 1 ms lowers nothing');
    const masked = limitOf((at) => (at % 2 === 0 ? [1, true] : [500, false]));
    t.same([masked.limit, masked.queueMs], [SETTINGS.limitMin, 500], 'and hides no queue of the others');
    const late = limitOf(() => [1_000, true]);
    t.same([late.limit, late.queueMs], [SETTINGS.limitMin, 1_000], 'whoever waited a second in vain does');
    const shared = limitOf((at) => (at % 2 === 0 ? [1_000, true] : [20, false]));
    t.equal(shared.limit, 400, 'unless others were served at once');
    const full = limitOf(() => [Number.POSITIVE_INFINITY, false]);
    t.same([full.limit, full.queueMs], [SETTINGS.limitMin, SETTINGS.queueMsMax], 'what is shown is finite');
    t.end();
  },
);

t.test(
  'at three times capacity requests that are given up at their deadlines lower the limit all the same',
  (t) => {
    for (const deadlineMs of [150, 300]) {
      const service = new SimulatedService({ ...LOAD, deadlineMs, givesUp: true });
      service.run({ seconds: 5, live: 3 * service.capacityPerS, bulk: 0 });
      const { live } = service.run({ seconds: 10, live: 3 * service.capacityPerS, bulk: 0 });
      const goodput = live.good / 10 / service.capacityPerS;
      t.ok(goodput > 0.9, `${deadlineMs} ms: goodput ${goodput.toFixed(3)} of capacity`);
      t.ok(service.limit < 120, `limit ${service.limit}`);
    }
    t.end();
  },
);

t.test('a partition below its share is let in although the limit is used up', (t) => {
  const partitions = new Partitions(SETTINGS.shares, () => 100);
  partitions.enter('bulk', 100);
  t.notOk(partitions.hasRoom('bulk', 1));
  t.ok(partitions.hasRoom('live', 1));
  partitions.enter('live', 79);
  t.ok(partitions.hasRoom('live', 1));
  t.notOk(partitions.hasRoom('live', 2));
  t.ok(partitions.hasRoom('shadow', 1, 4), 'mirrors are counted by those who run them');
  t.notOk(partitions.hasRoom('shadow', 1, 5));
  partitions.leave('bulk', 100);
  partitions.leave('live', 79);
  t.ok(partitions.hasRoom('bulk', 256), 'however heavy, one alone goes');
  t.equal(partitions.total, 0);
  t.end();
});

t.test('one refusal serves all who are refused together, and says longer the more they are', (t) => {
  const timers = new FakeTimers();
  const overload = new Overload(
    { ...SETTINGS, limitMax: 10, shares: { live: 1, shadow: 0, bulk: 0 } },
    timers,
  );
  for (let at = 0; at < 10; at++) overload.enter('vector', 'live');
  const first = overload.refusal('vector', 'live');
  t.match(first, { reason: 'OVERLOADED', details: { kind: 'vector', limit: '10' } });
  t.equal(overload.refusal('vector', 'live'), first, 'the same object');
  t.equal(overload.refusal('text', 'live'), null, 'texts wait for something else');
  t.equal(overload.refusalOfAll(), null);
  for (let at = 0; at < 98; at++) overload.refusal('vector', 'live');
  timers.advance(150);
  const later = overload.refusal('vector', 'live');
  t.not(later, first);
  t.ok((later?.retryAfterMs ?? 0) > (first?.retryAfterMs ?? 0), `${later?.retryAfterMs} ms`);
  t.throws(() => overload.enter('vector', 'live'), later as SwitchyardError);
  overload.leave('vector', 'live', 1, 0);
  t.equal(overload.refusal('vector', 'live'), null);
  t.match(overload.states()[1], { inFlight: { live: 9 }, refused: { live: 102 } });
  t.end();
});

t.test('operators have room of their own', (t) => {
  const overload = new Overload({ ...SETTINGS, limitMax: 1, limitMin: 1 }, new FakeTimers());
  overload.enter('text', 'live');
  for (let at = 0; at < SETTINGS.adminConcurrencyMax; at++) overload.enterAdmin();
  t.throws(() => overload.enterAdmin(), /4 operators' requests/);
  overload.leaveAdmin();
  overload.enterAdmin();
  t.same(overload.admin, { inFlight: 4, refused: 1 });
  t.end();
});

t.test('a late event loop counts as time in the queue', (t) => {
  const timers = new FakeTimers();
  let lateMs = 0;
  const overload = new Overload(
    { ...SETTINGS, limitMax: 100 },
    {
      nowMs: () => timers.nowMs(),
      after: (delayMs, action) => timers.after(delayMs + lateMs, action),
    },
  );
  for (let at = 0; at < 60; at++) overload.enter('text', 'live');
  lateMs = 150;
  for (let at = 0; at < 40; at++) {
    timers.advance(20);
    overload.leave('text', 'live', 1, 1);
    if (overload.refusal('text', 'live') === null) overload.enter('text', 'live');
  }
  t.ok((overload.states()[0]?.limit ?? 100) < 60, `limit ${overload.states()[0]?.limit}`);
  t.notOk(overload.refusal('vector', 'live') instanceof SwitchyardError);
  t.end();
});
