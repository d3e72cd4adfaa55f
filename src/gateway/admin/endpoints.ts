import type { TSchema } from '@sinclair/typebox';
import { invalidArgument } from '../limits.js';
import type { AdminApi, Author } from './api.js';
import { ACTOR_DEFAULT, listLimit } from './callers.js';
import { etagOf, expectedRevision, type PreconditionHeaders } from './precondition.js';
import * as bodies from './schemas.js';
import type { RouteView } from './views.js';

/** A request whose body has the structure of the endpoint's schema and whose query has no other names. */
export interface AdminRequest {
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string>>;
  readonly body: unknown;
  readonly headers: PreconditionHeaders;
  /** Of the header x-switchyard-actor; null where there is none. */
  readonly actor: string | null;
}

export interface AdminAnswer {
  /** Null: nothing, status 204. */
  readonly body: unknown;
  readonly etag?: string;
}

export interface Endpoint {
  readonly method: 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE';
  readonly address: string;
  readonly body: TSchema | null;
  readonly query: readonly string[];
  run(api: AdminApi, request: AdminRequest): Promise<AdminAnswer>;
}

const get = (
  address: string,
  query: readonly string[],
  run: (api: AdminApi, request: AdminRequest) => Promise<unknown>,
): Endpoint => ({
  method: 'GET',
  address,
  body: null,
  query,
  run: async (api, request) => ({ body: await run(api, request) }),
});

const change = <Body extends { readonly reason: string; readonly actor?: string }>(
  method: 'PUT' | 'POST' | 'PATCH',
  address: string,
  body: TSchema,
  run: (api: AdminApi, body: Body & Author, request: AdminRequest) => Promise<AdminAnswer>,
): Endpoint => ({
  method,
  address,
  body,
  query: [],
  run: (api, request) => {
    const given = request.body as Body;
    return run(api, { ...given, actor: given.actor ?? request.actor ?? ACTOR_DEFAULT }, request);
  },
});

const tagged = (view: RouteView): AdminAnswer => ({ body: view, etag: etagOf(view.revision) });
const param = ({ params }: AdminRequest, name: string): string => params[name] ?? '';

const ROUTES: readonly Endpoint[] = [
  get('/v1/routes', [], async (api) => ({ routes: await api.listRoutes() })),
  {
    method: 'GET',
    address: '/v1/routes/{corpus}',
    body: null,
    query: [],
    run: async (api, request) => tagged(await api.getRoute(param(request, 'corpus'))),
  },
  change<bodies.RouteBody>('PUT', '/v1/routes/{corpus}', bodies.RouteBody, async (api, body, request) =>
    tagged(
      await api.changeRoute({
        ...body,
        corpus: param(request, 'corpus'),
        expected_revision: expectedRevision(request.headers),
        force: body.force ?? false,
      }),
    ),
  ),
  change<bodies.RollbackBody>(
    'POST',
    '/v1/routes/{corpus}:rollback',
    bodies.RollbackBody,
    async (api, body, request) =>
      tagged(
        await api.rollBackRoute({
          ...body,
          corpus: param(request, 'corpus'),
          expected_revision: expectedRevision(request.headers),
          force: body.force ?? false,
        }),
      ),
  ),
  get('/v1/routes/{corpus}/revisions', ['limit'], async (api, request) => ({
    revisions: await api.listRevisions(param(request, 'corpus'), limitOf(request)),
  })),
  get('/v1/comparisons/{corpus}', [], (api, request) => api.getComparison(param(request, 'corpus'))),
];

const REPLICAS: readonly Endpoint[] = [
  get('/v1/gateways', [], async (api) => ({ gateways: await api.listGateways() })),
  get('/v1/corpora/{corpus}/desired-targets', [], async (api, request) => ({
    desired_targets: await api.listDesiredTargets(param(request, 'corpus')),
  })),
  change<bodies.DesiredTargetBody>(
    'POST',
    '/v1/corpora/{corpus}/desired-targets',
    bodies.DesiredTargetBody,
    async (api, body, request) => ({
      body: await api.addDesiredTarget({ ...body, corpus: param(request, 'corpus') }),
    }),
  ),
  {
    method: 'DELETE',
    address: '/v1/corpora/{corpus}/desired-targets/{version}',
    body: null,
    query: ['build', 'reason', 'actor'],
    run: async (api, request) => {
      const { build, reason, actor } = request.query;
      if (reason === undefined)
        throw invalidArgument('reason', 'the query parameter reason is missing: say why');
      await api.removeDesiredTarget({
        corpus: param(request, 'corpus'),
        version: param(request, 'version'),
        reason,
        actor: actor ?? request.actor ?? ACTOR_DEFAULT,
        ...(build === undefined ? {} : { build }),
      });
      return { body: null };
    },
  },
];

const REGISTRY: readonly Endpoint[] = [
  get('/v1/models', [], async (api) => ({ models: await api.listModels() })),
  change<bodies.ModelStatusBody>(
    'PATCH',
    '/v1/models/{model}',
    bodies.ModelStatusBody,
    async (api, body, request) => ({
      body: await api.setModelStatus({ ...body, model: param(request, 'model') }),
    }),
  ),
  get('/v1/corpora', [], async (api) => ({ corpus_versions: await api.listCorpusVersions(null) })),
  get('/v1/corpora/{corpus}/versions', [], async (api, request) => ({
    corpus_versions: await api.listCorpusVersions(param(request, 'corpus')),
  })),
  change<bodies.ArchiveBody>(
    'POST',
    '/v1/corpora/{corpus}/versions/{version}:archive',
    bodies.ArchiveBody,
    async (api, body, request) => ({
      body: await api.archiveCorpusVersion({
        ...body,
        corpus: param(request, 'corpus'),
        version: param(request, 'version'),
      }),
    }),
  ),
  get('/v1/corpora/{corpus}/builds', ['version'], async (api, request) => ({
    builds: await api.listBuilds(param(request, 'corpus'), request.query.version ?? null),
  })),
  change<bodies.DefaultBuildBody>(
    'PUT',
    '/v1/corpora/{corpus}/versions/{version}/default-build',
    bodies.DefaultBuildBody,
    async (api, body, request) => ({
      body: await api.setDefaultBuild({
        ...body,
        corpus: param(request, 'corpus'),
        version: param(request, 'version'),
      }),
    }),
  ),
  get('/v1/consumers', ['corpus'], async (api, request) => ({
    consumers: await api.listConsumers(request.query.corpus ?? null),
  })),
  change<bodies.ConsumerBody>('POST', '/v1/consumers', bodies.ConsumerBody, async (api, body) => ({
    body: await api.addConsumer(body),
  })),
  change<bodies.MigratedBody>(
    'PATCH',
    '/v1/consumers/{consumer_id}',
    bodies.MigratedBody,
    async (api, body, request) => ({
      body: await api.setConsumerMigrated({ ...body, consumer_id: param(request, 'consumer_id') }),
    }),
  ),
  get('/v1/changes', ['subject', 'limit'], async (api, request) => ({
    changes: await api.listChanges(request.query.subject ?? null, limitOf(request)),
  })),
];

/** The admin API over HTTP, one line per operation. */
export const ENDPOINTS: readonly Endpoint[] = [...ROUTES, ...REPLICAS, ...REGISTRY];

function limitOf({ query }: AdminRequest): number {
  const { limit } = query;
  return listLimit(limit === undefined ? null : /^\d{1,6}$/.test(limit) ? Number(limit) : Number.NaN);
}
