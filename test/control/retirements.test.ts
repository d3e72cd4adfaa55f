import { readdirSync } from 'node:fs';
import path from 'node:path';
import { Client, credentials } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import t from 'tap';
import type { RetirementView } from '../../src/gateway/admin/archive-views.js';
import { startGateway } from '../../src/gateway/gateway.js';
import { packageRoot } from '../../src/package-root.js';
import { silentLog } from '../fixtures/postgres.js';
import { temporaryFolder } from '../index/corpus.js';
import { adminUrl, ask } from '../migration/migrating.js';
import { switchyard } from './processes.js';
import { AUTHOR, CORPUS, makeYard, until } from './yard.js';

const ORDER = ['drain', 'archive', 'verify', 'delete'];
const V1 = { corpus: CORPUS, version: 'v1' };

/** GetRetirement, as a client of the shipped contract reads it. */
async function overGrpc(address: string, name: object): Promise<unknown> {
  const definition = loadSync('switchyard/v1/registry.proto', {
    ...{ keepCase: true, enums: String },
    includeDirs: [path.join(packageRoot(), 'proto')],
  });
  const service = definition['switchyard.v1.RegistryService'] as unknown as Record<
    string,
    { path: string; requestSerialize(message: object): Buffer; responseDeserialize(bytes: Buffer): object }
  >;
  const method = service.GetRetirement;
  if (method === undefined) throw new TypeError('the contract has no GetRetirement');
  const client = new Client(address, credentials.createInsecure());
  try {
    return await new Promise((resolve, reject) => {
      client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        name,
        (error, body) => (error === null ? resolve(body) : reject(error)),
      );
    });
  } finally {
    client.close();
  }
}

