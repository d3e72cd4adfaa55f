import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Listener } from '../../config/config.js';
import { SwitchyardError } from '../../errors.js';
import type { AdminViews, FaceContext } from '../faces.js';
import { createHttpApp, listen } from '../http/app.js';
import { compileStructure } from '../http/structure.js';
import { echo } from '../limits.js';
import { fastifyPath, methodsByAddress } from './address.js';
import type { AdminApi } from './api.js';
import { ACTOR_HEADER } from './callers.js';
import { type AdminRequest, ENDPOINTS, type Endpoint } from './endpoints.js';
import { conflictEtag } from './precondition.js';

/** A route of 64 targets with a reason at its longest takes a tenth of it. */
const BODY_BYTES_MAX = 262_144;
const JSON_TYPE = 'application/json; charset=utf-8';

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
  const readOnly = ['/v1/status', '/livez', '/metrics'].map((address) => ({ method: 'GET', address }));
  const app = createHttpApp(context, BODY_BYTES_MAX, methodsByAddress([...ENDPOINTS, ...readOnly]));
  for (const endpoint of ENDPOINTS)
    app.route({
      method: endpoint.method,
      url: fastifyPath(endpoint.address),
      handler: handlerOf(endpoint, api),
    });
  app.get('/v1/status', async (_request, reply) => sendJson(reply, await views.status()));
  app.get('/livez', async (_request, reply) => sendJson(reply, { alive: true }));
  app.get('/metrics', async (_request, reply) => {
    const { contentType, text } = await views.metrics();
    return reply.header('content-type', contentType).send(text);
  });
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

function handlerOf(endpoint: Endpoint, api: AdminApi) {
  const check = endpoint.body === null ? null : compileStructure(endpoint.body, []);
  return async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    check?.(request.body);
    try {
      const { body, etag } = await endpoint.run(api, adminRequest(request, endpoint));
      if (etag !== undefined) reply.header('etag', etag);
      return body === null ? reply.code(204).send() : sendJson(reply, body);
    } catch (error) {
      const current = conflictEtag(error);
      if (current !== null) reply.header('etag', current);
      throw error;
    }
  };
}

function adminRequest(request: FastifyRequest, endpoint: Endpoint): AdminRequest {
  const query = request.query as Record<string, string | string[]>;
  for (const [name, value] of Object.entries(query)) {
    if (!endpoint.query.includes(name))
      throw new SwitchyardError('UNKNOWN_FIELD', `this address takes no query parameter ${echo(name)}`, {
        details: { field: name.slice(0, 64) },
      });
    if (typeof value !== 'string')
      throw new SwitchyardError('INVALID_ARGUMENT', `the query parameter ${name} is given more than once`, {
        details: { field: name },
      });
  }
  const actor = request.headers[ACTOR_HEADER];
  return {
    params: request.params as Record<string, string>,
    query: query as Record<string, string>,
    body: request.body,
    headers: request.headers,
    actor: typeof actor === 'string' && actor !== '' ? actor : null,
  };
}

const sendJson = (reply: FastifyReply, value: unknown): FastifyReply =>
  reply.type(JSON_TYPE).send(JSON.stringify(value));
