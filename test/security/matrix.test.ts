import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { Client, credentials, Metadata, Server, type ServiceError } from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import type { FastifyInstance } from 'fastify';
import t, { type Test } from 'tap';
import { loadAdminProtos, loadProtos } from '../../src/gateway/grpc/protos.js';
import { contract, grpcRefused, httpOutcome, startGateway } from '../gateway/harness.js';
import { bearer, KEYED_LISTENERS, makeKey, ringOf } from './keys.js';

/** What each address and method needs. One that is served and not in here fails the test, and so does the reverse. */
const SEARCH = 'search';
const KEY = 'key';
const OBSERVE = 'observe';
const OPERATE = 'operate';
const ADMINISTER = 'administer';
const LISTED: Readonly<Record<string, readonly string[]>> = {
  open: [
    'http GET /livez',
    'http GET /readyz',
    'http GET /healthz',
    'admin GET /livez',
    'grpc /grpc.health.v1.Health/Check',
    'grpc /grpc.health.v1.Health/Watch',
    'grpc /grpc.health.v1.Health/List',
    'adminGrpc /grpc.health.v1.Health/Check',
    'adminGrpc /grpc.health.v1.Health/Watch',
    'adminGrpc /grpc.health.v1.Health/List',
  ],
  [SEARCH]: [
    'http GET /openapi.json',
    'http POST /v1/search',
    'http POST /v1/search:batch',
    'http POST /v1/embed',
    'grpc /switchyard.v1.SearchService/Search',
    'grpc /switchyard.v1.SearchService/BatchSearch',
    'grpc /switchyard.v1.SearchService/Embed',
  ],
  [KEY]: [
    'grpc /grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
    'grpc /grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo',
    'adminGrpc /grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
    'adminGrpc /grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo',
  ],
  [OBSERVE]: ['admin GET /v1/status', 'admin GET /metrics'],
  [ADMINISTER]: [
    'admin GET /v1/keys',
    'admin POST /v1/keys',
    'admin POST /v1/keys/{key_id}:rotate',
    'admin POST /v1/keys/{key_id}:revoke',
    ...['ListKeys', 'CreateKey', 'RotateKey', 'RevokeKey'].map(
      (name) => `adminGrpc /switchyard.v1.KeyService/${name}`,
    ),
  ],
  [OPERATE]: [
    'admin GET /openapi.json',
    'admin GET /v1/storage',
    'admin GET /v1/models/{model}',
    'admin POST /v1/models',
    'admin GET /v1/corpora/{corpus}/versions/{version}/builds/{build}',
    'admin POST /v1/corpora/{corpus}/builds',
    'admin POST /v1/corpora/{corpus}/versions/{version}:fail',
    'admin PUT /v1/corpora/{corpus}/versions/{version}',
    'admin GET /v1/routes',
    'admin GET /v1/routes/{corpus}',
    'admin PUT /v1/routes/{corpus}',
    'admin POST /v1/routes/{corpus}:rollback',
    'admin GET /v1/routes/{corpus}/revisions',
    'admin GET /v1/comparisons/{corpus}',
    'admin GET /v1/gateways',
    'admin GET /v1/migrations',
    'admin GET /v1/migrations/{corpus}',
    'admin POST /v1/migrations/{corpus}',
    'admin GET /v1/migrations/{corpus}/events',
    'admin GET /v1/migrations/{corpus}/report',
    ...['promote', 'pause', 'resume', 'abort', 'rollback'].map(
      (verb) => `admin POST /v1/migrations/{corpus}:${verb}`,
    ),
    'admin GET /v1/corpora/{corpus}/desired-targets',
    'admin POST /v1/corpora/{corpus}/desired-targets',
    'admin DELETE /v1/corpora/{corpus}/desired-targets/{version}',
    'admin GET /v1/models',
    'admin PATCH /v1/models/{model}',
    'admin GET /v1/corpora',
    'admin GET /v1/corpora/{corpus}/versions',
    'admin POST /v1/corpora/{corpus}/versions/{version}:archive',
    'admin POST /v1/corpora/{corpus}/versions/{version}:retire',
    'admin GET /v1/corpora/{corpus}/versions/{version}/retirement',
    'admin POST /v1/corpora/{corpus}/versions/{version}/retirement:cancel',
    'admin GET /v1/corpora/{corpus}/builds',
    'admin PUT /v1/corpora/{corpus}/versions/{version}/default-build',
    'admin GET /v1/consumers',
    'admin POST /v1/consumers',
    'admin PATCH /v1/consumers/{consumer_id}',
    'admin GET /v1/traffic',
    'admin GET /v1/archives',
    'admin POST /v1/archives',
    'admin PATCH /v1/archives',
    'admin GET /v1/changes',
    'admin GET /v1/golden-sets',
    'admin GET /v1/golden-sets/{golden_set}/queries',
    'admin POST /v1/golden-sets/{golden_set}/queries',
    'admin POST /v1/golden-sets/{golden_set}:seal',
    'admin GET /v1/evaluations',
    'admin POST /v1/evaluations',
    'admin POST /v1/evaluations/{evaluation_id}/scores',
    'admin POST /v1/evaluations/{evaluation_id}:finish',
    'admin POST /v1/evaluations/{evaluation_id}:compare',
    ...['ListGoldenSets', 'ListGoldenQueries', 'AddGoldenQueries', 'SealGoldenSet', 'ListEvaluations'].map(
      (name) => `adminGrpc /switchyard.v1.EvaluationService/${name}`,
    ),
    ...['BeginEvaluation', 'AddEvaluationScores', 'FinishEvaluation', 'CompareEvaluations'].map(
      (name) => `adminGrpc /switchyard.v1.EvaluationService/${name}`,
    ),
    ...['List', 'Start', 'Get', 'Promote', 'Pause', 'Resume', 'Abort', 'Rollback'].map(
      (verb) => `adminGrpc /switchyard.v1.MigrationService/${verb}Migration${verb === 'List' ? 's' : ''}`,
    ),
    ...['ListMigrationEvents', 'GetMigrationReport'].map(
      (name) => `adminGrpc /switchyard.v1.MigrationService/${name}`,
    ),
    ...['ListRoutes', 'GetRoute', 'UpdateRoute', 'RollbackRoute', 'ListRouteRevisions', 'WatchRoute'].map(
      (name) => `adminGrpc /switchyard.v1.RouterService/${name}`,
    ),
    ...['ListDesiredTargets', 'AddDesiredTarget', 'RemoveDesiredTarget', 'GetComparison'].map(
      (name) => `adminGrpc /switchyard.v1.RouterService/${name}`,
    ),
    ...['ListModels', 'SetModelStatus', 'ListCorpusVersions', 'ArchiveCorpusVersion', 'ListBuilds'].map(
      (name) => `adminGrpc /switchyard.v1.RegistryService/${name}`,
    ),
    ...['BeginCorpusVersion', 'FailCorpusVersion', 'GetBuild', 'GetModel', 'GetStorage', 'ListChanges'].map(
      (name) => `adminGrpc /switchyard.v1.RegistryService/${name}`,
    ),
    ...['RecordBuild', 'RegisterModel'].map((name) => `adminGrpc /switchyard.v1.RegistryService/${name}`),
    ...['RetireCorpusVersion', 'GetRetirement', 'CancelRetirement'].map(
      (method) => `adminGrpc /switchyard.v1.RegistryService/${method}`,
    ),
    ...['ListTraffic', 'ListArchives', 'RecordArchive', 'NoteArchive'].map(
      (method) => `adminGrpc /switchyard.v1.RegistryService/${method}`,
    ),
    ...['SetDefaultBuild', 'ListConsumers', 'AddConsumer', 'SetConsumerMigrated', 'ListGateways'].map(
      (name) => `adminGrpc /switchyard.v1.RegistryService/${name}`,
    ),
  ],
};

