import t from 'tap';
import { DurationTally, LabelledTally } from '../../src/telemetry/tally.js';

t.test('a duration falls into the first bucket that holds it, and beyond the last into infinity', (t) => {
  const tally = new DurationTally([0.001, 0.01]);
  for (const seconds of [0.0005, 0.001, 0.0011, 5]) tally.observe(seconds);
  const { count, sum, buckets } = tally.series({ stage: 'total' });
  t.equal(count, 4);
  t.ok(Math.abs(sum - 5.0026) < 1e-9);
  t.strictSame(buckets, [
    { le: 0.001, count: 2 },
    { le: 0.01, count: 1 },
    { le: Number.POSITIVE_INFINITY, count: 1 },
  ]);
  t.end();
});

t.test('label sets are told apart by every value and keep their totals', (t) => {
  const tally = new LabelledTally(['rpc', 'reason']);
  tally.add('search', 'OK');
  tally.add('search', 'QUEUE_FULL');
  tally.add('embed', 'OK');
  tally.add('search', 'OK');
  t.strictSame(
    [...tally.read()],
    [
      [{ rpc: 'search', reason: 'OK' }, 2],
      [{ rpc: 'search', reason: 'QUEUE_FULL' }, 1],
      [{ rpc: 'embed', reason: 'OK' }, 1],
    ],
  );
  tally.declare('embed', 'INTERNAL');
  tally.declare('search', 'OK');
  t.strictSame(
    [...tally.read()].at(-1),
    [{ rpc: 'embed', reason: 'INTERNAL' }, 0],
    'at nought before the first',
  );
  t.equal([...tally.read()].length, 4, 'what counts already stays');
  tally.forget(({ rpc }) => rpc === 'embed');
  t.strictSame(
    [...tally.read()],
    [
      [{ rpc: 'search', reason: 'OK' }, 2],
      [{ rpc: 'search', reason: 'QUEUE_FULL' }, 1],
    ],
    'what is gone has no series',
  );
  tally.add('search', 'QUEUE_FULL');
  tally.add('embed', 'OK');
  t.strictSame(
    [...tally.read()].map(([, count]) => count),
    [2, 2, 1],
    'and begins anew',
  );
  t.throws(() => tally.add('search', 'OK', 'more'), RangeError);
  t.end();
});
