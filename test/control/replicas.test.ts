import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import pg from 'pg';
import t from 'tap';
import { temporaryFolder } from '../fixtures/postgres.js';
import { routeOf, search, send, target } from './http.js';
import { type GatewayProcess, runCommand, startGatewayProcess, switchyard } from './processes.js';
import { CORPUS, makeYard, until } from './yard.js';

const APPLY_MS_MAX = 5_000;

/** Both processes were told by notification: polling would come after a minute. */
const SLOW_POLL = {
  SWITCHYARD_ROUTER__POLL_INTERVAL_MS: '60000',
  SWITCHYARD_ROUTER__HEARTBEAT_INTERVAL_MS: '200',
};

const servedRevision = async (gateway: GatewayProcess): Promise<number> =>
  ((await search(gateway.http)).body.served_by as { route_revision: number }).route_revision;

t.test('two gateway processes on one registry', async (t) => {
  const yard = await makeYard(t);
  const gateways = await Promise.all([1, 2].map(() => startGatewayProcess(t, yard.varDir, SLOW_POLL)));
  const [first, second] = gateways as [GatewayProcess, GatewayProcess];
  const cli = (...args: string[]) =>
    switchyard(yard.varDir, ...args, '--admin-port', String(first.adminPort));

  await t.test('both are shown by either', async (t) => {
    const { value } = await until('two replicas', async () => {
      const route = await routeOf(second.admin, CORPUS);
      return route.replicas.length === 2 && route.replicas.every(({ lagging }) => !lagging) && route;
    });
    t.same(value.replicas.map(({ address }) => address).sort(), [first.admin, second.admin].sort());
  });

  await t.test(
    'the command line asks the gateway, loads before it routes, and shows how to undo',
    async (t) => {
      const shown = await cli('route', 'show', CORPUS);
      t.equal(shown.code, 0, shown.stderr);
      t.match(shown.stdout, /docs, revision 1/);
      t.match(shown.stdout, /serves revision 1/);
      const refused = await cli('route', 'set', CORPUS, 'v1=9000', 'v2=1000', '--reason', 'try');
      t.equal(refused.code, 1);
      t.match(refused.stderr, /TARGET_NOT_READY/);
      const set = await cli('route', 'set', CORPUS, 'v1=9000', 'v2=1000', '--preload', '--reason', 'try');
      t.equal(set.code, 0, set.stderr);
      t.match(set.stdout, /docs is at revision 2, was at 1/);
      t.match(set.stdout, /- v1 .*weight 100 %\n\+ v1 .*weight 90 %\n\+ v2 .*weight 10 %/);
      t.match(set.stdout, /switchyard route rollback docs --to 1 --if-revision 2/);
      const json = await cli('route', 'show', CORPUS, '--json');
      t.match(JSON.parse(json.stdout), {
        corpus: CORPUS,
        revision: 2,
        targets: [{ weight: 9_000 }, { weight: 1_000 }],
      });
      for (const gateway of gateways)
        await until('revision 2', async () => (await servedRevision(gateway)) === 2, APPLY_MS_MAX);
    },
  );

  await t.test('both apply a change of loaded targets', async (t) => {
    const change = await send(
      `${first.admin}/v1/routes/${CORPUS}`,
      'PUT',
      { targets: [target('v1', 5_000), target('v2', 5_000)], reason: 'half' },
      { 'if-match': '"2"' },
    );
    t.equal(change.status, 200, JSON.stringify(change.body));
    const times = await Promise.all(
      gateways.map((gateway) =>
        until('revision 3', async () => (await servedRevision(gateway)) === 3, APPLY_MS_MAX),
      ),
    );
    t.comment(
      `applied after ${times.map(({ tookMs }) => `${tookMs.toFixed(0)} ms`).join(' and ')} (wanted: 500 ms)`,
    );
    t.ok(times.every(({ tookMs }) => tookMs < APPLY_MS_MAX));
  });

  await t.test('a killed LISTEN connection heals', async (t) => {
    const client = new pg.Client(yard.registry.connection);
    await client.connect();
    t.teardown(() => client.end());
    const killed = await client.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'switchyard-gateway watch'`,
    );
    t.ok((killed.rowCount ?? 0) >= 2, `${killed.rowCount} connections were listening`);
    const change = await send(
      `${first.admin}/v1/routes/${CORPUS}:rollback`,
      'POST',
      { to_revision: 2, reason: 'after the cut' },
      { 'if-match': '"3"' },
    );
    t.equal(change.status, 200, JSON.stringify(change.body));
    const times = await Promise.all(
      gateways.map((gateway) => until('revision 4', async () => (await servedRevision(gateway)) === 4)),
    );
    t.comment(`healed after ${times.map(({ tookMs }) => `${tookMs.toFixed(0)} ms`).join(' and ')}`);
  });

  await t.test('the other commands go by way of the gateway too', async (t) => {
    const stale = await cli(
      'route',
      'set',
      CORPUS,
      'v1=10000',
      '--if-revision',
      '1',
      '--reason',
      'late',
      '--json',
    );
    t.equal(stale.code, 1);
    t.match(JSON.parse(stale.stdout), {
      error: { reason: 'REVISION_CONFLICT', details: { current_revision: '4' } },
    });
    const back = await cli(
      'route',
      'rollback',
      CORPUS,
      '--reason',
      'by hand',
      '--to',
      '3',
      '--if-revision',
      '4',
      '--json',
    );
    t.match(JSON.parse(back.stdout), { before: { revision: 4 }, route: { revision: 5 } });
    const history = await cli('route', 'history', CORPUS);
    t.match(history.stdout, /^revision 5 .*rollback to 3.*: by hand$/m);
    const models = await cli('model', 'list', '--json');
    t.match(
      JSON.parse(models.stdout),
      [{ provider: 'cpu' }, { provider: 'cpu' }],
      'which alone knows the providers',
    );
    const added = await cli(
      'consumer',
      'add',
      CORPUS,
      'v1',
      'shop',
      '--team',
      'web',
      '--deadline',
      '2027-01-31',
      '--reason',
      'it searches',
    );
    t.match(added.stdout, /docs +v1 +shop +web +2027-01-31 .*no/);
    t.match(JSON.parse((await cli('consumer', 'list', CORPUS, '--json')).stdout), {
      consumers: [{ service_name: 'shop' }],
      noticed: [{ corpus: CORPUS, registered: false }],
    });
    const [build] = JSON.parse((await cli('corpus', 'builds', CORPUS, 'v2', '--json')).stdout) as {
      build: string;
    }[];
    const made = await cli('corpus', 'default', CORPUS, 'v2', build?.build ?? '', '--reason', 'it is');
    t.match(made.stdout, /v2 .* yes /);
    const archive = await cli('corpus', 'archive', CORPUS, 'v2', '--reason', 'gone');
    t.match(archive, { code: 1, stderr: /STATUS_CONFLICT/ }, 'what is routed is not archived');
    t.match(
      (await cli('comparison', 'show', CORPUS)).stdout,
      /nothing of docs was compared yet[\s\S]*route set docs v1=5000 v2=5000 --mirror <version>=1000/,
    );
    const [latest, earlier] = [
      await cli('route', 'history', CORPUS, '--limit', '2'),
      await cli('route', 'history', CORPUS, '--limit', '2', '--before', '4', '--json'),
    ];
    t.match(latest.stdout, /what came before:\n.*route history docs --limit 2 --before 4 /);
    t.match(JSON.parse(earlier.stdout), [{ revision: 3 }, { revision: 2 }]);
  });

  await t.test('what is printed to undo a change works, also when the old target has left', async (t) => {
    const all = await cli('route', 'set', CORPUS, 'v2=10000', '--preload', '--reason', 'all of it', '--json');
    t.equal(all.code, 0, all.stderr);
    const again = await cli('route', 'set', CORPUS, 'v1=10000', '--preload', '--reason', 'and back');
    t.equal(again.code, 0, again.stderr);
    const printed = /^ {2}switchyard (route rollback .*)$/m.exec(again.stdout)?.[1] ?? '';
    const undo = (printed.match(/"[^"]*"|\S+/g) ?? []).map((word) => word.replaceAll('"', ''));
    t.ok(undo.includes('--preload'), printed);
    const elsewhere = await temporaryFolder(t);
    await until('v2 is unloaded', async () =>
      (await yard.registry.gateways.list()).every(({ readyTargets }) => readyTargets.length === 1),
    );
    const unloaded = await runCommand(
      {},
      elsewhere,
      undo.filter((word) => word !== '--preload'),
    );
    t.match(unloaded, { code: 1, stderr: /TARGET_NOT_READY/ });
    const undone = await runCommand({}, elsewhere, undo);
    t.equal(undone.code, 0, undone.stderr);
    t.match(undone.stdout, /\+ v2 .*weight 100 %/);
    const back = await cli('route', 'rollback', CORPUS, '--to', '5', '--preload', '--reason', 'as it was');
    t.equal(back.code, 0, back.stderr);
  });

  await t.test('a corpus that is built while gateways run is served by them', async (t) => {
    const file = path.join(yard.varDir, 'fruit.jsonl');
    await writeFile(
      file,
      ['apple', 'pear', 'plum'].map((text) => JSON.stringify({ id: text, text })).join('\n'),
    );
    const model = yard.int8.manifest.fingerprint;
    const built = await cli(
      'corpus',
      'build',
      'fruit',
      file,
      '--model',
      model,
      '--template',
      '{text}',
      '--json',
    );
    t.match(JSON.parse(built.stdout), { routed: true }, built.stderr);
    for (const { http } of gateways) {
      const { value } = await until('an answer', async () => {
        const answer = await search(http, { corpus: 'fruit', text: 'a pear' });
        return answer.status === 200 && answer;
      });
      t.match(value.body, { hits: [{ id: 'pear' }], served_by: { route_revision: 1 } });
    }
  });

  await t.test('a replica that ends says so', async (t) => {
    t.equal(await second.stop(), 0);
    const { replicas } = await routeOf(first.admin, CORPUS);
    t.same(
      replicas.map(({ address }) => address),
      [first.admin],
    );
  });

  await t.test('without a gateway the command line goes to the registry', async (t) => {
    t.equal(await first.stop(), 0);
    const shown = await cli('route', 'show', CORPUS);
    t.match(shown.stdout, /docs, revision 9[\s\S]*no gateway runs/);
    const set = await cli(
      'route',
      'set',
      CORPUS,
      'v1=10000',
      '--shadow',
      'v2',
      '--mirror',
      'v2=500',
      '--reason',
      'quiet',
    );
    t.equal(set.code, 0, set.stderr);
    t.match(set.stdout, /\+ v2 .*shadow, mirrored 5 %/);
    t.match(await cli('comparison', 'show', CORPUS), { code: 1, stderr: /STATUS_CONFLICT/ });
  });
});
