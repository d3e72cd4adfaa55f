import t from 'tap';
import type { MigrationEventView, MigrationView } from '../../src/gateway/admin/migration-views.js';
import { startGateway } from '../../src/gateway/gateway.js';
import { createLogger } from '../../src/telemetry/log.js';
import { CORPUS, makeYard } from '../control/yard.js';
import { adminUrl, ask, Load, QUICK_PLAN, untilMigration } from './migrating.js';

const TEXTS = ['a cat', 'a bird', 'some bread', 'red wine', 'a planet', 'a bicycle', 'a cobbler', 'snow'];

t.test('a migration runs from start to complete by one command, under load', async (t) => {
  const yard = await makeYard(t);
  const config = yard.config();
  const quick = {
    ...config,
    mirror: { ...config.mirror, niceness: 0 },
    migration: { ...config.migration, sampleIntervalMs: 100, pollIntervalMs: 200 },
  };
  const gateway = await startGateway(quick, createLogger(process.env.LOG ?? 'silent'));
  t.teardown(() => gateway.close());
  const { host, port } = gateway.addresses.http;
  const admin = adminUrl(gateway);
  const load = new Load(`http://${host}:${port}`, CORPUS, TEXTS);
  t.teardown(() => load.stop());

  const started = await ask<MigrationView>(`${admin}/v1/migrations/${CORPUS}`, 'POST', {
    to_version: 'v2',
    plan: JSON.stringify(QUICK_PLAN),
    reason: 'a test',
  });
  t.equal(started.status, 200, JSON.stringify(started.body));
  const ended = await untilMigration(admin, CORPUS, 'ended', ({ finished_at, state }) => {
    return finished_at !== null || state === 'paused';
  });
  const { body } = await ask<{ events: MigrationEventView[] }>(`${admin}/v1/migrations/${CORPUS}/events`);
  t.equal(ended.state, 'completed', JSON.stringify(body.events.map(({ event, reason }) => [event, reason])));
  await load.stop();
  t.same(load.failures, []);
  t.ok((load.answered.get('v2') ?? 0) > 0 && (load.answered.get('v1') ?? 0) > 0);
  const route = await yard.registry.routes.get(CORPUS);
  t.match(route.targets, [{ version: 'v2', role: 'active', weightBps: 10_000 }]);
  t.equal(route.targets.length, 1);
});
