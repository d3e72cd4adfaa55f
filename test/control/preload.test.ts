import pg from 'pg';
import t from 'tap';
import { startGateway } from '../../src/gateway/gateway.js';
import { Engines } from '../../src/gateway/wiring/engines.js';
import type { TargetSpec } from '../../src/router/targets.js';
import { silentLog } from '../fixtures/postgres.js';
import { search, urlOf } from './http.js';
import { AUTHOR, CORPUS, makeYard, sleep, until } from './yard.js';

t.test('a preloaded build that is routed and released in one read is not loaded twice', async (t) => {
  const yard = await makeYard(t);
  const opened: string[] = [];
  class CountedEngines extends Engines {
    override openTarget(spec: TargetSpec): ReturnType<Engines['openTarget']> {
      opened.push(spec.version);
      return super.openTarget(spec);
    }
  }
  const config = yard.config();
  const gateway = await startGateway(config, silentLog, new CountedEngines(config, silentLog));
  t.teardown(() => gateway.close());
  const { registry } = yard;
  const v2 = { corpus: CORPUS, version: 'v2', build: null };
  await registry.desiredTargets.add({ ...v2, tier: 'ssd' }, AUTHOR);
  await until('v2 is loaded everywhere', async () => {
    const [replica] = await registry.gateways.list();
    return replica?.readyTargets.length === 2;
  });

  // A read that hangs makes the follower see all that happens meanwhile in its next one.
  const client = new pg.Client(registry.connection);
  await client.connect();
  t.teardown(() => client.end());
  await client.query('BEGIN; LOCK TABLE gateways IN ACCESS EXCLUSIVE MODE');
  await sleep(2 * config.router.pollIntervalMs);
  const target = { build: null, role: 'active', weightBps: 5_000, tier: 'ssd', mirrorBps: 0 } as const;
  await registry.routes.change({
    corpus: CORPUS,
    targets: ['v1', 'v2'].map((version) => ({ ...target, version })),
    expectedRevision: 1,
    force: true, // asks no replica, so it does not wait for the lock
    ...AUTHOR,
  });
  await registry.desiredTargets.remove(v2, AUTHOR);
  await client.query('COMMIT');

  await until('revision 2', async () => {
    const { body } = await search(urlOf(gateway.addresses.http));
    return (body.served_by as { route_revision: number }).route_revision === 2;
  });
  t.same(opened, ['v1', 'v2']);
});
