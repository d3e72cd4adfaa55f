import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { pino } from 'pino';
import t from 'tap';
import type {
  MigrationEventView,
  MigrationReportView,
  MigrationView,
} from '../../src/gateway/admin/migration-views.js';
import { startGateway } from '../../src/gateway/gateway.js';
import {
  archiveVersion,
  restoreVersion,
  verifyArchive,
} from '../../src/lifecycle/archive/archive-version.js';
import { registryVersionRecords } from '../../src/lifecycle/retire/records.js';
import { modelRef } from '../../src/vocabulary.js';
import { switchyard } from '../control/processes.js';
import { AUTHOR, CORPUS, makeYard, until } from '../control/yard.js';
import { silentLog } from '../fixtures/postgres.js';
import { temporaryFolder } from '../index/corpus.js';
import { adminUrl, ask, Load, untilMigration } from './migrating.js';

const TEXTS = ['a cat', 'a bird', 'some bread', 'red wine', 'a planet', 'a bicycle', 'a cobbler', 'snow'];
const timeout_s = 100;
const PLAN = JSON.stringify({
  steps: [
    { verify: {} },
    { shadow: { duration_s: 0, compared_min: 3, timeout_s } },
    { analysis: { shadow: { compared_min: 3, failed_share_max: 1 }, interval_s: 0.05, timeout_s } },
    { set_weight: { weight: 10_000, timeout_s } },
    { complete: { quiet_days: 1 } },
    { retire: { quiet_days: 0 } },
  ],
});

