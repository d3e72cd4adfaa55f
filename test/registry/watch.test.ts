import { setImmediate } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { RegistryEvent, WatchState } from '../../src/registry/watch.js';
import { onEachPostgres, type TestPostgres } from '../fixtures/each-postgres.js';
import { startTestRegistry } from '../fixtures/postgres.js';
import {
  AUTHOR,
  active,
  eventually,
  rawSession,
  readyVersion,
  registerModel,
  shadow,
} from './registry-fixtures.js';

onEachPostgres(t, async (t, postgres) => {
  await t.test('watching the registry', (t) => watching(t, postgres));
  await t.test('a watch closed before it is connected closes', (t) => closedEarly(t, postgres));
});

async function watching(t: Test, postgres: TestPostgres): Promise<void> {
  const registry = await startTestRegistry(t, { postgres });
  const raw = await rawSession(t, registry);
  const model = await registerModel(registry, 'm');
  await readyVersion(registry, 'docs', 'v1', model);
  await readyVersion(registry, 'docs', 'v2', model);
  const events: RegistryEvent[] = [];
  const states: WatchState[] = [];
  const watch = registry.watch((event) => events.push(event), { onState: (state) => states.push(state) });
  let revision = 0;
  const change = async () => {
    const route = await registry.routes.change({
      corpus: 'docs',
      targets: [active('v1', 10_000), shadow('v2', revision)],
      expectedRevision: revision === 0 ? null : revision,
      ...AUTHOR,
    });
    revision = route.revision;
  };
  const heard = (wanted: number) => () =>
    events.some((event) => event.kind === 'route' && event.corpus === 'docs' && event.revision === wanted);

  await t.test('begins with a resync, then tells every change of a route after its commit', async (t) => {
    await eventually('listening', () => watch.state === 'listening');
    t.same(events, [{ kind: 'resync' }]);
    for (let wanted = 1; wanted <= 3; wanted++) {
      await change();
      await eventually(`revision ${wanted}`, heard(wanted));
    }
    t.equal(events.length, 4, 'once each');
  });

  await t.test('tells changes of desired targets', async () => {
    await registry.desiredTargets.add({ corpus: 'docs', version: 'v2', build: null, tier: 'ssd' }, AUTHOR);
    await eventually('desired', () => events.some(({ kind }) => kind === 'desired_targets'));
  });

  await t.test('a change that is rolled back is not told', async (t) => {
    await raw.query(`BEGIN; UPDATE routes SET revision = revision + 1; ROLLBACK`);
    await change();
    await eventually('the next one', heard(revision));
    t.equal(events.filter((event) => event.kind === 'route' && event.revision === revision).length, 1);
  });

  await t.test('its killed connection heals, resyncs and tells again', async (t) => {
    for (let round = 0; round < 3; round++) {
      const resyncs = () => events.filter(({ kind }) => kind === 'resync').length;
      const before = resyncs();
      const { rows } = await raw.query<{ n: number }>(
        `SELECT count(pg_terminate_backend(pid))::INT AS n FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '% watch'`,
      );
      t.equal(rows[0]?.n, 1);
      await change(); // while nobody listens: the resync stands for it
      await eventually('resync', () => resyncs() === before + 1);
      await change();
      await eventually('told again', heard(revision));
    }
    t.same(states.slice(0, 4), ['listening', 'disconnected', 'connecting', 'listening']);
  });

  await t.test('what it does not understand means: read again', async (t) => {
    const before = events.length;
    for (const payload of ['', 'no json', '{"kind":"new thing","corpus":"docs"}', 'null', '[]'])
      await raw.query(`SELECT pg_notify('switchyard_registry', $1)`, [payload]);
    await eventually('five', () => events.length === before + 5);
    t.same(new Set(events.slice(before).map(({ kind }) => kind)), new Set(['resync']));
  });

  await t.test('killed connections of the pool heal without a word to callers', async (t) => {
    await Promise.all(Array.from({ length: 6 }, () => registry.routes.list()));
    await raw.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'switchyard-test'`,
    );
    await eventually('an answer', () =>
      registry.ping().then(
        () => true,
        () => false,
      ),
    );
    t.equal((await registry.routes.get('docs')).revision, revision);
  });

  await t.test('closed, it says nothing more', async (t) => {
    await watch.close();
    t.equal(watch.state, 'closed');
    const before = events.length;
    await change();
    t.equal(events.length, before);
  });
}

async function closedEarly(t: Test, postgres: TestPostgres): Promise<void> {
  const registry = await startTestRegistry(t, { postgres });
  const turns = [0, 1, 2, 4, 8, 16];
  for (const turn of turns) {
    const watch = registry.watch(() => undefined);
    for (let at = 0; at < turn; at++) await setImmediate();
    await watch.close();
    t.equal(watch.state, 'closed', `after ${turn} turns of the event loop`);
  }
  registry.watch(() => t.fail('told after its end'));
  await registry.close();
}
