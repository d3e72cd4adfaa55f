import { readdirSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import pg from 'pg';
import { startGateway } from '../../src/gateway/gateway.js';
import type { BundleManifest } from '../../src/index/manifest.js';
import type { MigrationPlan } from '../../src/lifecycle/migration/plan-schema.js';
import { type Migration, readMigration } from '../../src/lifecycle/migration/record.js';
import { startMigration } from '../../src/lifecycle/migration/start.js';
import { type Digest, digestPrefix, modelRef } from '../../src/vocabulary.js';
import { AUTHOR, CORPUS, makeYard, type Yard } from '../control/yard.js';
import { wordNetGlosses } from '../fixtures/glosses.js';
import { databaseUrlOf, silentLog, type Teardown } from '../fixtures/postgres.js';
import { type FeedLine, feedText } from '../lifecycle/reembed-rig.js';
import { DriverProcess, type DriverSettings } from './drivers.js';
import { Load } from './migrating.js';

export const INTERVAL = 500;
/** Two checkpoints, and a rest. */
export const DOCUMENTS = 1_010;
/** No verdict is given on fewer than 30. */
const GOLDEN_QUERIES = 32;
const TEXT_WORDS = 6;
const GOLDEN_WORDS = 4;
const VERSION = 'v3';
const SOURCE = 'glosses.jsonl';
const LOAD_PAUSE_MS = 50;
const TEXTS = ['a cat', 'a bird', 'some bread', 'red wine', 'a planet', 'a bicycle', 'a cobbler', 'snow'];

const timeout_s = 300;
/** Of each kind of step. Nothing is waited for but what has to be measured. */
const planOf = (model: string): string =>
  JSON.stringify({
    steps: [
      { build: { model, source: SOURCE, quantization: 'f32', checkpoint_documents: INTERVAL } },
      { verify: { source_lag_documents_max: 0 } },
      { shadow: { duration_s: 0.3, compared_min: 5, timeout_s } },
      {
        analysis: {
          golden: {},
          shadow: { compared_min: 5, failed_share_max: 1, late_share_max: 1 },
          cost: {},
          interval_s: 0.05,
          duration_s: 0.2,
          timeout_s,
        },
      },
      { set_weight: { weight: 2_000, timeout_s } },
      {
        analysis: {
          error_rate: { samples_min: 3, increase_max: 1 },
          interval_s: 0.05,
          duration_s: 0.2,
          timeout_s,
        },
      },
      { pause: { duration_s: 0.3 } },
      { set_weight: { weight: 10_000, timeout_s } },
      { complete: {} },
      { retire: { quiet_days: 0 } },
    ],
  });

export interface KillRig {
  readonly yard: Yard;
  readonly load: Load;
  readonly drivers: DriverSettings;
  /** Id → text, as the source has them. */
  readonly documents: ReadonlyMap<string, string>;
  start(): Promise<Migration>;
  latest(): Promise<Migration>;
  /** The lease of a driver that is dead runs out now: that takes its time in takeover.test.ts. */
  endLease(): Promise<void>;
}

/**
 * v1 of a few documents, served under load by a gateway that does not drive; a feed of many, and a golden set that only
 * those answer.
 */
export async function killRig(t: Teardown): Promise<KillRig> {
  const yard = await makeYard(t);
  const { registry, varDir } = yard;
  const config = yard.config();
  const gateway = await startGateway(
    {
      ...config,
      mirror: { ...config.mirror, niceness: 0 },
      overload: { ...config.overload, enabled: false },
      migration: { ...config.migration, drive: false, sampleIntervalMs: 100, pollIntervalMs: 200 },
    },
    silentLog,
  );
  t.teardown(() => gateway.close());
  const { host, port } = gateway.addresses.http;
  const url = `http://${host}:${port}`;
  const load = new Load(url, CORPUS, TEXTS, 1, LOAD_PAUSE_MS);
  t.teardown(() => load.stop());

  const words = (text: string, count: number): string => text.split(' ').slice(0, count).join(' ');
  const glosses = (await wordNetGlosses(DOCUMENTS)).map((gloss) => words(gloss, TEXT_WORDS));
  const lines: FeedLine[] = glosses.map((text, at) => ({ id: `d${at}`, version: 1, text }));
  await mkdir(path.join(varDir, 'sources'));
  await writeFile(path.join(varDir, 'sources', SOURCE), feedText(lines));
  const step = Math.floor(DOCUMENTS / GOLDEN_QUERIES);
  const queries = Array.from({ length: GOLDEN_QUERIES }, (_, at) => ({
    id: `q${at}`,
    text: words(glosses[at * step + 8] ?? '', GOLDEN_WORDS),
    judgements: new Map([[`d${at * step + 8}`, 1]]),
  }));
  await registry.goldenSets.add(CORPUS, queries, 'a test', AUTHOR);

  const database = new pg.Client(registry.connection);
  await database.connect();
  t.teardown(() => database.end());
  return {
    yard,
    load,
    drivers: { varDir, databaseUrl: databaseUrlOf(registry), url, leaseMs: 10_000 },
    documents: new Map(lines.map(({ id, text = '' }) => [id, text])),
    start: () =>
      startMigration(
        registry,
        { corpus: CORPUS, toVersion: VERSION, plan: planOf(modelRef(yard.int8.manifest)) },
        AUTHOR,
      ),
    latest: async () => readMigration(await registry.migrations.latest(CORPUS)),
    endLease: async () => {
      await database.query('UPDATE migrations SET lease_expires_at = clock_timestamp()');
    },
  };
}

/** A process takes half a second of a core to begin. */
const BEGUN_AHEAD = 2;

/** Drivers one after the other, the next ones begun while one is at work. */
export class Relay {
  readonly #t: Teardown;
  readonly #settings: DriverSettings;
  readonly #next: DriverProcess[] = [];

  constructor(t: Teardown, settings: DriverSettings) {
    this.#t = t;
    this.#settings = settings;
    for (let ahead = 0; ahead < BEGUN_AHEAD; ahead++) this.#begin();
  }

  take(): DriverProcess {
    this.#begin();
    const taken = this.#next.shift();
    if (taken === undefined) throw new TypeError('one was begun just now');
    return taken;
  }

  async end(): Promise<void> {
    await Promise.all(this.#next.map((driver) => driver.stop()));
  }

  #begin(): void {
    this.#next.push(new DriverProcess(this.#t, this.#settings));
  }
}

/**
 * What a migration leaves behind, without times and names of this folder, of drivers and of the build: the same rows
 * linked in another order are another graph, and a text's vector has other last bits in another batch.
 */
export async function outcome(
  { yard: { registry, varDir, config } }: Pick<KillRig, 'yard'>,
  migration: Migration,
): Promise<unknown> {
  const { state, toVersion, fromVersion, plan } = migration;
  const versions = await registry.corpusVersions.list({ corpus: CORPUS });
  const builds = await registry.builds.list({ corpus: CORPUS, version: toVersion });
  const archives = await registry.archives.list({ corpus: CORPUS });
  const changes = await registry.changes.list({ limit: 1_000 });
  const { revision, targets } = await registry.routes.get(CORPUS);
  const found = {
    state: state.kind,
    facts: { ...state.facts, measuredFrom: null },
    events: await audit(registry.migrations, migration, plan),
    route: { revision, targets },
    revisions: (await registry.routes.revisions(CORPUS)).map(({ after, reason, forced }) => ({
      after,
      reason,
      forced,
    })),
    versions: versions.map(({ version, status, totalEmbeddings, defaultBuild, fingerprint }) => ({
      version,
      status,
      totalEmbeddings,
      defaultBuild,
      fingerprint,
    })),
    builds: builds.map(({ digest, rowCount, manifest, isDefault }) => {
      const { files, recall_at_10: _recall, ...said } = manifest as BundleManifest;
      const { 'vectors.f32': _vectors, 'index.usearch': _index, ...exact } = files;
      return { digest, rowCount, isDefault, manifest: said, files: exact };
    }),
    archives: archives.map(({ version, uri, sha256, verifiedAt, deletedAt, restoredAt }) => ({
      ...{ version, uri, sha256, restoredAt },
      isVerified: verifiedAt !== null,
      isDeleted: deletedAt !== null,
    })),
    desired: await registry.desiredTargets.list({ corpus: CORPUS }),
    // Measured or verified once more is what a driver that comes after another one does; changed is nothing twice.
    changes: changes
      .filter(({ subject, after }) => {
        const { step } = (after ?? {}) as { readonly step?: string };
        return !subject.startsWith('evaluation ') && step !== 'verified';
      })
      .map(({ subject, actor, reason, before, after }) => ({ subject, actor, reason, before, after })),
    files: [
      ...filesIn(path.join(config().bundlesDir, CORPUS, toVersion)),
      ...filesIn(path.join(config().bundlesDir, CORPUS, fromVersion)),
      ...filesIn(path.join(varDir, 'archives')),
    ],
    reports: filesIn(path.join(varDir, 'reports')).map((name) => path.extname(name)),
  };
  const build = builds[0]?.digest ?? 'none';
  const text = JSON.stringify(found)
    .replaceAll(varDir, 'VAR')
    .replaceAll(/driver-\d+/g, 'driver')
    .replaceAll(build, 'BUILD')
    .replaceAll(digestPrefix(build as Digest), 'BUILD');
  return JSON.parse(text);
}

/** Every event with the state and the revision that it made. */
async function audit(
  migrations: Yard['registry']['migrations'],
  { migrationId }: Migration,
  { steps }: MigrationPlan,
): Promise<readonly string[]> {
  return (await migrations.events(migrationId)).map(({ event, after, routeRevision }) => {
    const { kind } = event as { readonly kind: string };
    const state = after as Migration['state'];
    const at = 'at' in state ? ` at ${steps[state.at.step]?.kind}, attempt ${state.at.attempt}` : '';
    return `${kind}: ${state.kind}${at}, revision ${routeRevision ?? 'as it was'}`;
  });
}

const filesIn = (folder: string): readonly string[] =>
  (readdirSync(folder, { recursive: true }) as string[]).sort();