/** What may be got may be asked for its head, with the same key. */
const EXPECTED: typeof LISTED = Object.fromEntries(
  Object.entries(LISTED).map(([access, entries]) => [
    access,
    [
      ...entries,
      ...entries.filter((entry) => / GET /.test(entry)).map((entry) => entry.replace(' GET ', ' HEAD ')),
    ],
  ]),
);
/** Its answer has no body to say so. */
const REASON_OF_HEAD: Readonly<Record<number, string>> = { 401: 'UNAUTHENTICATED', 403: 'PERMISSION_DENIED' };

const HOUR_MS = 3_600_000;
const KEYS = {
  search: makeKey(),
  animals: makeKey({ corpora: ['animals'] }),
  other: makeKey({ corpora: ['other'] }),
  monitor: makeKey({ role: 'monitor' }),
  operator: makeKey({ role: 'operator' }),
  admin: makeKey({ role: 'admin' }),
  expired: makeKey({ role: 'admin', expiresAt: new Date(Date.now() - HOUR_MS) }),
  revoked: makeKey({ role: 'admin', revokedAt: new Date(Date.now() - HOUR_MS) }),
  expiredSearch: makeKey({ expiresAt: new Date(Date.now() - HOUR_MS) }),
  revokedSearch: makeKey({ revokedAt: new Date(Date.now() - HOUR_MS) }),
  expiredOperator: makeKey({ role: 'operator', expiresAt: new Date(Date.now() - HOUR_MS) }),
  revokedOperator: makeKey({ role: 'operator', revokedAt: new Date(Date.now() - HOUR_MS) }),
};
/** A key that the registry has not, one whose secret is wrong, and things that are none. */
const NO_KEYS = {
  none: null,
  unknown: `Bearer ${makeKey().token}`,
  wrongSecret: `Bearer ${KEYS.admin.token.slice(0, -1)}${KEYS.admin.token.endsWith('0') ? '1' : '0'}`,
  cut: `Bearer ${KEYS.admin.token.slice(0, -1)}`,
  otherScheme: `Basic ${Buffer.from(`admin:${KEYS.admin.token}`).toString('base64')}`,
  bare: KEYS.admin.token,
  empty: 'Bearer ',
};

