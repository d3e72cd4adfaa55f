import { SwitchyardError } from '../../errors.js';
import type { ChangeAuthor } from '../../registry/changes.js';
import type { MigrationAdvance } from '../../registry/corpus-migrations.js';
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
      const event = await eventOf(registry, migration, command);
      return await advanceBy(registry, migration, event, author, null, needed(migration, command));
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
  const { revision } = await registry.routes.get(migration.corpus);
  return { kind: command, routeRevision: revision + 1 };
}

/**
 * Behind `complete` a return needs the old version, and an abort promises to keep it. One that is archived is past both; an
 * abort then only ends a migration whose deletion broke, which `switchyard corpus retire` finishes.
 */
function needed(
  { corpus, fromVersion: version, state }: Migration,
  command: MigrationCommand,
): MigrationAdvance['unlessArchived'] {
  if (state.facts.placement.kind !== 'released') return null;
  const restore = `\`switchyard restore ${corpus}/${version}\``;
  if (command === 'rollback')
    return {
      version,
      refusal: `${corpus}/${version} is archived: bring it back with ${restore}, then roll back`,
    };
  if (command !== 'abort' || (state.kind === 'paused' && state.cause === 'failure')) return null;
  const rest = state.kind === 'paused' ? 'which `migrate resume` finishes' : 'which is being finished';
  return {
    version,
    refusal: `${corpus}/${version} is archived and verified already, and what is left is deleting its serving copy, ${rest}: there is nothing to keep; ${restore} brings it back from its archive`,
  };
}

/** Whether a refusal only says that somebody was quicker. */
async function hasMoved(registry: Registry, before: Migration, error: unknown): Promise<boolean> {
  if (!(error instanceof SwitchyardError)) return false;
  if (error.reason !== 'STATUS_CONFLICT' && error.reason !== 'REVISION_CONFLICT') return false;
  if (error.reason === 'REVISION_CONFLICT') return true;
  const now = await registry.migrations.latest(before.corpus);
  return now.migrationId === before.migrationId && now.sequence !== before.sequence;
}
