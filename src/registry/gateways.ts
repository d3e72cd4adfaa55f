import { sql } from 'kysely';
import type { Digest, Revision } from '../vocabulary.js';
import type { Database } from './database.js';
import { GATEWAY_ALIVE_MS_MAX, isAlive } from './readiness.js';

/** What a replica reports with every heartbeat. */
export interface Heartbeat {
  readonly gatewayId: string;
  /** Where its admin HTTP API listens, for a person. */
  readonly address: string;
  /** Corpus → the route revision it serves. */
  readonly appliedRevisions: Readonly<Record<string, Revision | number>>;
  /** Builds that are loaded, warmed, and whose encoder reproduced its probes. */
  readonly readyTargets: readonly Digest[];
  /** Why it cannot apply something, for a person; null when all is well. */
  readonly lastError: string | null;
}

export interface Gateway extends Heartbeat {
  readonly startedAt: Date;
  readonly heartbeatAt: Date;
  /** Since the last heartbeat, by the database's clock. */
  readonly heartbeatAgeMs: number;
  readonly alive: boolean;
}

/** Rows of replicas that vanished without saying so are dropped after this long. */
const FORGET_MS = 24 * 60 * 60_000;

export class Gateways {
  readonly #database: Database;
  /** A replica counts as live for so long after its last heartbeat. */
  readonly aliveMsMax: number;

  constructor(database: Database, aliveMsMax: number = GATEWAY_ALIVE_MS_MAX) {
    this.#database = database;
    this.aliveMsMax = aliveMsMax;
  }

  async heartbeat(beat: Heartbeat): Promise<void> {
    const report = {
      address: beat.address,
      applied_revisions: JSON.stringify(beat.appliedRevisions),
      ready_targets: JSON.stringify(beat.readyTargets),
      last_error: beat.lastError,
    };
    await this.#database.read((tables) =>
      tables
        .insertInto('gateways')
        .values({ gateway_id: beat.gatewayId, ...report })
        .onConflict((conflict) =>
          conflict.column('gateway_id').doUpdateSet({ ...report, heartbeat_at: sql`clock_timestamp()` }),
        )
        .execute(),
    );
  }

  /** A replica that shuts down says so, and no longer counts. */
  async remove(gatewayId: string): Promise<void> {
    await this.#database.read((tables) =>
      tables
        .deleteFrom('gateways')
        .where((where) =>
          where.or([
            where('gateway_id', '=', gatewayId),
            sql<boolean>`heartbeat_at < clock_timestamp() - make_interval(secs => ${FORGET_MS / 1000})`,
          ]),
        )
        .execute(),
    );
  }

  /** By id; the dead ones too, for as long as they are remembered. */
  async list(): Promise<readonly Gateway[]> {
    const rows = await this.#database.read((tables) =>
      tables
        .selectFrom('gateways')
        .selectAll()
        .select([
          isAlive(this.aliveMsMax).as('alive'),
          sql<number>`(extract(epoch FROM clock_timestamp() - heartbeat_at) * 1000)::FLOAT8`.as('age_ms'),
        ])
        .orderBy('gateway_id')
        .execute(),
    );
    return rows.map((row) => ({
      gatewayId: row.gateway_id,
      address: row.address,
      appliedRevisions: row.applied_revisions as Readonly<Record<string, Revision>>,
      readyTargets: row.ready_targets as Digest[],
      lastError: row.last_error,
      startedAt: row.started_at,
      heartbeatAt: row.heartbeat_at,
      heartbeatAgeMs: Math.max(0, Math.round(row.age_ms)),
      alive: row.alive,
    }));
  }
}