const authorizations: Readonly<Record<string, string | null>> = {
  ...NO_KEYS,
  ...Object.fromEntries(Object.entries(KEYS).map(([name, { token }]) => [name, `Bearer ${token}`])),
};
const OF_ACCESS: Readonly<Record<string, readonly string[]>> = {
  open: Object.keys(authorizations),
  search: ['search', 'animals', 'other', 'operator', 'admin'],
  key: ['search', 'animals', 'other', 'monitor', 'operator', 'admin'],
  observe: ['monitor', 'operator', 'admin'],
  operate: ['operator', 'admin'],
  administer: ['admin'],
};
const VALID: readonly string[] = OF_ACCESS.key ?? [];

/** `/v1/routes/:corpus(^[^:]+)::rollback` of fastify as `/v1/routes/{corpus}:rollback`. */
const addressOf = (url: string): string =>
  url
    .replaceAll('::', '\0')
    .replaceAll(/:(\w+)(\([^)]*\))?/g, '{$1}')
    .replaceAll('\0', ':');

/** grpc-js servers that are given a service from now on. */
function serversSeen(t: Test): ReadonlySet<Server> {
  const seen = new Set<Server>();
  const { addService } = Server.prototype;
  Server.prototype.addService = function (this: Server, ...given): void {
    seen.add(this);
    addService.apply(this, given);
  };
  t.teardown(() => {
    Server.prototype.addService = addService;
  });
  return seen;
}

/** What a running server has handlers for: the map that it looks every call up in. */
const methodsOf = (server: Server): string[] => [
  ...(server as unknown as { readonly handlers: ReadonlyMap<string, unknown> }).handlers.keys(),
];

