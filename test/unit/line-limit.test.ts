import t from 'tap';
import { LineLimit } from '../../src/telemetry/line-limit.js';

t.test('so many lines in each second are written, and no more', (t) => {
  const limit = new LineLimit(3);
  const taken = (atMs: number, lines: number) =>
    Array.from({ length: lines }, () => limit.takes(atMs)).filter(Boolean).length;
  t.equal(taken(0, 10), 3);
  t.equal(taken(999.9, 10), 0, 'still the same second');
  t.equal(taken(1_000, 2), 2);
  t.equal(taken(1_500, 10), 1);
  t.equal(taken(60_000, 1), 1);
  t.end();
});