t.test('a migration that retires the old version', async (t) => {
  const yard = await makeYard(t);
  const { registry, varDir } = yard;
  const archives = temporaryFolder(t);
  const lines: string[] = [];
  const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
  const settings = yard.config();
  const config = {
    ...settings,
    archive: { ...settings.archive, uri: archives },
    mirror: { ...settings.mirror, niceness: 0 },
    migration: { ...settings.migration, sampleIntervalMs: 50, pollIntervalMs: 100 },
  };
  const gateway = await startGateway(config, log);
  t.teardown(() => gateway.close());
  const { host, port } = gateway.addresses.http;
  const admin = adminUrl(gateway);
  const migrations = `${admin}/v1/migrations/${CORPUS}`;
  const adminPort = new URL(admin).port;
  const url = `http://${host}:${port}`;
  const load = new Load(url, CORPUS, TEXTS, 1);
  t.teardown(() => load.stop());
  const bundlesOf = (version: string): string[] =>
    readdirSync(path.join(config.bundlesDir, CORPUS, version)).filter((name) => name !== '.checkpoints');
  const said = (wanted: RegExp): readonly Record<string, unknown>[] =>
    lines
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter(({ msg }) => wanted.test(String(msg)));
  const start = async (to_version: string): Promise<void> => {
    const started = await ask<MigrationView>(migrations, 'POST', { to_version, plan: PLAN, ...AUTHOR });
    t.equal(started.status, 200, JSON.stringify(started.body));
  };
  const ended = () =>
    untilMigration(
      admin,
      CORPUS,
      'ended',
      ({ state, finished_at }) => finished_at !== null || state === 'paused',
    );
  /** Before the old version leaves the route, for this. */
  const held = (why: RegExp) =>
    untilMigration(admin, CORPUS, `waits: ${why}`, (view) => {
      return view.state === 'paused' && view.step === 5 && why.test(view.why ?? '');
    });
  const consumer = await registry.consumers.add(
    {
      ...{ corpus: CORPUS, version: 'v1', serviceName: 'ranker', teamOwner: 'search' },
      migrationDeadline: new Date('2027-01-31'),
      usesScoreThresholds: true,
    },
    AUTHOR,
  );

  await t.test('consumers with score thresholds are warned before the first weight', async (t) => {
    await start('v2');
    const view = await held(/./);
    const warning =
      /^ranker of team search uses score thresholds made for docs\/v1 \(p25 0\.\d{3}, median 0\.\d{3}, p75 0\.\d{3}\); v2 scores otherwise \(p25 0\.\d{3}, median 0\.\d{3}, p75 0\.\d{3}\)/;
    t.match(view.warnings, [warning]);
    t.match(said(/uses score thresholds/), [{ level: 40, service: 'ranker', team: 'search', msg: warning }]);
    const { body } = await ask<{ events: readonly MigrationEventView[] }>(`${migrations}/events`);
    const kinds = body.events.map(({ event }) => event);
    t.same(kinds.slice(kinds.indexOf('consumers_warned')).slice(0, 2), ['consumers_warned', 'route_placed']);
    const shown = await switchyard(varDir, 'migrate', 'status', CORPUS, '--admin-port', adminPort);
    t.match(shown.stdout, /warning: ranker of team search/, shown.stderr);
    const metrics = await (await fetch(`${admin}/metrics`)).text();
    t.match(metrics, /switchyard_migration_warned_consumers\{corpus="docs",from="v1",to="v2"\} 1/);
  });

  await t.test('whoever reads the old version itself is not cut off before a person says so', async (t) => {
    const read = () =>
      ask<{ served_by?: { corpus_version: string }; reason?: string }>(`${url}/v1/search`, 'POST', {
        ...{ corpus: CORPUS, text: 'a cat', top_k: 1, corpus_version: 'v1' },
      });
    const ranker = /refuses whoever reads it itself: consumer ranker of team search has not migrated/;
    t.match(await held(ranker), { cause: 'in_use', weight: 10_000 });
    const shown = await switchyard(varDir, 'migrate', 'status', CORPUS, '--admin-port', adminPort);
    t.match(shown.stdout, /paused \(in_use\).*\n.*consumer ranker of team search/, shown.stderr);
    t.match(await read(), { status: 200, body: { served_by: { corpus_version: 'v1' } } });
    const vectors = await ask<{ vector: readonly number[] }>(`${url}/v1/embed`, 'POST', {
      ...{ model: modelRef(yard.fp16.manifest), text: 'a cat' },
    });
    const byModel = await ask(`${url}/v1/search`, 'POST', {
      ...{ corpus: CORPUS, vector: vectors.body.vector, model: modelRef(yard.fp16.manifest), top_k: 1 },
    });
    t.match(byModel, { status: 200, body: { served_by: { corpus_version: 'v1' } } });
    await until('both are counted', async () => {
      const traffic = await registry.traffic.list({ corpus: CORPUS, version: 'v1', days: 1 });
      return traffic.find(({ kind }) => kind === 'pinned')?.requests === 2;
    });
    t.equal((await ask(`${migrations}:resume`, 'POST', AUTHOR)).status, 200);
    await held(/requests without a key searched it 2 times \(pinned\) in the last 1 days/);
    t.match(await read(), { status: 200 }, 'it is served while it waits');
    t.match(await ask(`${migrations}:promote`, 'POST', AUTHOR), { status: 200, body: { state: 'running' } });
    const { value } = await until('it is refused', async () => {
      const { status, body } = await read();
      return status === 200 ? null : body.reason;
    });
    t.equal(value, 'UNKNOWN_CORPUS_VERSION');
  });

  await t.test(
    'a consumer that has not migrated is waited for, by name, and nothing is deleted',
    async (t) => {
      const waiting = await untilMigration(admin, CORPUS, 'waits', ({ progress }) =>
        /^waits: /.test(progress?.what ?? ''),
      );
      t.match(waiting, {
        state: 'running',
        step: 6,
        progress: {
          what: /docs\/v1 is not retired: consumer ranker of team search has not migrated \(deadline 2027-01-31\)/,
        },
      });
      t.match(said(/the retirement of a migration waits/), [{ level: 40, blockers: 'consumer' }]);
      const shown = await switchyard(varDir, 'migrate', 'status', CORPUS, '--admin-port', adminPort);
      t.match(shown.stdout, /retire: waits: .*consumer ranker of team search/, shown.stderr);
      t.same(readdirSync(archives), [], 'nothing was archived');
      t.equal(bundlesOf('v1').length, 1, 'the serving copy is there');
      t.equal((await registry.corpusVersions.get({ corpus: CORPUS, version: 'v1' })).status, 'ready');
    },
  );

  await t.test('then: drained, archived, verified, deleted, in that order, logged and audited', async (t) => {
    const { defaultBuild } = await registry.corpusVersions.get({ corpus: CORPUS, version: 'v1' });
    await registry.consumers.setMigrated(consumer.consumerId, true, AUTHOR);
    t.match(await ended(), { state: 'completed', why: null });
    const order = ['drain', 'archive', 'verify', 'delete'];
    t.same(
      said(/^retirement: /).map(({ step }) => step),
      order,
    );
    const subject = `corpus_version ${CORPUS}/v1`;
    const audit = (await registry.changes.list({ subject })).filter(({ actor }) => actor === 'migration');
    t.match(
      audit.map(({ after }) => after),
      [{ step: 'deleted' }, { status: 'archived' }, { step: 'verified' }, { archive: String }],
      'latest first',
    );
    const [archive] = await registry.archives.list({ corpus: CORPUS, version: 'v1' });
    t.match(archive, { build: defaultBuild, verifiedAt: Date, deletedAt: Date });
    t.ok((archive?.verifiedAt ?? 0) <= (archive?.deletedAt ?? 0));
    await verifyArchive(archive?.uri ?? '', archive?.sha256 ?? '', {
      config,
      signal: new AbortController().signal,
    });
    t.same(bundlesOf('v1'), [], 'the serving copy is gone');
    t.equal((await registry.corpusVersions.get({ corpus: CORPUS, version: 'v1' })).status, 'archived');
    const { body } = await ask<{ events: readonly MigrationEventView[] }>(`${migrations}/events`);
    const last = body.events.at(-1) as MigrationEventView;
    const { findings } = last.detail as { findings: { steps: { step: string }[] } };
    t.same(
      findings.steps.map(({ step }) => step),
      order,
    );
    const report = await ask<MigrationReportView>(`${migrations}/report`);
    t.match(report.body.markdown, /## Consumers with score thresholds\n\n- ranker of team search/);
    t.match(report.body.html, /<h2>Consumers with score thresholds<\/h2>/);
    t.match(report.body.markdown, /step_done.*retire/);
  });

  await t.test('what is retired is not rolled back to: it says how it comes back', async (t) => {
    const refused = await ask<{ detail: string }>(`${migrations}:rollback`, 'POST', AUTHOR);
    t.equal(refused.status, 409);
    t.match(refused.body.detail, /docs\/v1 is archived.*restore docs\/v1/);
    t.match(await ask<MigrationView>(migrations), { body: { state: 'completed' } });
  });

  await t.test('restored, it takes the traffic back, and the other one is retired', async (t) => {
    const records = registryVersionRecords(registry, config.bundlesDir, AUTHOR);
    const parts = { config, records, log: silentLog, signal: new AbortController().signal };
    await restoreVersion({ corpus: CORPUS, version: 'v1' }, null, parts);
    await start('v1');
    t.match(await ended(), { state: 'completed', warnings: [] });
    t.same(bundlesOf('v2'), []);
    t.equal(bundlesOf('v1').length, 1);
    t.match(await registry.routes.get(CORPUS), { targets: [{ version: 'v1', weightBps: 10_000 }] });
    t.ok(existsSync(archives));
    t.equal((await archiveVersion({ corpus: CORPUS, version: 'v1' }, archives, parts)).manifest.row_count, 8);
  });

  await until('both reports are written', async () =>
    existsSync(path.join(varDir, 'reports')) ? readdirSync(path.join(varDir, 'reports')).length >= 4 : null,
  );
  await load.stop();
  t.same(load.failures, [], 'no request failed');
});
