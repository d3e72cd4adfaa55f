import type { Migration } from 'kysely';
import { seed } from './0001-seed.js';
import { modelsAndBuilds } from './0002-models-and-builds.js';
import { routes } from './0003-routes.js';
import { replicas } from './0004-replicas.js';
import { apiKeys } from './0005-api-keys.js';
import { goldenSets } from './0006-golden-sets.js';
import { corpusMigrations } from './0007-corpus-migrations.js';
import { consumersAndArchives } from './0008-consumers-and-archives.js';
import { retirements } from './0009-retirements.js';
import { migrationReports } from './0010-migration-reports.js';
import { monitorRole } from './0011-monitor-role.js';

/** Every migration in the order of its name. One that was released is never edited: add another. */
export const MIGRATIONS: Readonly<Record<string, Migration>> = {
  '0001_seed': seed,
  '0002_models_and_builds': modelsAndBuilds,
  '0003_routes': routes,
  '0004_replicas': replicas,
  '0005_api_keys': apiKeys,
  '0006_golden_sets': goldenSets,
  '0007_corpus_migrations': corpusMigrations,
  '0008_consumers_and_archives': consumersAndArchives,
  '0009_retirements': retirements,
  '0010_migration_reports': migrationReports,
  '0011_monitor_role': monitorRole,
};
