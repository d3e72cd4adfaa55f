import t from 'tap';
import { forgetGoneTargets } from '../../src/gateway/wiring/control-metrics.js';
import { Metrics } from '../../src/telemetry/metrics.js';
import { type Digest, digestPrefix, type Fingerprint } from '../../src/vocabulary.js';

t.test(
  'a target that this process holds no more has no series, and one that it holds keeps its own',
  async (t) => {
    const metrics = new Metrics();
    t.teardown(() => metrics.close());
    const [kept, gone] = ['a'.repeat(64) as Digest, 'b'.repeat(64) as Digest];
    for (const build of [kept, gone]) {
      metrics.targetRequests.add('docs', 'v1', digestPrefix(build), 'split');
      metrics.targetFailures.add('docs', 'v1', digestPrefix(build), 'split', 'INTERNAL');
    }
    const series = async (build: Digest): Promise<number> =>
      (await metrics.text()).split('\n').filter((line) => line.includes(`build="${digestPrefix(build)}"`))
        .length;
    t.same([await series(kept), await series(gone)], [2, 2]);
    const spec = {
      corpus: 'docs',
      version: 'v1',
      build: kept,
      fingerprint: `mf1_${'0'.repeat(32)}` as Fingerprint,
      modelRef: 'words@1',
      tier: 'ssd',
      bundleUri: 'file:///nowhere',
      isolation: 'shared',
    } as const;
    forgetGoneTargets(metrics, [{ spec }]);
    t.same([await series(kept), await series(gone)], [2, 0]);
  },
);
