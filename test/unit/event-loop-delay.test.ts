import { createHistogram } from 'node:perf_hooks';
import t from 'tap';
import { delaySeconds, looksAtEventLoop } from '../../src/telemetry/event-loop-delay.js';
import { Metrics } from '../../src/telemetry/metrics.js';

const MS = 1_000_000;

t.test('the pause between two looks is no delay', (t) => {
  const looks = createHistogram();
  t.equal(delaySeconds(looks, 0.99), 0, 'before the first look');
  for (let at = 0; at < 98; at++) looks.record(10 * MS);
  looks.record(9 * MS);
  looks.record(35 * MS);
  // The histogram keeps three digits.
  const close = (quantile: number, seconds: number): boolean =>
    Math.abs(delaySeconds(looks, quantile) - seconds) < 1e-4;
  t.ok(close(0.5, 0), `p50 ${delaySeconds(looks, 0.5)}`);
  t.ok(close(1, 0.025), `largest ${delaySeconds(looks, 1)}`);
  const early = createHistogram();
  early.record(9 * MS);
  t.equal(delaySeconds(early, 1), 0, 'a timer that came early');
  t.end();
});

t.test('a blocked loop was late for as long as it was blocked, but for a look', async (t) => {
  const looks = looksAtEventLoop();
  looks.enable();
  t.teardown(() => looks.disable());
  const untilLooks = async (count: number): Promise<void> => {
    while (looks.count < count) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  await untilLooks(1);
  const seen = looks.count;
  const endMs = performance.now() + 100;
  while (performance.now() < endMs);
  await untilLooks(seen + 1);
  t.ok(delaySeconds(looks, 1) >= 0.08, `late for ${delaySeconds(looks, 1)} s`);
});

t.test('metrics tell the delay by quantile and begin anew with each scrape', async (t) => {
  const metrics = new Metrics();
  t.teardown(() => metrics.close());
  const text = await metrics.text();
  for (const quantile of ['0.5', '0.99', '1'])
    t.match(
      text,
      new RegExp(`^switchyard_event_loop_delay_seconds\\{quantile="${quantile}"\\} [0-9.e-]+$`, 'm'),
    );
});
