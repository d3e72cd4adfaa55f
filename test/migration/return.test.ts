import t from 'tap';
import type {
  MigrationEventView,
  MigrationReportView,
  MigrationView,
} from '../../src/gateway/admin/migration-views.js';
import { startGateway } from '../../src/gateway/gateway.js';
import { createLogger } from '../../src/telemetry/log.js';
import { AUTHOR, CORPUS, makeYard, until } from '../control/yard.js';
import { CONFIRMED_PLAN, Confirmed, oldVersionAlone } from './confirming.js';
import { adminUrl, ask, Load, untilMigration } from './migrating.js';

const TEXTS = ['a cat', 'a bird', 'some bread', 'red wine', 'a planet', 'a bicycle', 'a cobbler', 'snow'];

t.test('a migration goes back from wherever it is', async (t) => {
  const yard = await makeYard(t);
  const { registry } = yard;
  const config = yard.config();
  const gateway = await startGateway(
    {
      ...config,
      mirror: { ...config.mirror, niceness: 0 },
      migration: { ...config.migration, sampleIntervalMs: 50, pollIntervalMs: 100, settleTimeoutMs: 1_500 },
    },
    createLogger(process.env.LOG ?? 'silent'),
  );
  t.teardown(() => gateway.close());
  const { host, port } = gateway.addresses.http;
  const admin = adminUrl(gateway);
  const migrations = `${admin}/v1/migrations/${CORPUS}`;
  const load = new Load(`http://${host}:${port}`, CORPUS, TEXTS, 1);
  t.teardown(() => load.stop());

  const confirmed = new Confirmed(admin);
  const servedBy = async (): Promise<string> => {
    const { body } = await ask<{ served_by: { corpus_version: string } }>(
      `http://${host}:${port}/v1/search`,
      'POST',
      { corpus: CORPUS, text: 'a fish', top_k: 1 },
    );
    return body.served_by.corpus_version;
  };

  // While a driver works: rollback.test.ts.
  for (const [where, verb, weight] of [
    ['untouched', 'abort', 0],
    ['half', 'rollback', 5_000],
  ] as const)
    await t.test(`${verb} where it waits at "${where}", with ${weight / 100} %`, async (t) => {
      await confirmed.begin(t);
      const view = await confirmed.goTo(t, where);
      t.equal(view.weight, weight);
      const returned = await ask<MigrationView>(`${migrations}:${verb}`, 'POST', AUTHOR);
      t.equal(returned.status, 200);
      t.match(returned.body, { state: verb === 'abort' ? 'aborted' : 'rolled_back', weight: 0 });
      const ended = await untilMigration(admin, CORPUS, 'ended', ({ finished_at }) => finished_at !== null);
      const before = load.answered.get('v2') ?? 0;
      for (let asked = 0; asked < 10; asked++) t.equal(await servedBy(), 'v1');
      t.equal(load.answered.get('v2') ?? 0, before, 'nothing was served by the new version any more');
      t.same(ended.lagging, []);
      if (weight === 0) t.equal(ended.rollback_ms, null, 'it had served nothing');
      else {
        t.ok((ended.rollback_ms ?? -1) >= 0);
        t.comment(`rolled back in ${ended.rollback_ms} ms`);
      }
      const { targets } = await registry.routes.get(CORPUS);
      t.match(
        targets.map(({ version, role, weightBps }) => [version, role, weightBps]),
        weight === 0
          ? [['v1', 'active', 10_000]]
          : [
              ['v1', 'active', 10_000],
              ['v2', 'draining', 0],
            ],
        'who had weight stays for those who send vectors of its model',
      );
      t.match(await ask(`${migrations}:resume`, 'POST', AUTHOR), { status: 409 });
      await oldVersionAlone(registry);
    });

  await t.test('an analysis that fails goes back by itself, and says why', async (t) => {
    // By the median: of one slow moment under the old version the new one would look ten times as fast.
    const slow = {
      service_time: { quantile: 0.5, ratio_max: 0.1, allowance_ms: 0, samples_min: 30 },
      interval_s: 0.05,
    };
    const plan = JSON.stringify({
      steps: [
        { verify: {} },
        { shadow: { duration_s: 0, compared_min: 1, timeout_s: 300 } },
        { analysis: { shadow: { compared_min: 1, failed_share_max: 1 }, interval_s: 0.05 } },
        { set_weight: { weight: 5_000 } },
        { analysis: slow },
        { set_weight: { weight: 10_000 } },
        { analysis: slow },
        { complete: {} },
      ],
    });
    const started = await ask<MigrationView>(migrations, 'POST', { to_version: 'v2', plan, ...AUTHOR });
    t.equal(started.status, 200, JSON.stringify(started.body).slice(0, 300));
    const ended = await untilMigration(admin, CORPUS, 'ended', ({ finished_at }) => finished_at !== null);
    t.match(ended, { state: 'aborted', cause: 'analysis', step: 5, weight: 0, lagging: [] });
    t.match(ended.why, /^service_time: .*limit/);
    t.ok((ended.rollback_ms ?? -1) >= 0, `rolled back in ${ended.rollback_ms} ms`);
    const before = load.answered.get('v2') ?? 0;
    for (let asked = 0; asked < 10; asked++) t.equal(await servedBy(), 'v1');
    t.equal(load.answered.get('v2') ?? 0, before, 'nothing was served by the new version any more');
    await oldVersionAlone(registry);
  });

  await t.test('somebody else changes the split: it pauses, and going on puts it back', async (t) => {
    await confirmed.begin(t);
    await confirmed.goTo(t, 'shadow');
    await oldVersionAlone(registry);
    await ask(`${migrations}:promote`, 'POST', AUTHOR);
    const paused = await untilMigration(admin, CORPUS, 'paused', ({ state, cause }) => {
      return state === 'paused' && cause === 'route_changed';
    });
    t.match(paused.why, /the migration left it with v1.* active 10000, v2.* shadow 0 mirror 10000/);
    t.equal((await ask(`${migrations}:promote`, 'POST', AUTHOR)).status, 409, 'there is nothing to confirm');
    await ask(`${migrations}:resume`, 'POST', AUTHOR);
    await untilMigration(admin, CORPUS, 'is at its next confirmation', ({ state, step }) => {
      return state === 'paused' && step === 8;
    });
    const { body } = await ask<{ events: readonly MigrationEventView[] }>(`${migrations}/events`);
    const kinds = body.events.map(({ event }) => event);
    t.same(kinds.slice(kinds.indexOf('route_diverged')).slice(0, 4), [
      'route_diverged',
      'resume',
      'route_placed',
      'route_placed',
    ]);
  });

  await t.test('with the split put back it goes back, too', async (t) => {
    t.match(await ask<MigrationView>(`${migrations}:rollback`, 'POST', AUTHOR), {
      status: 200,
      body: { state: 'rolled_back', weight: 0 },
    });
    await until('the old version serves', async () => (await servedBy()) === 'v1', 300_000);
    await untilMigration(admin, CORPUS, 'ended', ({ finished_at }) => finished_at !== null);
  });

  await t.test('the report shows what happened, and takes nothing from outside as markup', async (t) => {
    const { body } = await ask<MigrationReportView>(`${migrations}/report`);
    t.match(body.markdown, /# Migration of docs: v1 → v2/);
    t.match(body.markdown, /\*\*rolled back: an operator rolled it back\*\*/);
    t.match(body.html, /^<!doctype html>/);
    t.ok((body.html.match(/<svg /g) ?? []).length >= 2, 'weights and latency');
    t.notMatch(body.html, /<script|src=|href=/, 'it needs no other file');
    const listed = await ask<{ migrations: readonly MigrationView[] }>(
      `${admin}/v1/migrations?corpus=${CORPUS}`,
    );
    t.equal(listed.body.migrations.length, 4);
  });

  await t.test('a plan whose last step has no place for archives says so from the beginning', async (t) => {
    const { steps } = JSON.parse(CONFIRMED_PLAN) as { readonly steps: readonly object[] };
    await oldVersionAlone(registry);
    for (const [plan, warnings] of [
      [CONFIRMED_PLAN, []],
      [JSON.stringify({ steps: [...steps, { retire: {} }] }), [/retires v1, .* archive\.uri names no place/]],
    ] as const) {
      const body = { to_version: 'v2', plan, ...AUTHOR };
      const started = await ask<MigrationView>(migrations, 'POST', body);
      t.match(started, { status: 200, body: { warnings } });
      t.equal(started.body.warnings.length, warnings.length);
      await ask(`${migrations}:abort`, 'POST', AUTHOR);
      await untilMigration(admin, CORPUS, 'ended', ({ finished_at }) => finished_at !== null);
    }
  });

  await load.stop();
  t.same(load.failures, [], 'no request failed');
});
