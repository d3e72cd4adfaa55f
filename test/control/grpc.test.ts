import path from 'node:path';
import { Client, type ClientReadableStream, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import t from 'tap';
import { startGateway } from '../../src/gateway/gateway.js';
import { packageRoot } from '../../src/package-root.js';
import { silentLog } from '../fixtures/postgres.js';
import { clientOf, grpcRefused } from '../gateway/harness.js';
import { send, target, urlOf } from './http.js';
import { CORPUS, makeYard } from './yard.js';

interface Method {
  readonly path: string;
  requestSerialize(message: object): Buffer;
  responseDeserialize(bytes: Buffer): Record<string, unknown>;
}

const definition = loadSync(['switchyard/v1/router.proto', 'switchyard/v1/registry.proto'], {
  keepCase: true,
  defaults: true,
  enums: String,
  longs: Number,
  includeDirs: [path.join(packageRoot(), 'proto')],
});

t.test('the admin services over gRPC', async (t) => {
  const yard = await makeYard(t);
  const gateway = await startGateway(yard.config(), silentLog);
  let closed = false;
  const close = async (): Promise<void> => {
    if (closed) return;
    closed = true;
    await gateway.close();
  };
  t.teardown(close);
  const address = `127.0.0.1:${gateway.addresses.adminGrpc.port}`;
  const admin = urlOf(gateway.addresses.adminHttp);
  const client = new Client(address, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
  t.teardown(() => client.close());

  const method = (service: string, name: string): Method =>
    (definition[`switchyard.v1.${service}`] as unknown as Record<string, Method>)[name] as Method;
  const call = async (service: string, name: string, message: object | Buffer, actor?: string) => {
    const { path: at, requestSerialize, responseDeserialize } = method(service, name);
    const metadata = new Metadata();
    if (actor !== undefined) metadata.set('x-switchyard-actor', actor);
    return new Promise<{
      reason: string;
      status: number | string;
      body: Record<string, unknown>;
      details: unknown;
    }>((resolve) => {
      client.makeUnaryRequest(
        at,
        (given: object) => (Buffer.isBuffer(given) ? given : requestSerialize(given)),
        responseDeserialize,
        message,
        metadata,
        (error: ServiceError | null, body?: Record<string, unknown>) =>
          resolve(
            error === null ? { reason: 'OK', status: 0, body: body ?? {}, details: {} } : grpcRefused(error),
          ),
      );
    });
  };
  const wire = (version: string, weight: number, role = 'TARGET_ROLE_ACTIVE') => ({
    version,
    weight,
    role,
    tier: 'SSD',
  });
  const update = (revision: number | undefined, reason = 'a test', actor?: string) =>
    call(
      'RouterService',
      'UpdateRoute',
      {
        corpus: CORPUS,
        targets: [wire('v1', 10_000)],
        reason,
        ...(revision === undefined ? {} : { expected_revision: revision }),
      },
      actor,
    );

  await t.test('a route is what it is over HTTP', async (t) => {
    const { body } = await call('RouterService', 'GetRoute', { corpus: CORPUS });
    const http = (await send(`${admin}/v1/routes/${CORPUS}`, 'GET')).body as { targets: { build: string }[] };
    t.match(body, {
      corpus: CORPUS,
      revision: 1,
      targets: [
        {
          version: 'v1',
          role: 'TARGET_ROLE_ACTIVE',
          weight: 10_000,
          tier: 'SSD',
          build: http.targets[0]?.build,
        },
      ],
    });
    t.match(await call('RouterService', 'GetRoute', { corpus: 'nothing' }), {
      reason: 'UNKNOWN_CORPUS',
      status: 5,
    });
  });

  await t.test('changes are refused for the same reasons', async (t) => {
    t.match(await update(undefined), { reason: 'PRECONDITION_REQUIRED', status: 9 });
    t.match(await update(7), { reason: 'REVISION_CONFLICT', status: 10, details: { current_revision: '1' } });
    t.match(await update(0), { reason: 'REVISION_CONFLICT', status: 10 });
    t.match(await update(1, ''), { reason: 'INVALID_ARGUMENT', status: 3 });
    const route = { corpus: CORPUS, expected_revision: 1, reason: 'x' };
    const refusals = [
      ['no role', { ...route, targets: [wire('v1', 10_000, 'TARGET_ROLE_UNSPECIFIED')] }, 'INVALID_ARGUMENT'],
      ['weights', { ...route, targets: [wire('v1', 9_000)] }, 'INVALID_ROUTE'],
      ['not loaded', { ...route, targets: [wire('v2', 10_000)] }, 'TARGET_NOT_READY'],
    ] as const;
    for (const [name, message, reason] of refusals)
      t.match(await call('RouterService', 'UpdateRoute', message), { reason }, name);
    t.match(await call('RouterService', 'GetRoute', Buffer.from([0x7a, 0x00])), { reason: 'UNKNOWN_FIELD' });
    t.match(await call('RouterService', 'GetRoute', Buffer.from([0x0a, 0x02, 0xff, 0xff])), {
      reason: 'MALFORMED_REQUEST',
    });
    t.match(await call('RouterService', 'GetRoute', Buffer.from([0x0a, 0x7f])), {
      reason: 'MALFORMED_REQUEST',
    });
  });

  await t.test('of two operators, one here and one over HTTP, one wins', async (t) => {
    const [grpc, http] = await Promise.all([
      update(1, 'by grpc', 'ann'),
      send(
        `${admin}/v1/routes/${CORPUS}`,
        'PUT',
        { targets: [target('v1', 10_000)], reason: 'by http' },
        { 'if-match': '"1"' },
      ),
    ]);
    t.equal(Number(grpc.status === 0) + Number(http.status === 200), 1);
    t.equal(Number(grpc.status === 10) + Number(http.status === 412), 1);
  });

  await t.test(
    'a watcher gets the route at once and after every change, and ends with the gateway',
    async (t) => {
      const { path: at, requestSerialize, responseDeserialize } = method('RouterService', 'WatchRoute');
      const stream: ClientReadableStream<{ revision: number }> = client.makeServerStreamRequest(
        at,
        requestSerialize,
        responseDeserialize as unknown as (bytes: Buffer) => { revision: number },
        { corpus: CORPUS },
      );
      const seen: number[] = [];
      const ended = new Promise<string>((resolve) => {
        stream.on('error', (error: ServiceError) => resolve(grpcRefused(error).reason));
      });
      let wake = (): void => {};
      stream.on('data', ({ revision }: { revision: number }) => {
        seen.push(revision);
        wake();
      });
      const reached = async (revision: number): Promise<void> => {
        while (!seen.includes(revision))
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
      };
      await reached(2);
      t.equal((await update(2, 'again', 'bob')).reason, 'OK');
      await reached(3);
      const rollback = { corpus: CORPUS, expected_revision: 3, to_revision: 1, reason: 'back' };
      t.match((await call('RouterService', 'RollbackRoute', rollback)).body, { revision: 4 });
      await reached(4);
      // A change is answered when it is committed; the watcher is told what this replica has applied.
      t.same(seen, seen[0] === 1 ? [1, 2, 3, 4] : [2, 3, 4]);
      const { body } = await call('RouterService', 'ListRouteRevisions', { corpus: CORPUS, limit: 2 });
      t.match(body.revisions, [
        { revision: 4, rolled_back_to: 1, actor: 'admin', reason: 'back' },
        { revision: 3, actor: 'bob', before: [{ version: 'v1' }], changed_at: { nanos: Number } },
      ]);

      await t.test('models, versions, builds, consumers and gateways', async (t) => {
        t.match((await call('RegistryService', 'ListModels', {})).body, {
          models: [{ dimensions: 384 }, { dimensions: 384 }],
        });
        const [status, model] = ['MODEL_STATUS_DEPRECATED', yard.int8.manifest.fingerprint];
        t.match((await call('RegistryService', 'SetModelStatus', { model, status, reason: 'old' })).body, {
          status,
        });
        const staging = { model, status: 'MODEL_STATUS_STAGING', reason: 'x' };
        t.match(await call('RegistryService', 'SetModelStatus', staging), { reason: 'INVALID_ARGUMENT' });
        t.match((await call('RegistryService', 'ListCorpusVersions', { corpus: CORPUS })).body, {
          corpus_versions: [
            { version: 'v1', status: 'CORPUS_VERSION_STATUS_ACTIVE' },
            { version: 'v2', status: 'CORPUS_VERSION_STATUS_READY' },
          ],
        });
        t.match((await call('RegistryService', 'ListBuilds', { corpus: CORPUS, version: 'v2' })).body, {
          builds: [{ is_default: true, quantization: 'f32', row_count: 8 }],
        });
        const consumer = {
          corpus: CORPUS,
          version: 'v1',
          service_name: 'shop',
          team_owner: 'web',
          migration_deadline: { seconds: 1_800_000_000, nanos: 0 },
          reason: 'it searches',
        };
        const added = await call('RegistryService', 'AddConsumer', consumer);
        t.match(added.body, { service_name: 'shop', migration_deadline: { seconds: 1_800_000_000 } });
        const migrated = { consumer_id: added.body.consumer_id, migrated: true, reason: 'done' };
        t.match((await call('RegistryService', 'SetConsumerMigrated', migrated)).body, { migrated: true });
        t.match((await call('RegistryService', 'ListGateways', {})).body, {
          gateways: [{ gateway_id: gateway.gatewayId, alive: true }],
        });
        const [changed] = (await call('RegistryService', 'ListChanges', { limit: 1 })).body.changes as Record<
          string,
          string
        >[];
        t.match(changed, { reason: 'done', before: '{"migrated":false}', after: '{"migrated":true}' });
        t.match((await call('RegistryService', 'GetModel', { model })).body, { model: /minilm/ });
        t.match((await call('RegistryService', 'GetStorage', {})).body, {
          models_folder: path.join(yard.varDir, 'models'),
        });
        t.match((await call('RouterService', 'GetComparison', { corpus: CORPUS })).body, {
          corpus: CORPUS,
          gateway_id: gateway.gatewayId,
          pairs: [],
        });
      });

      await t.test('models and builds are recorded as over HTTP', async (t) => {
        const author = { actor: 'ann', reason: 'by grpc' };
        const model = yard.fp16.manifest.fingerprint;
        t.match((await call('RegistryService', 'RegisterModel', { fingerprint: model, ...author })).body, {
          fingerprint: model,
        });
        t.match(await call('RegistryService', 'RegisterModel', { fingerprint: '../x', ...author }), {
          reason: 'INVALID_ARGUMENT',
        });
        const version = { corpus: CORPUS, version: 'v1' };
        const found = await call('RegistryService', 'GetBuild', { ...version, build: 'default' });
        t.match(found.body, { is_default: true });
        const { digest } = found.body;
        const recorded = await call('RegistryService', 'RecordBuild', { ...version, digest, ...author });
        t.match(recorded.body, { digest, is_default: true, version: 'v1' });
        const begun = { ...version, version: 'v3', model, document_template: '{text}', ...author };
        t.match((await call('RegistryService', 'BeginCorpusVersion', begun)).body, {
          status: 'CORPUS_VERSION_STATUS_BUILDING',
        });
        const failed = { ...version, version: 'v3', failure: 'no more disk', ...author };
        t.match((await call('RegistryService', 'FailCorpusVersion', failed)).body, {
          failure: 'no more disk',
        });
        t.match(
          await call('RegistryService', 'RecordBuild', { ...version, version: 'v3', digest, ...author }),
          {
            reason: 'UNKNOWN_BUILD',
          },
        );
        const archive = { corpus: CORPUS, version: 'v2', reason: 'gone' };
        t.match((await call('RegistryService', 'ArchiveCorpusVersion', archive)).body, {
          status: 'CORPUS_VERSION_STATUS_ARCHIVED',
        });
      });

      await t.test('health and reflection are here, the public service is not', async (t) => {
        const health = clientOf(
          path.join(
            packageRoot(),
            'node_modules',
            'grpc-health-check',
            'proto',
            'health',
            'v1',
            'health.proto',
          ),
          'grpc.health.v1.Health',
          address,
        ) as unknown as Client & {
          Check(request: object, done: (error: unknown, answer: { status: string }) => void): void;
        };
        t.teardown(() => health.close());
        const check = (service: string) =>
          new Promise<string>((resolve) => {
            health.Check({ service }, (error, answer) => resolve(error ? 'unknown' : answer.status));
          });
        t.equal(await check('switchyard.v1.RouterService'), 'SERVING');
        t.equal(await check('switchyard.v1.SearchService'), 'unknown');
      });

      await close();
      t.equal(await ended, 'SHUTTING_DOWN');
    },
  );
});
