import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Listener } from '../../config/config.js';
import { packageVersion } from '../../package-root.js';
import type { AdminViews, FaceContext } from '../faces.js';
import { createHttpApp, listen } from '../http/app.js';
import { fastifyPath, methodsByAddress } from './address.js';
import { type AdminApi, type OperationName, operationNames, operationOf } from './api.js';
import { ACTOR_HEADER } from './callers.js';
import { type HttpCall, inputReader } from './http-call.js';
import { adminOpenApi, VIEW_ADDRESSES } from './openapi.js';
import { isRevised } from './operation.js';
import { conflictEtag, etagOf } from './precondition.js';
import { RouteView } from './views.js';

/** A route of 64 targets with a reason at its longest takes a tenth of it. */
const BODY_BYTES_MAX = 262_144;
const JSON_TYPE = 'application/json; charset=utf-8';
/** What only shows how the gateway is: a scraper needs no key that could change anything. */
const OBSERVED = { config: { access: 'observe' } } as const;

export interface AdminFaceOptions {
  readonly api: AdminApi;
  readonly views: AdminViews;
  readonly listener: Listener;
  readonly context: FaceContext;
}

export interface AdminFace {
  readonly address: Listener;
  close(): Promise<void>;
}

/** Operators' HTTP listener: the admin API, metrics, and what the gateway knows about itself. */
export async function startAdminFace({
  api,
  views,
  listener,
  context,
}: AdminFaceOptions): Promise<AdminFace> {
  const readOnly = VIEW_ADDRESSES.map((address) => ({ method: 'GET', address }));
  const app = createHttpApp(context, BODY_BYTES_MAX, methodsByAddress([...places(), ...readOnly]), 'operate');
  app.addHook('onRequest', async (request, reply) => {
    if (request.routeOptions.config.access === 'open') return;
    context.overload.enterAdmin();
    reply.raw.once('close', () => context.overload.leaveAdmin());
  });
  addAdminRoutes(app, api, views);
  const address = await listen(app, 'admin_http', listener);
  return {
    address,
    close: async () => {
      const closed = app.close();
      app.server.closeAllConnections();
      await closed;
    },
  };
}

/** All that the listener answers. */
export function addAdminRoutes(app: FastifyInstance, api: AdminApi, views: AdminViews): void {
  for (const { name, method, address } of places()) {
    const { access } = operationOf(name);
    const config = access === undefined ? {} : { access };
    app.route({ method, url: fastifyPath(address), config, handler: handlerOf(name, address, api) });
  }
  app.get('/v1/status', OBSERVED, async (_request, reply) => sendJson(reply, await views.status()));
  app.get('/livez', { config: { access: 'open' } }, async (_request, reply) =>
    sendJson(reply, { alive: true }),
  );
  app.get('/metrics', OBSERVED, async (_request, reply) => {
    const { contentType, text } = await views.metrics();
    return reply.header('content-type', contentType).send(text);
  });
  const openApi = JSON.stringify(adminOpenApi(packageVersion()));
  app.get('/openapi.json', async (_request, reply) => reply.type(JSON_TYPE).send(openApi));
}

/** Every operation at each of its addresses. */
const places = () =>
  operationNames.flatMap((name) => {
    const { method, address, alsoAt } = operationOf(name);
    return [address, ...(alsoAt === undefined ? [] : [alsoAt])].map((place) => ({
      name,
      method,
      address: place,
    }));
  });

function handlerOf(name: OperationName, address: string, api: AdminApi) {
  const operation = operationOf(name);
  const read = inputReader(operation, address);
  const run = api[name].bind(api) as (input: object) => Promise<unknown>;
  return async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    try {
      const answer = await run(read(callOf(request)));
      if (operation.output === null) return reply.code(204).send();
      // What only admins may read, keys above all, is kept by nothing between here and them.
      if (operation.access === 'administer') reply.header('cache-control', 'no-store');
      if (operation.output === RouteView) reply.header('etag', etagOf((answer as RouteView).revision));
      return sendJson(reply, operation.envelope === undefined ? answer : { [operation.envelope]: answer });
    } catch (error) {
      const current = isRevised(operation) ? conflictEtag(error) : null;
      if (current !== null) reply.header('etag', current);
      throw error;
    }
  };
}

function callOf(request: FastifyRequest): HttpCall {
  const actor = request.headers[ACTOR_HEADER];
  return {
    params: request.params as HttpCall['params'],
    query: request.query as HttpCall['query'],
    body: request.body,
    headers: request.headers,
    actor: typeof actor === 'string' && actor !== '' ? actor : null,
    keyId: request.caller.keyId,
  };
}

const sendJson = (reply: FastifyReply, value: unknown): FastifyReply =>
  reply.type(JSON_TYPE).send(JSON.stringify(value));
