import { SwitchyardError } from '../../errors.js';
import type { BundleManifest } from '../../index/manifest.js';
import type { ChangeAuthor } from '../../registry/changes.js';
import type { Registry } from '../../registry/registry.js';
import { digestPrefix } from '../../vocabulary.js';
import { differences, differing } from './built-before.js';
import { startingTarget, targetsFor, weightOfOthers } from './placing.js';
import { planDocument, readPlan } from './plan.js';
import type { MigrationPlan } from './plan-schema.js';
import { type Migration, readMigration } from './record.js';
import { isFinished, type MigrationEventBody } from './state.js';
import { begun, transition } from './transition.js';

export interface MigrationRequest {
  readonly corpus: string;
  readonly toVersion: string;
  /** YAML or JSON; null: the default plan. */
  readonly plan: string | null;
}

/**
 * Writes a migration down; some gateway drives it from here on. Errors: INVALID_PLAN, UNKNOWN_CORPUS(_VERSION),
 * STATUS_CONFLICT while the corpus has an unfinished one, or when no single target serves all of it.
 */
export async function startMigration(
  registry: Registry,
  { corpus, toVersion, plan: text }: MigrationRequest,
  author: ChangeAuthor,
): Promise<Migration> {
  const plan = readPlan(text);
  const route = await registry.routes.get(corpus);
  const from = startingTarget(route, toVersion);
  await refuseUnbuildable(registry, corpus, toVersion, plan);
  const atIso = (await registry.migrations.now()).toISOString();
  const facts = { from: { build: from.build, tier: from.tier }, routeRevision: route.revision };
  const record = await registry.migrations.start(
    {
      corpus,
      fromVersion: from.version,
      toVersion,
      plan: planDocument(plan),
      state: begun(plan, facts, atIso),
      event: { kind: 'started', from_build: digestPrefix(from.build) },
    },
    author,
  );
  return readMigration(record);
}

/**
 * Refused before anything is written down: what no build step could mend, and a build that is not what the step says; its
 * source is compared by whoever drives. Errors: UNKNOWN_CORPUS_VERSION, UNKNOWN_MODEL, STATUS_CONFLICT.
 */
async function refuseUnbuildable(
  registry: Registry,
  corpus: string,
  version: string,
  { steps }: MigrationPlan,
): Promise<void> {
  const build = steps.find((step) => step.kind === 'build');
  const model = build?.options.model ?? null;
  const fingerprint = model === null ? null : (await registry.models.resolve(model)).fingerprint;
  const known = (await registry.corpusVersions.list({ corpus })).find((other) => other.version === version);
  if (known === undefined && model !== null) return;
  const { status, defaultBuild } = known ?? (await registry.corpusVersions.get({ corpus, version }));
  if (status === 'archived' || (defaultBuild === null && build === undefined))
    throw new SwitchyardError(
      'STATUS_CONFLICT',
      status === 'archived'
        ? `${corpus}/${version} is archived: build another version`
        : `${corpus}/${version} is ${status} and has no build: build it with \`switchyard corpus build\`, or give the plan a build step`,
    );
  if (defaultBuild === null || build === undefined) return;
  const { manifest } = await registry.builds.get({ corpus, version }, defaultBuild);
  const before = { corpus, version, build: defaultBuild, manifest: manifest as BundleManifest };
  const found = differences(before, build.options, fingerprint);
  if (found.length > 0) throw differing(before, found);
}

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

/**
 * One event, its transition and the route that it means, in one transaction. `leaseToken` null: an operator.
 * Errors: STATUS_CONFLICT, those of a route change.
 */
export async function advanceBy(
  registry: Registry,
  migration: Migration,
  event: MigrationEventBody,
  author: ChangeAuthor,
  leaseToken: number | null,
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
  const { kind } = event;
  if (kind !== 'route_placed' && kind !== 'analysis_failed' && kind !== 'abort' && kind !== 'rollback')
    return null;
  if (event.routeRevision === null) return null;
  const route = await registry.routes.get(migration.corpus);
  const isReturn = kind !== 'route_placed';
  const placement = isReturn ? ({ kind: 'restored' } as const) : event.placement;
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
