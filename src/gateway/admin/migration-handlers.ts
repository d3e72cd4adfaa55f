import { commandMigration, type MigrationCommand } from '../../lifecycle/migration/commands.js';
import { feedOf } from '../../lifecycle/migration/lag-gate.js';
import { shortestSeconds, stepName } from '../../lifecycle/migration/plan.js';
import type { WorkProgress } from '../../lifecycle/migration/ports.js';
import { type Migration, readMigration } from '../../lifecycle/migration/record.js';
import { buildReport } from '../../lifecycle/migration/report/report.js';
import { startMigration } from '../../lifecycle/migration/start.js';
import { isReturning, type MigrationState, weightOf } from '../../lifecycle/migration/state.js';
import { unfollowedFeed } from '../../lifecycle/migration/unfollowed-feed.js';
import type { MigrationEvent } from '../../registry/corpus-migrations.js';
import type { Registry } from '../../registry/registry.js';
import { listLimit } from './callers.js';
import type { MigrationEventView, MigrationStepView, MigrationView } from './migration-views.js';

/** What a running gateway knows of the migrations that it drives. */
export interface MigrationFacts {
  progressOf(migrationId: string): WorkProgress | null;
  sourceLag(source: string | null, watermark: string | null): Promise<number | null>;
  /** Whether `archive.uri` names a place, without which no version is retired. */
  readonly hasArchive: boolean;
  /** Behind a notification that was lost, replicas look for themselves. */
  readonly routePollMs: number;
}

export interface MigrationSources {
  readonly registry: () => Registry;
  /** Null where no gateway runs. */
  readonly facts: MigrationFacts | null;
}

interface Named {
  readonly corpus: string;
  readonly migration_id?: string;
}
interface Authored {
  readonly corpus: string;
  readonly actor: string;
  readonly reason: string;
}

/** The operations on migrations, behind AdminOperations. */
export class MigrationHandlers {
  readonly #sources: MigrationSources;

  constructor(sources: MigrationSources) {
    this.#sources = sources;
  }

  async list({ corpus, limit }: { readonly corpus?: string; readonly limit?: number }) {
    const filter = { limit: listLimit(limit), ...(corpus === undefined ? {} : { corpus }) };
    const records = await this.#sources.registry().migrations.list(filter);
    return Promise.all(records.map((record) => this.#view(readMigration(record))));
  }

  async start(given: Authored & { readonly to_version: string; readonly plan?: string }) {
    const { corpus, to_version: toVersion, plan, actor, reason } = given;
    const request = { corpus, toVersion, plan: plan ?? null };
    return this.#view(await startMigration(this.#sources.registry(), request, { actor, reason }));
  }

  async get(named: Named) {
    return this.#view(await this.#read(named));
  }

  async events(named: Named): Promise<readonly MigrationEventView[]> {
    const { migrationId } = await this.#read(named);
    return (await this.#sources.registry().migrations.events(migrationId)).map(eventView);
  }

  async report(named: Named) {
    return buildReport(this.#sources.registry(), await this.#read(named));
  }

  async command(command: MigrationCommand, { corpus, actor, reason }: Authored) {
    return this.#view(await commandMigration(this.#sources.registry(), corpus, command, { actor, reason }));
  }

  async #read({ corpus, migration_id }: Named): Promise<Migration> {
    const { migrations } = this.#sources.registry();
    return readMigration(
      migration_id === undefined ? await migrations.latest(corpus) : await migrations.get(migration_id),
    );
  }

  async #view(migration: Migration): Promise<MigrationView> {
    const { state, plan, corpus, toVersion } = migration;
    const { facts } = this.#sources;
    const { verified, placement } = state.facts;
    const step = stepOf(state);
    const isOver = step === null || isReturning(state);
    const lag =
      isOver || verified === null || facts === null
        ? null
        : await facts.sourceLag(feedOf(plan, verified), verified.watermark).catch(() => null);
    const unfollowed = isOver
      ? null
      : await unfollowedFeed(this.#sources.registry(), migration).catch(() => null);
    const progress =
      facts?.progressOf(migration.migrationId) ?? (migration.progress as WorkProgress | null) ?? null;
    return {
      migration_id: migration.migrationId,
      corpus,
      from_version: migration.fromVersion,
      to_version: toVersion,
      state: state.kind,
      cause: 'cause' in state ? state.cause : null,
      why: 'why' in state ? state.why : null,
      step: step === null ? null : step + 1,
      attempt: 'at' in state ? state.at.attempt : null,
      steps: plan.steps.map(
        (planned, at): MigrationStepView => ({
          name: stepName(planned),
          kind: planned.kind,
          status: step === null || at < step ? 'done' : at === step ? 'current' : 'waiting',
        }),
      ),
      progress:
        progress === null || isOver
          ? null
          : {
              what: progress.what,
              done: progress.done,
              total: progress.total,
              eta_s: progress.etaMs === null ? null : Math.round(progress.etaMs / 100) / 10,
            },
      weight: weightOf(state.facts),
      gate: state.facts.gate?.kind ?? null,
      route_revision: state.facts.routeRevision,
      driver: migration.lease?.holder ?? null,
      started_at: migration.createdAt.toISOString(),
      updated_at: migration.updatedAt.toISOString(),
      finished_at: migration.finishedAt?.toISOString() ?? null,
      shortest_finish_s: isOver ? null : shortestSeconds(plan, step),
      rollback_within_ms:
        isReturning(state) || placement.kind === 'released' ? null : (facts?.routePollMs ?? null),
      rollback_ms: isReturning(state) ? (state.settled?.rollbackMs ?? null) : null,
      lagging: isReturning(state) ? [...(state.settled?.lagging ?? [])] : [],
      watermark: verified?.watermark ?? null,
      updates_stopped: verified !== null && !isOver,
      source_lag_documents: lag,
      warnings: [
        ...(isOver ? [] : unretirable(migration, facts)),
        ...(unfollowed === null ? [] : [unfollowed]),
        ...(state.facts.warned ?? []).map(({ message }) => message),
      ],
    };
  }
}

/** Said from the beginning, since what it stops is the last step. */
const unretirable = ({ plan, fromVersion }: Migration, facts: MigrationFacts | null): readonly string[] =>
  facts === null || facts.hasArchive || !plan.steps.some(({ kind }) => kind === 'retire')
    ? []
    : [
        `the plan retires ${fromVersion}, which is archived before it is deleted, and archive.uri names no place: its last step will pause. Set archive.uri for the gateways that drive, or leave retire out of the plan`,
      ];

const stepOf = (state: MigrationState): number | null => ('at' in state ? state.at.step : null);

function eventView(event: MigrationEvent): MigrationEventView {
  const after = event.after as MigrationState;
  const step = stepOf(after);
  return {
    sequence: event.sequence,
    at: event.at.toISOString(),
    actor: event.actor,
    reason: event.reason,
    event: (event.event as { readonly kind: string }).kind,
    state: after.kind,
    step: step === null ? null : step + 1,
    route_revision: event.routeRevision,
    detail: event.event,
  };
}
