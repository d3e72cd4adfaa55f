import t from 'tap';
import { thresholdWarnings } from '../../src/lifecycle/retire/score-thresholds.js';

const consumer = (serviceName: string, more: object = {}) => ({
  corpus: 'docs_kb',
  version: 'v1',
  consumerId: serviceName,
  serviceName,
  teamOwner: 'search',
  migrationDeadline: null,
  migrated: false,
  usesScoreThresholds: true,
  ...more,
});

t.test('consumers with score thresholds are warned with both versions’ scores, and no others', async (t) => {
  const warnings = thresholdWarnings(
    [
      consumer('ranker'),
      consumer('done', { migrated: true }),
      consumer('careless', { usesScoreThresholds: false }),
      consumer('elsewhere', { version: 'v0' }),
    ],
    { corpus: 'docs_kb', from: 'v1', to: 'v2' },
    { from: { p25: 0.41, median: 0.5, p75: 0.62 }, to: null },
  );
  t.match(warnings, [
    {
      service: 'ranker',
      team: 'search',
      message:
        /ranker of team search .* docs_kb\/v1 \(p25 0\.410, median 0\.500, p75 0\.620\); v2 scores otherwise \(its scores were not compared\)/,
    },
  ]);
  t.equal(warnings.length, 1);
});