t.test('a gateway retires a version that it was asked to retire', async (t) => {
  const yard = await makeYard(t);
  const { registry, varDir } = yard;
  const archives = temporaryFolder(t);
  const settings = yard.config();
  const config = {
    ...settings,
    archive: {
      uri: archives,
      s3: { ...settings.archive.s3, endpoint: 'http://127.0.0.1:1', forcePathStyle: true },
    },
    migration: { ...settings.migration, pollIntervalMs: 100, leaseMs: 600 },
  };
  const route = async (...targets: readonly (readonly [string, number])[]): Promise<void> => {
    await registry.routes.change({
      corpus: CORPUS,
      targets: targets.map(([name, weightBps]) => ({
        ...({ version: name, build: null, role: weightBps > 0 ? 'active' : 'draining', weightBps } as const),
        ...({ tier: 'ssd', mirrorBps: 0 } as const),
      })),
      expectedRevision: (await registry.routes.get(CORPUS)).revision,
      force: true,
      ...AUTHOR,
    });
  };
  // One that was at it is gone, before this gateway comes.
  await route(['v2', 10_000], ['v1', 0]);
  const asked = { actor: 'operator', reason: 'v2 serves' };
  const { retirementId } = await registry.retirements.start(V1, { place: archives, quietDays: 0 }, asked);
  t.ok(await registry.retirements.takeLease(retirementId, 'dead', 1_000));
  t.notOk(await registry.retirements.takeLease(retirementId, 'another', 1_000), 'one has it at a time');
  const gateway = await startGateway(config, silentLog);
  t.teardown(() => gateway.close());
  const admin = adminUrl(gateway);
  const version = `${admin}/v1/corpora/${CORPUS}/versions/v1`;
  const adminPort = ['--admin-port', new URL(admin).port];
  const copies = (): number => readdirSync(path.join(varDir, 'bundles', CORPUS, 'v1')).length;
  const ended = async (): Promise<RetirementView> =>
    (
      await until('the retirement ended', async () => {
        const { body } = await ask<RetirementView>(`${version}/retirement`);
        return body.finished_at === null ? null : body;
      })
    ).value;

  await t.test('a gateway that died is followed by another one', async (t) => {
    const view = await ended();
    t.match(view, { state: 'completed', why: null, driver: null, actor: 'operator', reason: 'v2 serves' });
    t.same(
      view.steps.map(({ step }) => step),
      ORDER,
    );
    t.equal(copies(), 0);
    t.match(await registry.archives.list(V1), [{ verifiedAt: Date, deletedAt: Date }]);
    const audit = await registry.changes.list({ subject: `corpus_version ${CORPUS}/v1` });
    t.match(
      audit.map(({ after }) => after).slice(0, 6),
      [
        { retirement: 'completed' },
        { step: 'deleted' },
        { status: 'archived' },
        { step: 'verified' },
        { archive: String },
        { retirement: 'running', place: archives },
      ],
      'latest first',
    );
  });

  await t.test('what stands against it is said at once, and nothing is begun', async (t) => {
    const restored = await switchyard(varDir, 'restore', `${CORPUS}/v1`, '--reason', 'a test', ...adminPort);
    t.equal(restored.code, 0, restored.stderr);
    await route(['v1', 10_000]);
    const refused = await ask<{ reason: string; detail: string }>(`${version}:retire`, 'POST', AUTHOR);
    t.match(refused, { status: 409, body: { reason: 'VERSION_IN_USE', detail: /it serves 100\.00 %/ } });
    const other = `${admin}/v1/corpora/${CORPUS}/versions/v2/retirement`;
    t.match(await ask(other), { status: 404, body: { reason: 'UNKNOWN_RETIREMENT' } });
    const none = await switchyard(varDir, 'corpus', 'retire', CORPUS, 'v2', '--status', ...adminPort);
    t.match(none.stderr, /UNKNOWN_RETIREMENT/);
  });

  await t.test('a place that is away is tried again, said, and can be cancelled', async (t) => {
    await route(['v2', 10_000], ['v1', 0]);
    await registry.retirements.start(V1, { place: 's3://nowhere/x', quietDays: 0 }, AUTHOR);
    const waiting = await until('it says why', async () => {
      const { body } = await ask<RetirementView>(`${version}/retirement`);
      return body.why === null ? null : body;
    });
    t.match(waiting.value, {
      state: 'running',
      why: /^ARCHIVE_UNAVAILABLE/,
      steps: [{ step: 'drain' }],
      driver: gateway.gatewayId,
    });
    const again = await ask<RetirementView>(`${version}:retire`, 'POST', { ...AUTHOR, quiet_days: 0 });
    t.match(
      again.body,
      { retirement_id: waiting.value.retirement_id, place: 's3://nowhere/x' },
      'there is one',
    );
    const cancelled = await ask<RetirementView>(`${version}/retirement:cancel`, 'POST', AUTHOR);
    t.match(cancelled.body, { state: 'cancelled', why: AUTHOR.reason, driver: null });
    t.match(await ask(`${version}/retirement:cancel`, 'POST', AUTHOR), { status: 409 });
    t.equal(copies(), 1, 'the serving copy is there');
  });

  await t.test(
    'the command asks the gateway and stays until it is done; over gRPC it says the same',
    async (t) => {
      const words = ['corpus', 'retire', CORPUS, 'v1', '--quiet-days', '0'];
      const done = await switchyard(varDir, ...words, '--reason', 'a test', ...adminPort);
      t.match(done.stdout, /docs\/v1 is retired\. `switchyard restore docs\/v1` brings it back/, done.stderr);
      for (const step of ORDER) t.match(done.stderr, new RegExp(`^${step}: `, 'm'));
      t.equal(copies(), 0);
      const shown = await switchyard(
        varDir,
        'corpus',
        'retire',
        CORPUS,
        'v1',
        '--status',
        '--json',
        ...adminPort,
      );
      const view = JSON.parse(shown.stdout) as RetirementView;
      t.match(view, { state: 'completed', quiet_days: 0, place: archives });
      const { adminGrpc } = gateway.addresses;
      const over = await overGrpc(`${adminGrpc.host}:${adminGrpc.port}`, V1);
      t.match(over, {
        retirement_id: view.retirement_id,
        state: 'RETIREMENT_STATE_COMPLETED',
        steps: ORDER.map((step) => ({ step: `RETIREMENT_STEP_KIND_${step.toUpperCase()}` })),
      });
    },
  );
});
