import t from 'tap';
import { formatMigration } from '../../src/cli/migration-text.js';
import type { MigrationView } from '../../src/gateway/admin/migration-views.js';

const at = '2026-11-26T18:00:00.000Z';

/** Of a plan of these two steps. */
const paused = (step: 1 | 2, rollbackWithinMs: number | null): MigrationView => ({
  migration_id: 'm',
  corpus: 'docs',
  from_version: 'v1',
  to_version: 'v2',
  state: 'paused',
  cause: 'operator',
  why: 'an operator paused it',
  step,
  attempt: 1,
  steps: [
    { name: 'complete', kind: 'complete', status: step === 1 ? 'current' : 'done' },
    { name: 'retire', kind: 'retire', status: step === 1 ? 'waiting' : 'current' },
  ],
  progress: null,
  weight: 10_000,
  gate: null,
  route_revision: 7,
  driver: null,
  started_at: at,
  updated_at: at,
  finished_at: null,
  shortest_finish_s: 0,
  rollback_within_ms: rollbackWithinMs,
  rollback_ms: null,
  lagging: [],
  watermark: null,
  updates_stopped: true,
  source_lag_documents: null,
  warnings: [],
});

t.test('the way back is told from one that is not known', async (t) => {
  t.match(formatMigration(paused(1, 2_000)), /roll back: at once, at most 2000 ms/);
  const asked = formatMigration(paused(1, null));
  t.match(asked, /rolling back takes no loading; .* no gateway was asked/);
  t.notMatch(asked, /loads the old version/);
  t.match(formatMigration(paused(2, null)), /rolling back loads the old version first/);
});
