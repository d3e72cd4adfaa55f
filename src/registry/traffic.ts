import { sql } from 'kysely';
import type { CorpusVersionName } from './corpus-versions.js';
import type { Database } from './database.js';

export type TrafficKind = 'split' | 'pinned';

/** What a gateway counted since it last said so. */
export interface CountedTraffic extends CorpusVersionName {
  /** Of the API key; empty where none was asked for. */
  readonly keyName: string;
  readonly kind: TrafficKind;
  readonly requests: number;
}

/** Who searched a version, over the days that were asked for. */
export interface TrafficSum extends CountedTraffic {
  readonly lastAt: Date;
  /** Whether a consumer of the version has this name. */
  readonly isRegistered: boolean;
}

const KEPT_DAYS = 400;

export class Traffic {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Adds to today's counts, by the database's clock. Versions that it does not know are left out. */
  async add(counted: readonly CountedTraffic[]): Promise<void> {
    if (counted.length === 0) return;
    const rows = JSON.stringify(
      counted.map(({ corpus, version, keyName, kind, requests }) => ({
        corpus,
        version,
        key_name: keyName.slice(0, 128),
        kind,
        requests,
      })),
    );
    await this.#database.read(async (tables) => {
      await sql`
        INSERT INTO version_traffic (corpus_version_id, key_name, kind, day, requests, last_at)
        SELECT v.corpus_version_id, c.key_name, c.kind, current_date, sum(c.requests), clock_timestamp()
          FROM jsonb_to_recordset(${rows}::JSONB)
            AS c (corpus TEXT, version TEXT, key_name TEXT, kind TEXT, requests BIGINT)
          JOIN embedding_corpus_versions v ON v.corpus_name = c.corpus AND v.label = c.version
          GROUP BY 1, 2, 3
        ON CONFLICT (corpus_version_id, key_name, kind, day) DO UPDATE
          SET requests = version_traffic.requests + excluded.requests, last_at = excluded.last_at
      `.execute(tables);
    });
  }

  /** Days long past say nothing any more. */
  async forget(): Promise<void> {
    await this.#database.read((tables) =>
      tables
        .deleteFrom('version_traffic')
        .where(sql<boolean>`day < current_date - ${sql.lit(KEPT_DAYS)}`)
        .execute(),
    );
  }

  /** Of the last `days` (by the time of the last request), by corpus, version and key. */
  async list(filter: {
    readonly corpus?: string;
    readonly version?: string;
    readonly days: number;
  }): Promise<readonly TrafficSum[]> {
    const rows = await this.#database.read((tables) => {
      let query = tables
        .selectFrom('version_traffic as t')
        .innerJoin('embedding_corpus_versions as v', 'v.corpus_version_id', 't.corpus_version_id')
        .leftJoin('embedding_consumers as c', (join) =>
          join
            .onRef('c.corpus_version_id', '=', 't.corpus_version_id')
            .onRef('c.service_name', '=', 't.key_name'),
        )
        .select(['v.corpus_name', 'v.label', 't.key_name', 't.kind'])
        .select((select) => [
          select.fn.sum<string>('t.requests').as('requests'),
          select.fn.max('t.last_at').as('last_at'),
          sql<boolean>`bool_or(c.consumer_id IS NOT NULL)`.as('is_registered'),
        ])
        .where(sql<boolean>`t.last_at > clock_timestamp() - make_interval(secs => ${filter.days * 86_400})`)
        .groupBy(['v.corpus_name', 'v.label', 't.key_name', 't.kind'])
        .orderBy('v.corpus_name')
        .orderBy('v.label')
        .orderBy('t.key_name')
        .orderBy('t.kind');
      if (filter.corpus !== undefined) query = query.where('v.corpus_name', '=', filter.corpus);
      if (filter.version !== undefined) query = query.where('v.label', '=', filter.version);
      return query.execute();
    });
    return rows.map((row) => ({
      corpus: row.corpus_name,
      version: row.label,
      keyName: row.key_name,
      kind: row.kind,
      requests: Number(row.requests),
      lastAt: row.last_at as Date,
      isRegistered: row.is_registered,
    }));
  }
}
