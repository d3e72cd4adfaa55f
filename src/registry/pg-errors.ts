import { NoResultError } from 'kysely';
import pg from 'pg';
import { type Reason, SwitchyardError } from '../errors.js';

/** What a broken rule of the database means, by the constraint's name. Most are refused by code before they get here. */
const CONSTRAINTS: Readonly<Record<string, readonly [Reason, string]>> = {
  embedding_models_name_version_unique: ['ALREADY_EXISTS', 'a model of this name and version exists'],
  embedding_models_fingerprint_unique: ['ALREADY_EXISTS', 'a model of this fingerprint exists'],
  model_identity_fixed: [
    'STATUS_CONFLICT',
    'the identity of a model never changes: register another version',
  ],
  model_probes_fixed: ['STATUS_CONFLICT', 'the probes of a model never change: register another version'],
  model_status_path: [
    'STATUS_CONFLICT',
    'an archived model stays archived, and none goes back to staging: register another version',
  ],
  model_has_live_versions: [
    'STATUS_CONFLICT',
    'a model with live corpus versions cannot be archived: archive those first',
  ],
  model_kept: ['STATUS_CONFLICT', 'a model is archived, never deleted'],
  embedding_corpus_versions_label_unique: ['ALREADY_EXISTS', 'a corpus version of this label exists'],
  version_of_archived_model: ['STATUS_CONFLICT', 'an archived model embeds no new corpus version'],
  version_begins_building: ['STATUS_CONFLICT', 'a corpus version begins as building'],
  version_identity_fixed: [
    'STATUS_CONFLICT',
    'model, template and normalisation of a corpus version never change: begin another version',
  ],
  version_ready_needs_build: ['STATUS_CONFLICT', 'a corpus version is ready only when a build is recorded'],
  version_status_path: [
    'STATUS_CONFLICT',
    'an archived corpus version stays archived, and a built one does not go back to building',
  ],
  version_archived_not_routed: [
    'STATUS_CONFLICT',
    'a corpus version in a route cannot be archived: take it out of the route first',
  ],
  version_status_follows_route: [
    'STATUS_CONFLICT',
    'active and draining follow from the routes: change the route',
  ],
  version_kept: ['STATUS_CONFLICT', 'a corpus version is archived, never deleted'],
  embedding_corpus_versions_failure_only_building: [
    'STATUS_CONFLICT',
    'only a corpus version that is building can fail',
  ],
  build_fixed: ['STATUS_CONFLICT', 'a published build never changes: record another one'],
  build_kept: ['STATUS_CONFLICT', 'a build is never deleted'],
  build_of_archived_version: ['STATUS_CONFLICT', 'an archived corpus version takes no builds'],
  build_matches_model: [
    'FINGERPRINT_MISMATCH',
    'the build was made by another model than its corpus version names',
  ],
  build_matches_version: [
    'CORRUPT_BUNDLE',
    'the manifest of the build names another corpus, version, metric or dimensions',
  ],
  build_matches_template: [
    'CORRUPT_BUNDLE',
    'the build has another document template or text normalisation than its corpus version: begin another version',
  ],
  builds_pkey: ['ALREADY_EXISTS', 'this build is recorded already'],
  embedding_consumers_service_unique: ['ALREADY_EXISTS', 'this service is a consumer of the version already'],
  key_kept: ['STATUS_CONFLICT', 'a key is revoked, never deleted'],
  key_fixed: ['STATUS_CONFLICT', 'what a key may do never changes: rotate it, or create another'],
  key_ends: ['STATUS_CONFLICT', 'a key that ends does not come back: create another'],
  golden_set_fixed: ['STATUS_CONFLICT', 'a golden set never changes: import it again, as its next version'],
  evaluation_fixed: ['STATUS_CONFLICT', 'an evaluation never changes: run another one'],
  golden_sets_name_form: [
    'INVALID_ARGUMENT',
    'a golden set is named with lower-case letters, digits, _ and -, 1..64 characters',
  ],
  evaluation_scores_shares: ['INVALID_ARGUMENT', 'every score of a query is from 0 to 1'],
  migrations_one_unfinished: [
    'STATUS_CONFLICT',
    'the corpus has a migration that is not finished: `switchyard migrate status` shows it',
  ],
  retirement_kept: ['STATUS_CONFLICT', 'a retirement is never deleted'],
  migration_kept: ['STATUS_CONFLICT', 'a migration is never deleted'],
  migration_fixed: ['STATUS_CONFLICT', 'versions and plan of a migration never change: start another one'],
  migration_step: ['STATUS_CONFLICT', 'the migration changed since it was read: look again'],
  migration_events_pkey: ['STATUS_CONFLICT', 'the migration changed since it was read: look again'],
  migration_finished: ['STATUS_CONFLICT', 'a migration that ended does not go on: start another one'],
  migration_lease_lost: ['STATUS_CONFLICT', 'another gateway drives this migration now'],
  migration_lease_rises: ['STATUS_CONFLICT', 'a new holder of a lease has a new token'],
  migration_events_append_only: ['STATUS_CONFLICT', 'the history of migrations is only added to'],
  route_kept: ['STATUS_CONFLICT', 'a route is never deleted'],
  route_salt_fixed: ['STATUS_CONFLICT', 'the salt of a route never changes'],
  route_revision_step: ['REVISION_CONFLICT', 'the route changed since it was read'],
  route_revisions_append_only: ['STATUS_CONFLICT', 'the history of routes is only added to'],
  registry_changes_append_only: ['STATUS_CONFLICT', 'the history of changes is only added to'],
  route_targets_version_ready: ['STATUS_CONFLICT', 'a target’s version must be ready, active or draining'],
  desired_targets_version_ready: ['STATUS_CONFLICT', 'a version is loaded only when it is ready'],
  route_targets_build_of_version: ['UNKNOWN_BUILD', 'the build does not belong to the corpus version'],
  route_has_active: ['INVALID_ROUTE', 'no target is active; one must be'],
  route_weights_total: ['INVALID_ROUTE', 'the weights of active targets must sum to 10000 basis points'],
};

