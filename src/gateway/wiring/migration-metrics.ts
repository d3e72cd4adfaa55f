import { readMigration } from '../../lifecycle/migration/record.js';
import { weightOf } from '../../lifecycle/migration/state.js';
import type { MigrationRecord } from '../../registry/migration-record.js';
import type { Metrics } from '../../telemetry/metrics.js';
import { WEIGHT_TOTAL_BPS } from '../../vocabulary.js';

/** Migrations that are not finished, as this gateway last read them: every gateway shows the same. */
export function observeMigrations(metrics: Metrics, unfinished: () => readonly MigrationRecord[]): void {
  const shown = () =>
    unfinished().map((record) => {
      const { state, corpus, fromVersion, toVersion, lease } = readMigration(record);
      return { state, lease, labels: { corpus, from: fromVersion, to: toVersion } };
    });
  metrics.observe(
    'switchyard_migration_info',
    '1 for each migration that is not finished, with its state and why it is paused',
    ['corpus', 'from', 'to', 'state', 'cause'],
    () =>
      shown().map(({ state, labels }) => {
        const cause = 'cause' in state ? state.cause : '';
        return [{ ...labels, state: state.kind, cause }, 1] as const;
      }),
  );
  metrics.observe(
    'switchyard_migration_step',
    'Number of the step that a migration is at, from 0',
    ['corpus', 'from', 'to'],
    () => shown().flatMap(({ state, labels }) => ('at' in state ? [[labels, state.at.step] as const] : [])),
  );
  metrics.observe(
    'switchyard_migration_weight_ratio',
    'Share of the traffic that the new version has by the migration',
    ['corpus', 'from', 'to'],
    () => shown().map(({ state, labels }) => [labels, weightOf(state.facts) / WEIGHT_TOTAL_BPS] as const),
  );
  metrics.observe(
    'switchyard_migration_warned_consumers',
    'Consumers with score thresholds of their own that a migration takes over to another model',
    ['corpus', 'from', 'to'],
    () => shown().map(({ state, labels }) => [labels, state.facts.warned?.length ?? 0] as const),
  );
  metrics.observe(
    'switchyard_migration_driven',
    '1 while a live gateway drives the migration',
    ['corpus', 'from', 'to'],
    () => shown().map(({ lease, labels }) => [labels, lease === null ? 0 : 1] as const),
  );
}
