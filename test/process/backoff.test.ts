import fc from 'fast-check';
import t from 'tap';
import { backoffDelayMs, DEFAULT_BACKOFF } from '../../src/process/backoff.js';

t.test('without jitter the wait doubles up to its bound', async (t) => {
  const policy = { ...DEFAULT_BACKOFF, delayMsFirst: 100, delayMsMax: 1_000, factor: 2, jitter: 0 };
  t.same(
    [1, 2, 3, 4, 5, 6].map((attempt) => backoffDelayMs(policy, attempt, () => 0.5)),
    [100, 200, 400, 800, 1_000, 1_000],
  );
});

t.test('a wait is never longer than the bound and never shorter than the jitter allows', async (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5_000 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (attempt, random) => {
        const delayMs = backoffDelayMs(DEFAULT_BACKOFF, attempt, () => random);
        t.ok(delayMs <= DEFAULT_BACKOFF.delayMsMax);
        t.ok(delayMs >= DEFAULT_BACKOFF.delayMsFirst * (1 - DEFAULT_BACKOFF.jitter));
      },
    ),
  );
});