function methodsIn(definition: PackageDefinition): string[] {
  return Object.values(definition).flatMap((part) =>
    'format' in part ? [] : Object.values(part).map((method) => (method as { path: string }).path),
  );
}

t.test('every route and method × every kind of key', async (t) => {
  const apps: FastifyInstance[] = [];
  const routes = new Map<FastifyInstance, Set<string>>();
  const onApp = (message: unknown): void => {
    const { fastify } = message as { fastify: FastifyInstance };
    const found = new Set<string>();
    apps.push(fastify);
    routes.set(fastify, found);
    fastify.addHook('onRoute', ({ method, url }) => {
      for (const one of [method].flat()) found.add(`${one} ${addressOf(url)}`);
    });
  };
  subscribe('fastify.initialization', onApp);
  const servers = serversSeen(t);
  const gateway = await startGateway({ listen: KEYED_LISTENERS, keys: ringOf(Object.values(KEYS)) });
  unsubscribe('fastify.initialization', onApp);
  t.teardown(() => gateway.close());

  const [publicApp, adminApp] = apps;
  if (publicApp === undefined || adminApp === undefined) throw new Error('the listeners were not seen');
  const methods = [...servers].map(methodsOf);
  t.equal(methods.length, 2, 'two servers of gRPC');
  const isPublic = (paths: readonly string[]): boolean =>
    paths.some((path) => path.startsWith('/switchyard.v1.SearchService/'));
  const served = [
    ...[...(routes.get(publicApp) ?? [])].map((route) => `http ${route}`),
    ...[...(routes.get(adminApp) ?? [])].map((route) => `admin ${route}`),
    ...methods.flatMap((paths) => paths.map((path) => `${isPublic(paths) ? 'grpc' : 'adminGrpc'} ${path}`)),
  ];
  t.same(served.sort(), Object.values(EXPECTED).flat().sort(), 'the matrix has what is served, and no more');
  for (const [kind, { definition }] of [
    ['grpc', loadProtos()],
    ['adminGrpc', loadAdminProtos()],
  ] as const)
    for (const path of methodsIn(definition)) t.ok(served.includes(`${kind} ${path}`), `${path} is served`);

  const clients = {
    grpc: new Client(gateway.grpcAddress, credentials.createInsecure()),
    adminGrpc: new Client(
      `127.0.0.1:${gateway.faces.addresses.adminGrpc.port}`,
      credentials.createInsecure(),
    ),
  };
  t.teardown(() => {
    for (const client of Object.values(clients)) client.close();
  });
  const bases: Readonly<Record<string, string>> = { http: gateway.url, admin: gateway.adminUrl };

  const reasonOfHttp = async (
    base: string,
    method: string,
    address: string,
    authorization: string | null,
  ) => {
    const response = await fetch(base + address.replaceAll(/\{\w+\}/g, 'x'), {
      method,
      headers: {
        'content-type': 'application/json',
        ...(authorization === null ? {} : { authorization }),
      },
      ...(method === 'GET' || method === 'HEAD' || method === 'DELETE' ? {} : { body: '{}' }),
    });
    if (response.ok) {
      await response.text();
      return 'OK';
    }
    if (response.status === 401) t.equal(response.headers.get('www-authenticate'), 'Bearer');
    if (method === 'HEAD') return REASON_OF_HEAD[response.status] ?? 'let in';
    return (await httpOutcome(response)).reason;
  };
  const reasonOfGrpc = (client: Client, path: string, authorization: string | null): Promise<string> =>
    new Promise((resolve) => {
      const metadata = new Metadata();
      if (authorization !== null) metadata.set('authorization', authorization);
      const identity = (bytes: Buffer): Buffer => bytes;
      // A stream that was let in stays open: its deadline ends it.
      const deadline = Date.now() + (path.includes('/Watch') ? 100 : 60_000);
      client.makeUnaryRequest(path, identity, identity, Buffer.alloc(0), metadata, { deadline }, (error) =>
        resolve(error === null ? 'OK' : grpcRefused(error as ServiceError).reason),
      );
    });

  for (const [access, entries] of Object.entries(EXPECTED)) {
    for (const entry of entries) {
      const [listener = '', ...rest] = entry.split(' ');
      const results = await Promise.all(
        Object.entries(authorizations).map(async ([kind, authorization]) => {
          const reason =
            listener === 'grpc' || listener === 'adminGrpc'
              ? await reasonOfGrpc(clients[listener], rest[0] ?? '', authorization)
              : await reasonOfHttp(bases[listener] ?? '', rest[0] ?? '', rest[1] ?? '', authorization);
          return [kind, reason === 'UNAUTHENTICATED' || reason === 'PERMISSION_DENIED' ? reason : 'let in'];
        }),
      );
      const expected = Object.keys(authorizations).map((kind) => [
        kind,
        OF_ACCESS[access]?.includes(kind) === true
          ? 'let in'
          : VALID.includes(kind)
            ? 'PERMISSION_DENIED'
            : 'UNAUTHENTICATED',
      ]);
      t.same(Object.fromEntries(results), Object.fromEntries(expected), entry);
    }
  }
});

