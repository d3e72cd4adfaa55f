import path from 'node:path';
import type { Client, ServiceError } from '@grpc/grpc-js';
import t from 'tap';
import type { MigrationView } from '../../src/gateway/admin/migration-views.js';
import { startGateway } from '../../src/gateway/gateway.js';
import { packageRoot } from '../../src/package-root.js';
import { AUTHOR, CORPUS, makeYard, until } from '../control/yard.js';
import { silentLog } from '../fixtures/postgres.js';
import { clientOf, grpcRefused } from '../gateway/harness.js';
import { CONFIRMATIONS, CONFIRMED_PLAN, type Confirmation } from './confirming.js';
import { adminUrl, ask, Load } from './migrating.js';

/** A migration as the contract has it, as far as it is looked at here. */
interface Message {
  readonly migration_id: string;
  readonly state: string;
  readonly cause: string;
  readonly why: string;
  readonly step: number;
  readonly steps: readonly { readonly name: string; readonly kind: string; readonly status: string }[];
  readonly weight: number;
  readonly gate: string;
  readonly route_revision: string;
  readonly finished_at: { readonly seconds: string } | null;
}

type Unary = (message: object, answered: (error: ServiceError | null, body: never) => void) => void;

t.test('a migration from beginning to end over gRPC', async (t) => {
  const yard = await makeYard(t);
  const config = yard.config();
  const gateway = await startGateway(
    {
      ...config,
      mirror: { ...config.mirror, niceness: 0 },
      migration: { ...config.migration, sampleIntervalMs: 50, pollIntervalMs: 100, settleTimeoutMs: 5_000 },
    },
    silentLog,
  );
  t.teardown(() => gateway.close());
  const admin = adminUrl(gateway);
  const { host, port } = gateway.addresses.http;
  const load = new Load(`http://${host}:${port}`, CORPUS, ['a cat', 'a bird', 'some bread'], 1);
  t.teardown(() => load.stop());
  const client = clientOf(
    path.join(packageRoot(), 'proto/switchyard/v1/migration.proto'),
    'switchyard.v1.MigrationService',
    `127.0.0.1:${gateway.addresses.adminGrpc.port}`,
  );
  t.teardown(() => client.close());
  const call = <T = Message>(method: string, message: object): Promise<T> =>
    new Promise((resolve, reject) => {
      const unary = (client as Client & Record<string, Unary>)[method] as Unary;
      unary.call(client, message, (error, body) => {
        if (error === null) resolve(body as T);
        else reject(error);
      });
    });
  const refused = async (method: string, message: object): Promise<string> => {
    try {
      await call(method, message);
      return 'OK';
    } catch (error) {
      return grpcRefused(error as ServiceError).reason;
    }
  };
  const named = { corpus: CORPUS };
  const command = (verb: string): Promise<Message> => call(`${verb}Migration`, { ...named, ...AUTHOR });
  const status = (): Promise<Message> => call('GetMigration', named);
  const untilIt = async (what: string, wanted: (migration: Message) => boolean): Promise<Message> => {
    const { value } = await until(
      `the migration ${what}`,
      async () => {
        const migration = await status();
        return wanted(migration) ? migration : null;
      },
      240_000,
    );
    return value;
  };
  const begin = (): Promise<Message> =>
    call('StartMigration', { ...named, to_version: 'v2', plan: CONFIRMED_PLAN, ...AUTHOR });
  const waitsAt = (wanted: Confirmation): Promise<Message> =>
    untilIt(
      `waits at ${wanted}`,
      ({ state, step }) => state === 'MIGRATION_STATE_PAUSED' && step === CONFIRMATIONS[wanted] + 1,
    );

  await t.test('what does not fit is refused for the reasons that HTTP gives', async (t) => {
    t.equal(await refused('GetMigration', named), 'UNKNOWN_MIGRATION');
    t.equal(await refused('GetMigration', { corpus: 'nothing' }), 'UNKNOWN_CORPUS');
    const start = { ...named, to_version: 'v2', ...AUTHOR };
    t.equal(await refused('StartMigration', { ...start, plan: 'steps: [{ pause: {} }]' }), 'INVALID_PLAN');
    t.equal(await refused('StartMigration', { ...start, to_version: 'v9' }), 'UNKNOWN_CORPUS_VERSION');
    t.equal(await refused('StartMigration', { ...start, reason: '' }), 'INVALID_ARGUMENT');
  });

  await t.test('it starts, and its status is what HTTP says', async (t) => {
    const started = await begin();
    t.match(started, {
      corpus: CORPUS,
      from_version: 'v1',
      to_version: 'v2',
      state: 'MIGRATION_STATE_PAUSED',
      cause: 'MIGRATION_CAUSE_PLAN',
      step: 1,
      weight: 0,
      gate: 'MIGRATION_GATE_UNSPECIFIED',
      updates_stopped: false,
    });
    t.equal(await refused('StartMigration', { ...named, to_version: 'v2', ...AUTHOR }), 'STATUS_CONFLICT');
    const { body } = await ask<MigrationView>(`${admin}/v1/migrations/${CORPUS}`);
    t.equal(started.migration_id, body.migration_id);
    t.same(
      started.steps.map(({ name, kind, status }) => [name, kind, status]),
      body.steps.map(({ name, kind, status }) => [
        name,
        `MIGRATION_STEP_KIND_${kind.toUpperCase()}`,
        `MIGRATION_STEP_STATUS_${status.toUpperCase()}`,
      ]),
    );
    t.equal(Number(started.route_revision), body.route_revision);
  });

  await t.test('promote goes on; pause and resume stop and begin the step again', async (t) => {
    t.equal((await command('Promote')).state, 'MIGRATION_STATE_RUNNING');
    t.match(await waitsAt('shadow'), { gate: 'MIGRATION_GATE_PASSED', updates_stopped: true });
    t.equal(await refused('PauseMigration', { ...named, ...AUTHOR }), 'STATUS_CONFLICT', 'it waits already');
    t.equal(await refused('ResumeMigration', { ...named, ...AUTHOR }), 'STATUS_CONFLICT', 'it is promoted');
    const going = await command('Promote');
    t.match(going, { state: 'MIGRATION_STATE_RUNNING', step: CONFIRMATIONS.shadow + 2 });
    t.match(await command('Pause'), { state: 'MIGRATION_STATE_PAUSED', cause: 'MIGRATION_CAUSE_OPERATOR' });
    const again = await command('Resume');
    t.match(again, { state: 'MIGRATION_STATE_RUNNING' });
    t.match(await waitsAt('half'), { weight: 5_000 });
  });

  await t.test('abort gives the old version everything back', async (t) => {
    t.match(await command('Abort'), {
      state: 'MIGRATION_STATE_ABORTED',
      cause: 'MIGRATION_CAUSE_OPERATOR',
      weight: 0,
    });
    const ended = await untilIt('ended', ({ finished_at }) => finished_at !== null);
    t.match(ended, { lagging: [], rollback_ms: Number });
    t.equal(await refused('PromoteMigration', { ...named, ...AUTHOR }), 'STATUS_CONFLICT');
  });

  await t.test(
    'rollback too; an earlier migration is read by its id, with its events and report',
    async (t) => {
      const earlier = (await status()).migration_id;
      await begin();
      await waitsAt('untouched');
      t.match(await command('Rollback'), { state: 'MIGRATION_STATE_ROLLED_BACK', why: /operator/ });
      await untilIt('ended', ({ finished_at }) => finished_at !== null);
      const { migrations } = await call<{ migrations: readonly Message[] }>('ListMigrations', named);
      t.same(
        migrations.map(({ state }) => state),
        ['MIGRATION_STATE_ROLLED_BACK', 'MIGRATION_STATE_ABORTED'],
        'latest first',
      );
      const of = { ...named, migration_id: earlier };
      t.match(await call('GetMigration', of), { state: 'MIGRATION_STATE_ABORTED' });
      const { events } = await call<{
        events: readonly { sequence: number; event: string; actor: string; detail: string }[];
      }>('ListMigrationEvents', of);
      t.same(
        events.map(({ sequence }) => sequence),
        events.map((_, at) => at + 1),
      );
      const kinds = events.map(({ event }) => event);
      for (const kind of [
        'started',
        'promote',
        'verified',
        'route_placed',
        'pause',
        'resume',
        'abort',
        'settled',
      ])
        t.ok(kinds.includes(kind), kind);
      t.equal(events.find(({ event }) => event === 'abort')?.actor, AUTHOR.actor);
      for (const { event, detail } of events) t.equal((JSON.parse(detail) as { kind: string }).kind, event);
      const report = await call<{ markdown: string; html: string }>('GetMigrationReport', of);
      t.match(report.markdown, /\*\*aborted: an operator aborted it\*\*/);
      t.match(report.html, /^<!doctype html>/);
    },
  );

  await load.stop();
  t.same(load.failures, [], 'no request failed');
});
