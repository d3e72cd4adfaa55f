import { mkdir, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import type { MigrationReportView, MigrationView } from '../../src/gateway/admin/migration-views.js';
import { startGateway } from '../../src/gateway/gateway.js';
import type { Finding } from '../../src/lifecycle/migration/analyses/finding.js';
import { startMigration } from '../../src/lifecycle/migration/start.js';
import { switchyard } from '../control/processes.js';
import { AUTHOR, CORPUS, makeYard, until } from '../control/yard.js';
import { silentLog } from '../fixtures/postgres.js';
import { Load } from './migrating.js';

const TEXTS = ['a cat', 'a bird', 'some bread', 'red wine', 'a planet', 'a bicycle', 'a cobbler', 'snow'];
const timeout_s = 100;
const PLAN = JSON.stringify({
  steps: [
    { pause: { duration_s: 0.1 } },
    { verify: {} },
    { shadow: { duration_s: 0, compared_min: 3, timeout_s } },
    {
      analysis: {
        golden: {},
        shadow: { compared_min: 3, failed_share_max: 1 },
        interval_s: 0.05,
        timeout_s,
      },
    },
    { set_weight: { weight: 5_000, timeout_s } },
    { pause: {} },
    { analysis: { error_rate: { samples_min: 1, increase_max: 1 }, interval_s: 0.05, timeout_s } },
    { set_weight: { weight: 10_000, timeout_s } },
    { complete: {} },
  ],
});

t.test('the command line drives a migration where no gateway does', async (t) => {
  const yard = await makeYard(t);
  const { registry, varDir } = yard;
  const golden = path.join(varDir, 'golden');
  await mkdir(path.join(golden, 'qrels'), { recursive: true });
  const lines = TEXTS.map((text, at) => `${JSON.stringify({ _id: `q${at}`, text })}\n`);
  await writeFile(path.join(golden, 'queries.jsonl'), lines.join(''));
  const judged = TEXTS.map((_text, at) => `q${at}\td${at}\t1\n`);
  await writeFile(path.join(golden, 'qrels', 'test.tsv'), `query-id\tcorpus-id\tscore\n${judged.join('')}`);

  const config = yard.config();
  const gateway = await startGateway(
    {
      ...config,
      mirror: { ...config.mirror, niceness: 0 },
      migration: { ...config.migration, drive: false, sampleIntervalMs: 50, pollIntervalMs: 100 },
    },
    silentLog,
  );
  let isRunning = true;
  const stopGateway = async (): Promise<void> => {
    if (isRunning) await gateway.close();
    isRunning = false;
  };
  t.teardown(stopGateway);
  const { http, adminHttp } = gateway.addresses;
  const ports = ['--http-port', String(http.port), '--admin-port', String(adminHttp.port)];
  const load = new Load(`http://${http.host}:${http.port}`, CORPUS, TEXTS, 1);
  t.teardown(() => load.stop());
  const migrate = async (verb: string, ...more: readonly string[]): Promise<MigrationView> => {
    const { stdout, stderr, code } = await switchyard(varDir, 'migrate', verb, CORPUS, '--json', ...more);
    t.equal(code, 0, `migrate ${verb} ${code === 0 ? '' : stderr}`);
    return JSON.parse(stdout) as MigrationView;
  };

  await t.test('beside gateways that do not drive: golden queries go through one of them', async (t) => {
    const imported = await switchyard(
      ...[varDir, 'eval', 'golden', 'import', golden, '--name', CORPUS, '--reason', 'a test', ...ports],
    );
    t.equal(imported.code, 0, imported.stderr);
    await startMigration(registry, { corpus: CORPUS, toVersion: 'v2', plan: PLAN }, AUTHOR);
    const shown = await switchyard(varDir, 'migrate', 'status', CORPUS, ...ports);
    t.match(shown.stdout, /nobody drives it: .*switchyard migrate run docs/);
    const asked = await migrate('run', ...ports);
    t.match(asked, { state: 'paused', cause: 'inconclusive', step: 4 }, 'eight queries show too little');
    await migrate('promote', '--reason', 'a test', ...ports);
    const view = await migrate('run', ...ports);
    t.match(view, { state: 'paused', cause: 'plan', step: 6, weight: 5_000 }, view.why ?? '');
    const { migrationId, lease } = await registry.migrations.latest(CORPUS);
    t.equal(lease, null, 'it gave the lease back');
    const events = await registry.migrations.events(migrationId);
    t.match(events.at(-1)?.actor, /^migration driver cli-/);
    const findings = events.flatMap(({ event }) => {
      const found = (event as { readonly findings?: readonly Finding[] }).findings;
      return Array.isArray(found) ? found : [];
    });
    t.match(
      findings.find(({ check }) => check === 'golden'),
      {
        verdict: 'inconclusive',
        figures: { verdict: 'underpowered', query_count: 8, baseline: 1, candidate: 1 },
      },
    );
  });

  await t.test('an abort where no gateway runs any more ends it by itself', async (t) => {
    await load.stop();
    t.same(load.failures, []);
    await stopGateway();
    const view = await migrate('abort', '--reason', 'a test', ...ports);
    t.match(view, { state: 'aborted', weight: 0, rollback_ms: null, lagging: [] });
    t.type(view.finished_at, 'string');
    t.match(await registry.routes.get(CORPUS), {
      targets: [
        { version: 'v1', weightBps: 10_000 },
        { version: 'v2', role: 'draining' },
      ],
    });
    const reports = await readdir(path.join(varDir, 'reports'));
    t.equal(reports.length, 2, 'and its report is written');
  });

  await t.test('what was measured goes when its time is over, and the report says so', async (t) => {
    const { migrationId } = await registry.migrations.latest(CORPUS);
    const samples = async (): Promise<number> => {
      let count = 0;
      for await (const _sample of registry.migrations.samplesSince(migrationId, new Date(0))) count++;
      return count;
    };
    const before = await samples();
    t.ok(before > 0);
    t.equal(await registry.migrations.pruneSamples(1), 0, 'it ended today');
    t.equal(await samples(), before);
    const running = await startMigration(registry, { corpus: CORPUS, toVersion: 'v2', plan: PLAN }, AUTHOR);
    await registry.migrations.addSample(running.migrationId, 'g', { versions: {}, mirrored: {} });
    await until('it is older than that', async () => (await registry.migrations.pruneSamples(1e-9)) > 0);
    t.equal(await samples(), 0);
    let kept = 0;
    for await (const _sample of registry.migrations.samplesSince(running.migrationId, new Date(0))) kept++;
    t.equal(kept, 1, 'of one that goes on nothing is removed');
    const report = await switchyard(
      ...[varDir, 'migrate', 'report', CORPUS, '--json', '--id', migrationId, ...ports],
    );
    t.match(
      (JSON.parse(report.stdout) as MigrationReportView).markdown,
      /kept for migration\.samples_keep_days/,
    );
  });
});
