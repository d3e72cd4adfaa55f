import fc from 'fast-check';
import t from 'tap';
import type { RequestSpan } from '../../src/telemetry/trace.js';
import { parseParent, Tracer } from '../../src/telemetry/tracer.js';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const SPAN = 'b7ad6b7169203331';
const parent = (flags: string, version = '00'): string => `${version}-${TRACE}-${SPAN}-${flags}`;

function tracer(options: { sampleBps?: number; tracesPerSMax?: number; random?: number } = {}) {
  const begun: (string | null)[] = [];
  const clock = { nowMs: 0 };
  const made = new Tracer({
    sampleBps: options.sampleBps ?? 0,
    tracesPerSMax: options.tracesPerSMax ?? 100,
    sink: {
      request: (_name, _startMs, from) => {
        begun.push(from?.traceId ?? null);
        return {} as RequestSpan;
      },
      close: async () => undefined,
    },
    nowMs: () => clock.nowMs,
    random: () => options.random ?? 0.5,
  });
  return { made, begun, clock };
}

t.test("a client's decision is followed either way, and its trace goes on", (t) => {
  const { made, begun } = tracer({ sampleBps: 10_000 });
  t.equal(made.begin('a', parent('00'), undefined), null);
  t.not(made.begin('a', parent('01'), undefined), null);
  t.not(made.begin('a', parent('03'), undefined), null, 'other flags do not matter');
  t.same(begun, [TRACE, TRACE]);
  t.end();
});

t.test('without one the share decides', (t) => {
  t.equal(tracer({ sampleBps: 4_999 }).made.begin('a', undefined, undefined), null);
  t.not(tracer({ sampleBps: 5_001 }).made.begin('a', undefined, undefined), null);
  t.equal(tracer({ random: 0 }).made.begin('a', undefined, undefined), null, 'nothing at 0');
  t.end();
});

t.test('however many traces clients ask for, a second has its limit', (t) => {
  const { made, begun, clock } = tracer({ tracesPerSMax: 3 });
  for (let at = 0; at < 10; at++) made.begin('a', parent('01'), undefined);
  t.equal(begun.length, 3);
  t.same(made.counters, { sampled: 3, overLimit: 7 });
  clock.nowMs = 1_000;
  made.begin('a', parent('01'), undefined);
  t.equal(begun.length, 4);
  t.end();
});

t.test('what is no trace context begins a trace of its own', (t) => {
  for (const wrong of [
    '',
    'nonsense',
    parent('01', 'ff'),
    `${parent('01')}-more`,
    `00-${'0'.repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${'0'.repeat(16)}-01`,
    parent('01').toUpperCase(),
    [parent('01')],
    `${parent('01', '01')}-${'x'.repeat(200)}`,
  ])
    t.equal(parseParent(wrong, undefined), null, String(wrong));
  t.match(parseParent(`${parent('01', '01')}-of-a-later-version`, undefined), { traceId: TRACE });
  t.equal(parseParent(parent('01'), 'x'.repeat(513))?.state, '', 'a state beyond its limit is left out');
  fc.assert(
    fc.property(fc.anything(), fc.anything(), (header, state) => {
      const read = parseParent(header, state);
      return read === null || (/^[0-9a-f]{32}$/.test(read.traceId) && /^[0-9a-f]{16}$/.test(read.spanId));
    }),
    { seed: 1 },
  );
  t.end();
});
