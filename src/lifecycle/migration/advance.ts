import type { ChangeAuthor } from '../../registry/changes.js';
import type { MigrationAdvance } from '../../registry/corpus-migrations.js';
import type { Registry } from '../../registry/registry.js';
import { targetsFor, weightOfOthers } from './placing.js';
import { type Migration, readMigration } from './record.js';
import { isFinished, type MigrationEventBody } from './state.js';
import { transition } from './transition.js';

/**
 * One event, its transition and the route that it means, in one transaction. `leaseToken` null: an operator;
 * `unlessArchived`: what such a word needs the version for.
 * Errors: STATUS_CONFLICT, those of a route change.
 */
export async function advanceBy(
  registry: Registry,
  migration: Migration,
  event: MigrationEventBody,
  author: ChangeAuthor,
  leaseToken: number | null,
  unlessArchived: MigrationAdvance['unlessArchived'] = null,
): Promise<Migration> {
  const atIso = (await registry.migrations.now()).toISOString();
  const state = transition(migration.plan, migration.state, event, atIso);
  const route = await routeChange(registry, migration, event, state.facts);
  const taken = route?.taken ?? null;
  const record = await registry.migrations.advance({
    ...author,
    reason: taken === null ? author.reason : reasonWith(author.reason, taken),
    migrationId: migration.migrationId,
    expectedSequence: migration.sequence,
    leaseToken,
    event,
    state,
    isFinished: isFinished(state),
    route: route?.change ?? null,
    unlessArchived,
  });
  return readMigration(record);
}

/** Going back waits for no replica: the old version is loaded, and where it is not, it is loaded before it is served. */
async function routeChange(
  registry: Registry,
  migration: Migration,
  event: MigrationEventBody,
  facts: Migration['state']['facts'],
) {
  if (!('routeRevision' in event) || event.kind === 'route_accepted' || event.routeRevision === null)
    return null;
  const route = await registry.routes.get(migration.corpus);
  const isReturn = event.kind !== 'route_placed';
  const placement = event.kind === 'route_placed' ? event.placement : ({ kind: 'restored' } as const);
  return {
    change: {
      expectedRevision: event.routeRevision - 1,
      targets: targetsFor(placement, facts, migration, route),
      force: isReturn,
    },
    /** What other versions had and now have no more. */
    taken: isReturn ? weightOfOthers(facts, migration, route) : null,
  };
}

/** Of what the audit takes. */
const REASON_LENGTH_MAX = 2_000;

function reasonWith(reason: string, taken: string): string {
  const said = ` (weight taken back from ${taken} basis points, which drains)`.slice(
    0,
    REASON_LENGTH_MAX / 2,
  );
  return `${reason.slice(0, REASON_LENGTH_MAX - said.length)}${said}`;
}
