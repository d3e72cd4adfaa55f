import t, { type Test } from 'tap';
import type { MigrationEventView } from '../../src/gateway/admin/migration-views.js';
import { startGateway } from '../../src/gateway/gateway.js';
import { createLogger } from '../../src/telemetry/log.js';
import type { Digest } from '../../src/vocabulary.js';
import { AUTHOR, CORPUS, makeYard, until } from '../control/yard.js';
import { anotherBuild } from './another-build.js';
import { adminUrl, ask, Load, untilMigration } from './migrating.js';

const TEXTS = ['a cat', 'a bird', 'some bread', 'red wine', 'a planet', 'a bicycle', 'a cobbler', 'snow'];
/** An analysis under weight that never sees enough: the version changes in the middle of it. */
const PLAN = JSON.stringify({
  steps: [
    { verify: {} },
    { shadow: { duration_s: 0, compared_min: 1, timeout_s: 600 } },
    { analysis: { shadow: { compared_min: 1, failed_share_max: 1, late_share_max: 1 }, interval_s: 0.05 } },
    { set_weight: { weight: 5_000 } },
    { analysis: { error_rate: { samples_min: 1_000_000_000 }, interval_s: 0.05 } },
    { set_weight: { weight: 10_000 } },
    { complete: {} },
  ],
});
const WEIGHTED = 4;

t.test('a version that changes during an analysis under weight begins anew, without weight', async (t) => {
  const yard = await makeYard(t);
  const { registry } = yard;
  const config = yard.config();
  const gateway = await startGateway(
    {
      ...config,
      mirror: { ...config.mirror, niceness: 0 },
      migration: { ...config.migration, sampleIntervalMs: 50, pollIntervalMs: 100 },
    },
    createLogger(process.env.LOG ?? 'silent'),
  );
  t.teardown(() => gateway.close());
  const admin = adminUrl(gateway);
  const migrations = `${admin}/v1/migrations/${CORPUS}`;
  const { host, port } = gateway.addresses.http;
  const load = new Load(`http://${host}:${port}`, CORPUS, TEXTS, 1);
  t.teardown(() => load.stop());
  const first = (await registry.corpusVersions.get({ corpus: CORPUS, version: 'v2' })).defaultBuild as Digest;
  const other = await anotherBuild(yard, 'v2', {
    ...{ kind: 'format', format: { quantization: 'bf16', expansionSearch: 64 } },
  });
  t.not(other, first);
  const events = async () =>
    (await ask<{ events: readonly MigrationEventView[] }>(`${migrations}/events`)).body.events;
  const targets = async () =>
    (await registry.routes.get(CORPUS)).targets.map(
      ({ version, build, role, weightBps }) => `${version}:${nameOf(build)} ${role} ${weightBps}`,
    );
  const nameOf = (build: Digest): string => (build === first ? 'first' : build === other ? 'other' : 'old');
  const atWeight = (what: string, build: string) =>
    t.test(what, async (t: Test) => {
      const view = await untilMigration(admin, CORPUS, 'has weight', ({ state, step, weight }) => {
        return state !== 'running' || (step === WEIGHTED + 1 && weight === 5_000);
      });
      t.match(view, { state: 'running', weight: 5_000 }, JSON.stringify(view));
      t.same(await targets(), ['v1:old active 5000', `v2:${build} active 5000`]);
    });

  const begun = await ask(migrations, 'POST', { to_version: 'v2', plan: PLAN, ...AUTHOR });
  t.equal(begun.status, 200, JSON.stringify(begun.body));
  await atWeight('the build that was verified has half of the weight', 'first');
  const before = (await events()).length;
  await registry.builds.setDefault({ corpus: CORPUS, version: 'v2' }, other, AUTHOR);

  await t.test('its weight goes back in the transaction that says that it changed', async (t) => {
    const { value: changed } = await until('the change is seen', async () =>
      (await events()).find(({ event }) => event === 'version_changed'),
    );
    t.match(changed.reason, /default build of docs\/v2 is .* which was verified/);
    const { route_revision } = changed;
    const made = (await registry.routes.revisions(CORPUS)).find(
      ({ revision }) => revision === route_revision,
    );
    t.same(
      made?.after.map(({ version, role, weightBps }) => `${version} ${role} ${weightBps}`),
      ['v1 active 10000', 'v2 draining 0'],
    );
  });

  await atWeight('then it is verified, mirrored and measured anew, and the other build has it', 'other');
  const after = (await events()).slice(before).map(({ event }) => event);
  t.same(after, [
    ...['version_changed', 'verified', 'route_placed', 'step_done'],
    ...['analysis_successful', 'route_placed', 'step_done'],
  ]);

  await t.test('from there it goes back as any other', async (t) => {
    t.equal((await ask(`${migrations}:abort`, 'POST', AUTHOR)).status, 200);
    const ended = await untilMigration(admin, CORPUS, 'ended', ({ finished_at }) => finished_at !== null);
    t.match(ended, { state: 'aborted', weight: 0 });
    t.same(await targets(), ['v1:old active 10000', 'v2:other draining 0']);
    t.same(await registry.desiredTargets.list({ corpus: CORPUS }), [], 'nothing is held for either');
  });
  await load.stop();
  t.same(load.failures, []);
  t.ok((load.answered.get('v2') ?? 0) > 0, 'both served meanwhile');
});
