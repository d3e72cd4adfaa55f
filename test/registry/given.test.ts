import { existsSync } from 'node:fs';
import path from 'node:path';
import { inspect } from 'node:util';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { type GivenServer, PASSWORD, startGivenServer } from '../../bench/rig/given-server.js';
import { openRegistry, type Registry } from '../../src/registry/registry.js';
import { onEachPostgres } from '../fixtures/each-postgres.js';
import { temporaryFolder } from '../fixtures/postgres.js';
import { AUTHOR, active, eventually, readyVersion, refused, registerModel } from './registry-fixtures.js';

/** Everything the registry logs, as text. */
const written: string[] = [];
const log = pino({ level: 'trace' }, { write: (line: string) => void written.push(line) });
const SECRETS = [PASSWORD, encodeURIComponent(PASSWORD), 'wrong-secret'];

onEachPostgres(t, async (t, postgres) => useGivenServer(t, await postgres.binaries(t)));

async function useGivenServer(t: Test, binaries: string): Promise<void> {
  const server = await startGivenServer(t, binaries);
  const varDir = await temporaryFolder(t);
  const open = (databaseUrl: string) =>
    openRegistry({ databaseUrl, varDir, log, applicationName: 'switchyard-test' });
  const registry = await open(server.url());
  t.teardown(() => registry.close());
  t.equal(registry.kind, 'given');
  t.equal(registry.place, `127.0.0.1:${server.port}/postgres`);
  t.notOk(existsSync(path.join(varDir, 'postgres')), 'nothing embedded is started');

  const model = await registerModel(registry, 'm');
  await readyVersion(registry, 'docs', 'v1', model);
  const targets = [active('v1', 10_000)];
  await registry.routes.change({ corpus: 'docs', targets, expectedRevision: null, ...AUTHOR });
  const second = await open(server.url());
  t.match(await second.routes.list(), [{ corpus: 'docs', revision: 1 }], 'two replicas share it');
  await second.close();

  await checkRefusals(t, server, open);
  await checkOutage(t, server, registry);
  const said = written.join('\n');
  for (const secret of SECRETS) t.notOk(said.includes(secret), 'no password in the logs');
}

async function checkRefusals(
  t: Test,
  server: GivenServer,
  open: (url: string) => Promise<Registry>,
): Promise<void> {
  for (const [name, url, reason] of [
    ['a wrong password', server.url('wrong-secret'), 'REGISTRY_UNAVAILABLE'],
    ['an unknown database', server.url(PASSWORD, 'nowhere'), 'REGISTRY_UNAVAILABLE'],
    ['nobody at the port', server.url().replace(String(server.port), '1'), 'REGISTRY_UNAVAILABLE'],
    ['an unknown host', server.url().replace('127.0.0.1', 'no-such-host.invalid'), 'REGISTRY_UNAVAILABLE'],
    ['no address', `${PASSWORD}`, 'INVALID_CONFIG'],
    ['another scheme', `mysql://operator:${PASSWORD}@h/d`, 'INVALID_CONFIG'],
    [
      'a port that is none',
      `postgresql://operator:${encodeURIComponent(PASSWORD)}@h:99999999/d`,
      'INVALID_CONFIG',
    ],
  ] as const) {
    const error: unknown = await open(url).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    t.match(error, refused(reason), name);
    // The whole of it, with its cause, as a logger would print it.
    const printed = `${inspect(error, { depth: 8 })} ${JSON.stringify(error)}`;
    for (const secret of SECRETS) t.notOk(printed.includes(secret), `${name}: no password in the error`);
  }
}

async function checkOutage(t: Test, server: GivenServer, registry: Registry): Promise<void> {
  const watch = registry.watch(() => undefined);
  await eventually('listening', () => watch.state === 'listening');
  const change = () =>
    registry.routes.change({
      corpus: 'docs',
      targets: [active('v1', 10_000)],
      expectedRevision: 1,
      ...AUTHOR,
    });
  await server.stop();
  await t.rejects(registry.routes.list(), refused('REGISTRY_UNAVAILABLE'));
  await t.rejects(change(), refused('REGISTRY_UNAVAILABLE'));
  await t.rejects(registry.ping(), refused('REGISTRY_UNAVAILABLE'));
  t.not(watch.state, 'listening');
  await server.start();
  await eventually('healed', () =>
    registry.ping().then(
      () => true,
      () => false,
    ),
  );
  await eventually('listening again', () => watch.state === 'listening');
  t.equal((await change()).revision, 2);
}
