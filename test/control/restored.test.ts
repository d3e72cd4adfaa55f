import pg from 'pg';
import t from 'tap';
import { packageBinaries, startGivenServer } from '../../bench/rig/given-server.js';
import { startGateway } from '../../src/gateway/gateway.js';
import { silentLog } from '../fixtures/postgres.js';
import { keepSearching, search, send, target, urlOf } from './http.js';
import { CORPUS, makeYard, until } from './yard.js';

const MISSING = `route_not_in_registry:${CORPUS}`;

t.test(
  'a registry that is restored from an older copy is no outage, and is followed after a restart',
  async (t) => {
    const server = await startGivenServer(t, await packageBinaries(t));
    const operator = new pg.Client({ connectionString: server.url() });
    await operator.connect();
    t.teardown(() => operator.end());
    /** As whoever restores it: nobody else may be connected. */
    const alone = async (work: () => Promise<unknown>): Promise<void> => {
      await operator.query('ALTER DATABASE yard ALLOW_CONNECTIONS false');
      await operator.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'yard'");
      await work();
    };
    await operator.query('CREATE DATABASE yard');
    const yard = await makeYard(t, server.url(undefined, 'yard'));
    await yard.registry.close();
    await alone(() => operator.query('CREATE DATABASE older TEMPLATE yard'));
    await operator.query('ALTER DATABASE yard ALLOW_CONNECTIONS true');

    const gateway = await startGateway(yard.config(), silentLog);
    const served = async (): Promise<{
      readonly revision: unknown;
      readonly degraded: readonly string[];
    }> => {
      const { body } = await search(urlOf(gateway.addresses.http));
      const { route_revision } = body.served_by as { readonly route_revision: unknown };
      return { revision: route_revision, degraded: body.degraded as string[] };
    };
    const put = (revision: number) =>
      send(
        `${urlOf(gateway.addresses.adminHttp)}/v1/routes/${CORPUS}`,
        'PUT',
        { targets: [target('v1', 10_000)], reason: 'a test' },
        { 'if-match': `"${revision}"` },
      );
    t.match(await put(1), { status: 200, etag: '"2"' });
    await until('revision 2 is served', async () => (await served()).revision === 2);

    const load = keepSearching(urlOf(gateway.addresses.http));
    await alone(async () => {
      await until('the gateway noticed', async () =>
        (await served()).degraded.includes('registry_unavailable'),
      );
      t.match(await put(2), { status: 503, body: { reason: 'REGISTRY_UNAVAILABLE' } });
      await operator.query('ALTER DATABASE yard RENAME TO gone');
      await operator.query('ALTER DATABASE older RENAME TO yard');
    });
    await until('it says that its route is not there', async () =>
      (await served()).degraded.includes(MISSING),
    );
    t.same(await served(), { revision: 2, degraded: [MISSING] }, 'and goes on with it');
    await until('more than ten were answered', async () => load.answered() > 10);
    const { refused } = await load.stop();
    t.same(refused, [], 'no request was lost');
    await gateway.close();

    const again = await startGateway(yard.config(), silentLog);
    t.teardown(() => again.close());
    t.match(await search(urlOf(again.addresses.http)), {
      status: 200,
      body: { served_by: { route_revision: 1 }, degraded: [] },
    });
  },
);
