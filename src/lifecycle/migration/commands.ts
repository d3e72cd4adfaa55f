import { SwitchyardError } from '../../errors.js';
import type { ChangeAuthor } from '../../registry/changes.js';
import type { Registry } from '../../registry/registry.js';
import { advanceBy } from './advance.js';
import { type Migration, readMigration } from './record.js';
import type { MigrationEventBody } from './state.js';

export const COMMANDS = ['promote', 'pause', 'resume', 'abort', 'rollback'] as const;
export type MigrationCommand = (typeof COMMANDS)[number];

/** A driver may have gone on between the read and the change: the command is about what there is then. */
const TRIES_MAX = 8;

/**
 * An operator's word, in force when this returns: abort and rollback change the route in the same transaction, and
 * whoever drives has lost the lease. Errors: UNKNOWN_MIGRATION, UNKNOWN_CORPUS, STATUS_CONFLICT when it does not fit.
 */
export async function commandMigration(
  registry: Registry,
  corpus: string,
  command: MigrationCommand,
  author: ChangeAuthor,
): Promise<Migration> {
  for (let tries = 1; ; tries++) {
    const migration = readMigration(await registry.migrations.latest(corpus));
    try {
      return await advanceBy(registry, migration, await eventOf(registry, migration, command), author, null);
    } catch (error) {
      if (tries === TRIES_MAX || !(await hasMoved(registry, migration, error))) throw error;
    }
  }
}

async function eventOf(
  registry: Registry,
  migration: Migration,
  command: MigrationCommand,
): Promise<MigrationEventBody> {
  if (command !== 'abort' && command !== 'rollback') return { kind: command };
  const { state } = migration;
  const isBehind = state.facts.placement.kind === 'released' && command === 'abort';
  if (state.facts.placement.kind === 'untouched' || isBehind) return { kind: command, routeRevision: null };
  if (state.facts.placement.kind === 'released') await refuseRetired(registry, migration);
  const { revision } = await registry.routes.get(migration.corpus);
  return { kind: command, routeRevision: revision + 1 };
}

/** Errors: STATUS_CONFLICT for an old version that is archived: there is nothing that could serve. */
async function refuseRetired(registry: Registry, { corpus, fromVersion: version }: Migration): Promise<void> {
  const { status } = await registry.corpusVersions.get({ corpus, version });
  if (status !== 'archived') return;
  throw new SwitchyardError(
    'STATUS_CONFLICT',
    `${corpus}/${version} is archived: bring it back with \`switchyard restore ${corpus}/${version}\`, then roll back`,
  );
}

/** Whether a refusal only says that somebody was quicker. */
async function hasMoved(registry: Registry, before: Migration, error: unknown): Promise<boolean> {
  if (!(error instanceof SwitchyardError)) return false;
  if (error.reason !== 'STATUS_CONFLICT' && error.reason !== 'REVISION_CONFLICT') return false;
  if (error.reason === 'REVISION_CONFLICT') return true;
  const now = await registry.migrations.latest(before.corpus);
  return now.migrationId === before.migrationId && now.sequence !== before.sequence;
}
