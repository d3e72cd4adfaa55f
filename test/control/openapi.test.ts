import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { FastifyInstance } from 'fastify';
import t from 'tap';
import { REASONS } from '../../src/errors.js';
import { fastifyPath } from '../../src/gateway/admin/address.js';
import { operationNames, operationOf } from '../../src/gateway/admin/api.js';
import { addAdminRoutes } from '../../src/gateway/admin/http-face.js';
import { AdminOperations } from '../../src/gateway/admin/operations.js';
import { ArrivingRequests } from '../../src/gateway/arriving/arriving-requests.js';
import { OPEN_GUARD } from '../../src/gateway/auth/guard.js';
import { ConnectionLimit } from '../../src/gateway/connection-limit.js';
import { loadAdminProtos } from '../../src/gateway/grpc/protos.js';
import { createHttpApp } from '../../src/gateway/http/app.js';
import { Requests } from '../../src/gateway/requests.js';
import { ListenerAnswers } from '../../src/gateway/unread/listener-answers.js';
import { UnreadAnswers } from '../../src/gateway/unread/unread-answers.js';
import { packageRoot } from '../../src/package-root.js';
import { systemTimers } from '../../src/process/timers.js';
import { silentLog } from '../fixtures/postgres.js';
import { UNREAD } from '../gateway/harness.js';

interface Operation {
  readonly operationId?: string;
  readonly parameters?: readonly { readonly name: string; readonly in: string }[];
  readonly requestBody?: {
    readonly content: Record<string, { readonly schema: { readonly required?: string[] } }>;
  };
  readonly responses: Record<string, unknown>;
}
interface Document {
  readonly openapi: string;
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: { readonly schemas: Record<string, unknown> };
}

/** The listener's routes on a server that listens nowhere, with what fastify was told. */
async function adminApp(): Promise<{ readonly app: FastifyInstance; readonly routes: Set<string> }> {
  const metrics = { requestFinished: () => undefined, batchItems: () => undefined };
  const requests = new Requests({ log: silentLog, metrics, tracer: null, slowRequestMs: 0 });
  const connections = new ConnectionLimit(1);
  const context = {
    log: silentLog,
    requests,
    guard: OPEN_GUARD,
    certificates: null,
    arrivalMsMax: 30_000,
    keepaliveMs: 60_000,
    connections,
    listener: 'admin_http' as const,
    arriving: new ArrivingRequests({ bytesMax: 1_000_000, arrivalMsMax: 30_000 }, systemTimers, silentLog),
    answers: new ListenerAnswers(new UnreadAnswers(UNREAD, systemTimers, silentLog), 'admin_http'),
  };
  const app = createHttpApp(context, 65_536, new Map(), 'operate');
  const routes = new Set<string>();
  app.addHook('onRoute', ({ method, url }) => {
    for (const one of Array.isArray(method) ? method : [method])
      if (one !== 'HEAD') routes.add(`${one} ${url}`);
  });
  const api = new AdminOperations({
    registry: () => {
      throw new Error('no operation is called here');
    },
    facts: null,
    storage: { modelsDir: '/nowhere', bundlesDir: '/nowhere' },
    keySecret: () => Promise.reject(new Error('no key is made here')),
  });
  addAdminRoutes(app, api, {
    status: async () => ({}),
    metrics: async () => ({ contentType: 'text/plain', text: '' }),
  });
  await app.ready();
  return { app, routes };
}

t.test('the admin OpenAPI document', async (t) => {
  const { app, routes } = await adminApp();
  t.teardown(() => app.close());
  const document = (await app.inject('/openapi.json')).json() as Document;
  const shown = Object.entries(document.paths).flatMap(([address, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ address, method, operation })),
  );

  t.test('shows every route that the listener has, and no other', async (t) => {
    t.same(
      shown.map(({ method, address }) => `${method.toUpperCase()} ${fastifyPath(address)}`).sort(),
      [...routes].sort(),
    );
    t.ok(shown.length > 25);
  });

  t.test('is whole: references resolve, parameters are those of the address, reasons exist', async (t) => {
    t.equal(document.openapi, '3.1.0');
    const text = JSON.stringify(document);
    for (const [, name] of text.matchAll(/"#\/components\/schemas\/(\w+)"/g))
      t.ok(document.components.schemas[name ?? ''], String(name));
    for (const { address, operation } of shown) {
      const inPath = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path');
      t.same(
        inPath.map(({ name }) => name),
        [...address.matchAll(/\{(\w+)\}/g)].map(([, name]) => name),
        address,
      );
    }
    for (const [, reason] of text.matchAll(/"reason":"([A-Z_]+)"/g))
      t.ok(Object.hasOwn(REASONS, String(reason)), String(reason));
    const ids = shown.flatMap(({ operation }) => operation.operationId ?? []);
    t.equal(new Set(ids).size, ids.length, 'each operation has an id of its own');
  });

  t.test('says what a change must carry, as the listener demands it', async (t) => {
    const put = document.paths['/v1/routes/{corpus}']?.put;
    t.same(put?.requestBody?.content['application/json']?.schema.required, ['targets', 'reason']);
    t.match(put?.parameters, [{ name: 'corpus' }, { name: 'if-match' }, { name: 'if-none-match' }]);
    const response = await app.inject({ method: 'PUT', url: '/v1/routes/x', payload: { targets: [] } });
    t.match(response.json(), { status: 400, detail: /reason/ });
    const undesire = document.paths['/v1/corpora/{corpus}/desired-targets/{version}']?.delete;
    t.match(undesire?.parameters, [{}, {}, { name: 'build' }, { name: 'reason', required: true }]);
  });
});

t.test('the faces have the same operations', async (t) => {
  t.test('gRPC has each of them once', async (t) => {
    const { root } = loadAdminProtos();
    const methods = [
      'RouterService',
      'RegistryService',
      'EvaluationService',
      'MigrationService',
      'KeyService',
    ]
      .flatMap((service) => root.lookupService(`switchyard.v1.${service}`).methodsArray)
      .filter(({ responseStream }) => responseStream !== true)
      .map(({ name }) => `${name.charAt(0).toLowerCase()}${name.slice(1)}`);
    t.same(methods.sort(), [...operationNames].sort());
  });

  t.test('a message of gRPC has every field that the operation takes', async (t) => {
    const { root } = loadAdminProtos();
    for (const name of operationNames) {
      const request = root.lookupType(`switchyard.v1.${name.charAt(0).toUpperCase()}${name.slice(1)}Request`);
      t.same(
        Object.keys(operationOf(name).input.properties).sort(),
        Object.keys(request.fields).sort(),
        name,
      );
    }
  });

  t.test('the command line uses all of them', async (t) => {
    const folder = path.join(packageRoot(), 'src', 'cli');
    const text = readdirSync(folder, { recursive: true })
      .filter((name) => String(name).endsWith('.ts'))
      .map((name) => readFileSync(path.join(folder, String(name)), 'utf8'))
      .join('\n');
    const unused = operationNames.filter((name) => !new RegExp(`admin\\s*\\.${name}\\(`).test(text));
    t.same(unused, []);
  });
});