/**
 * Any failure of the driver as a catalogued error, by SQLSTATE and constraint name. What is not an answer of the
 * server is a lost, refused or silent connection: REGISTRY_UNAVAILABLE. `place` names the server without credentials.
 */
export function fromPgError(thrown: unknown, place: string): SwitchyardError {
  if (thrown instanceof SwitchyardError) return thrown;
  if (thrown instanceof pg.DatabaseError) return fromAnswer(thrown, place);
  // A row that must be there is not. The cause holds the values that were asked for, so only its words go on.
  if (thrown instanceof NoResultError)
    return new SwitchyardError('INTERNAL', 'the registry has no row where there must be one', {
      cause: new Error(thrown.message),
    });
  // The program's own mistakes, not the network's.
  if (thrown instanceof TypeError || thrown instanceof RangeError || thrown instanceof SyntaxError)
    return new SwitchyardError('INTERNAL', 'internal error in the registry; the log has the cause', {
      cause: thrown,
    });
  const code = (thrown as NodeJS.ErrnoException | undefined)?.code;
  return new SwitchyardError(
    'REGISTRY_UNAVAILABLE',
    `the registry (${place}) cannot be reached${code ? ` (${code})` : ''}: check that PostgreSQL runs and DATABASE_URL is right`,
    { cause: thrown },
  );
}

/** What a failure says of the server: that it is away, silent or takes nobody in; that it is there; or neither. */
export type ServerNews = 'outage' | 'answer' | 'nothing';

export function newsOf(thrown: unknown): ServerNews {
  if (thrown instanceof pg.DatabaseError)
    return OUTAGES.some((prefix) => thrown.code?.startsWith(prefix) === true) ? 'outage' : 'answer';
  // Ours: either there was an answer that we refuse, or nothing was asked.
  if (thrown instanceof SwitchyardError)
    return thrown.reason === 'REGISTRY_UNAVAILABLE' ? 'nothing' : 'answer';
  return fromPgError(thrown, '').reason === 'REGISTRY_UNAVAILABLE' ? 'outage' : 'answer';
}

/** The pool had nothing to lend for so long: no outage, but more work than connections. */
export const everyConnectionBusy = (place: string, connections: number, waitedMs: number): SwitchyardError =>
  new SwitchyardError(
    'REGISTRY_UNAVAILABLE',
    `all ${connections} connections to the registry (${place}) were in use for ${waitedMs} ms: try again; if it lasts, look for long statements and locks in pg_stat_activity`,
    { details: { connections: 'busy' } },
  );

/** One connection heard nothing while the server answers over others: a firewall or balancer dropped it. */
export const connectionDead = (place: string, cause: unknown): SwitchyardError =>
  new SwitchyardError(
    'REGISTRY_UNAVAILABLE',
    `a connection to the registry (${place}) had gone dead and was given up, as were those that were idle: read again whether the change was made, then try again`,
    { details: { connections: 'dead' }, cause },
  );

/**
 * SQLSTATEs: connection lost, user or password refused, no such database, too many connections, one that takes none now,
 * shutting down.
 */
const OUTAGES: readonly string[] = ['08', '28', '3D', '53300', '55000', '57P'];

function fromAnswer(error: pg.DatabaseError, place: string): SwitchyardError {
  const rule = error.constraint === undefined ? undefined : CONSTRAINTS[error.constraint];
  if (rule !== undefined) {
    const [reason, message] = rule;
    return new SwitchyardError(reason, message, {
      details: { rule: error.constraint ?? '' },
      cause: error,
    });
  }
  const state = error.code ?? '';
  if (state.startsWith('23'))
    return new SwitchyardError(
      'INVALID_ARGUMENT',
      `the registry refuses this: it breaks the rule ${error.constraint ?? state}`,
      { details: { rule: error.constraint ?? state }, cause: error },
    );
  if (state === '22001' || state === '22003')
    return new SwitchyardError('INVALID_ARGUMENT', 'a name or number is longer than its column', {
      cause: error,
    });
  if (state === '22021' || state === '22P05')
    return new SwitchyardError('INVALID_ARGUMENT', 'a text has a character that cannot be stored, e.g. NUL', {
      cause: error,
    });
  const why = UNAVAILABLE.find(([prefix]) => state.startsWith(prefix))?.[1];
  if (why !== undefined)
    return new SwitchyardError('REGISTRY_UNAVAILABLE', `the registry (${place}) ${why}`, { cause: error });
  return new SwitchyardError(
    'INTERNAL',
    `the registry failed (SQLSTATE ${state || 'unknown'}); the log has the cause`,
    { cause: error },
  );
}

const UNAVAILABLE: readonly (readonly [string, string])[] = [
  ['08', 'lost the connection: try again'],
  ['25006', 'is read-only: point DATABASE_URL at the primary'],
  ['28', 'refuses the user or password of DATABASE_URL'],
  ['3D', 'has no such database: create it, or correct DATABASE_URL'],
  ['42501', 'denies the user of DATABASE_URL a right it needs: grant it the database'],
  ['40', 'was busy with a conflicting change: try again'],
  ['53', 'has no room left (connections, memory or disk): free some and try again'],
  ['55000', 'takes no connections now: see whether it is being restored'],
  ['55P03', 'did not get a lock in time: try again'],
  ['57014', 'did not answer in time: try again'],
  ['57P', 'is shutting down or starting up: try again'],
  ['58', 'has trouble with its disk: see its log'],
];