t.test('a key of one corpus searches no other, and cannot tell whether it exists', async (t) => {
  const gateway = await startGateway({ listen: KEYED_LISTENERS, keys: ringOf(Object.values(KEYS)) });
  t.teardown(() => gateway.close());
  const search = (corpus: string) => ({ corpus, text: 'a fish', top_k: 1 });
  const askGrpc = (method: 'Search' | 'BatchSearch', body: object, token: string): Promise<string> =>
    new Promise((resolve) => {
      const metadata = new Metadata();
      metadata.set('authorization', `Bearer ${token}`);
      const identity = (bytes: Buffer): Buffer => bytes;
      const message = Buffer.from(
        contract.lookupType(`switchyard.v1.${method}Request`).encode(body).finish(),
      );
      const path = `/switchyard.v1.SearchService/${method}`;
      gateway.client.makeUnaryRequest(path, identity, identity, message, metadata, (error) =>
        resolve(error === null ? 'OK' : grpcRefused(error).reason),
      );
    });
  const ask = async (kind: keyof typeof KEYS, corpus: string) => {
    const { token } = KEYS[kind];
    const [single, batch] = await Promise.all([
      gateway.post('/v1/search', search(corpus), bearer(token)),
      gateway.post('/v1/search:batch', { requests: [search(corpus)] }, bearer(token)),
    ]);
    const asked = { corpus, text: 'a fish', topK: 1 };
    return new Set([
      single.reason,
      batch.reason,
      await askGrpc('Search', asked, token),
      await askGrpc('BatchSearch', { requests: [asked] }, token),
    ]);
  };
  t.same(await ask('animals', 'animals'), new Set(['OK']));
  t.same(await ask('search', 'animals'), new Set(['OK']));
  t.same(await ask('operator', 'animals'), new Set(['OK']));
  t.same(await ask('other', 'animals'), new Set(['PERMISSION_DENIED']));
  t.same(await ask('other', 'nowhere'), new Set(['PERMISSION_DENIED']));
  const known = await gateway.post('/v1/search', search('animals'), bearer(KEYS.other.token));
  const unknown = await gateway.post('/v1/search', search('missing'), bearer(KEYS.other.token));
  t.equal(known.message.replace('animals', 'missing'), unknown.message);
});

t.test('probes without a key learn no name of a corpus', async (t) => {
  const gateway = await startGateway({ listen: KEYED_LISTENERS, keys: ringOf([]) });
  t.teardown(() => gateway.close());
  for (const path of ['/livez', '/readyz', '/healthz']) {
    const text = await (await fetch(gateway.url + path)).text();
    t.notMatch(text, /animals|corpora|degraded/, path);
  }
});
