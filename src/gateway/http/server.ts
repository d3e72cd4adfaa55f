import type { IncomingHttpHeaders } from 'node:http';
import { Server as NetServer } from 'node:net';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Limits, Listener } from '../../config/config.js';
import { packageVersion } from '../../package-root.js';
import { TRACE_RESPONSE } from '../../telemetry/tracer.js';
import type { Calls } from '../calls.js';
import type { FaceContext } from '../faces.js';
import { invalidArgument, tooManyItems } from '../limits.js';
import type { Readiness } from '../readiness.js';
import { type Operation, type RequestEnd, type RequestScope, scopeOf } from '../requests.js';
import { isEvaluation, TRAFFIC_HEADER, uncounted } from '../traffic-header.js';
import { createHttpApp, listen, reasonOfEnd } from './app.js';
import {
  type BatchBody,
  batchJson,
  type EmbedBody,
  embedInput,
  embedJson,
  type SearchBody,
  searchInput,
  searchJson,
} from './convert.js';
import { openApiDocument, TIMEOUT_HEADER } from './openapi.js';
import { OPERATIONS } from './operations.js';
import { apiSchemas } from './schemas.js';
import { compileStructure } from './structure.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Of the three operations; null before it was let in, and elsewhere. */
    scope: RequestScope | null;
    /** Counted, logged and traced. */
    isFinished: boolean;
  }
}

export interface HttpFaceOptions {
  readonly calls: Calls;
  readonly readiness: Readiness;
  readonly limits: Limits;
  readonly listener: Listener;
  readonly context: FaceContext;
}

export interface HttpFace {
  readonly address: Listener;
  /** No new connections; the open ones close after their request. */
  stopListening(): void;
  /** Closes those that wait for a request. Resolves when the last one is closed. */
  stop(): Promise<void>;
  /** Closes whatever is left. */
  destroy(): void;
}

const JSON_TYPE = 'application/json; charset=utf-8';
const PATH = { search: '/v1/search', batch: '/v1/search:batch', embed: '/v1/embed' } as const;
/** Strings, objects and arrays of one request in a batch: more than twice as many as it has with every field given. */
const PARTS_OF_ITEM_MAX = 64;
const OPEN = { config: { access: 'open' } } as const;
const GET_PATHS = ['/healthz', '/livez', '/readyz', '/openapi.json'] as const;

const headerOf = (headers: IncomingHttpHeaders, name: string): unknown => headers[name];

const isUncounted = (request: FastifyRequest): boolean =>
  isEvaluation(request.headers[TRAFFIC_HEADER], request.caller);

/** Its body was read, however long that took its client. */
function arrived({ scope }: FastifyRequest): void {
  if (scope !== null) scope.arrivedAtMs = performance.now();
}

function working<T>(request: FastifyRequest, work: Promise<T>): Promise<T> {
  request.work = work;
  return work;
}

export async function startHttpFace(options: HttpFaceOptions): Promise<HttpFace> {
  const { calls, readiness, limits, listener, context } = options;
  const methods = new Map<string, readonly string[]>([
    ...Object.values(PATH).map((path): [string, readonly string[]] => [path, ['POST']]),
    ...GET_PATHS.map((path): [string, readonly string[]] => [path, ['GET', 'HEAD']]),
  ]);
  const partsMax = PARTS_OF_ITEM_MAX * (limits.batchItemsMax + 1);
  const app = createHttpApp(context, limits.requestBytesMax, methods, 'search', partsMax);
  const schemas = apiSchemas(limits);
  const checkSearchBody = compileStructure(schemas.SearchRequest, [schemas.Vector]);
  const checkBatchBody = compileStructure(schemas.BatchSearchRequest, [schemas.Vector]);
  const checkEmbedBody = compileStructure(schemas.EmbedRequest, []);

  app.addHook('onSend', (request, reply, payload, done) => {
    if (request.scope !== null) request.scope.answeredAtMs = performance.now();
    // So that clients with a pool of connections leave before these are closed.
    if (readiness.draining) reply.header('connection', 'close');
    done(null, payload);
  });

  const { requests } = context;
  app.decorateRequest('scope', null);
  app.decorateRequest('isFinished', false);
  const finish = (request: FastifyRequest, scope: RequestScope, end: RequestEnd): void => {
    if (request.isFinished) return;
    request.isFinished = true;
    requests.finish(scope, end);
  };
  const count = (operation: Operation) => ({
    onRequest: (request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void): void => {
      const { id, headers, caller } = request;
      const scope = requests.begin('http', operation, id, caller.keyId, headers, headerOf);
      request.scope = scope;
      // `onResponse` does not come for a request whose client went away.
      reply.raw.once('close', () => {
        if (reply.raw.writableFinished) return;
        // Not a client that went away, but one that was sent away.
        finish(request, scope, reasonOfEnd(request.raw.socket) ?? 'CANCELLED');
      });
      if (scope.trace !== null) reply.header(TRACE_RESPONSE, scope.trace.traceResponse);
      // Before the body is read.
      done(context.overload.refusalOfAll() ?? undefined);
    },
    onResponse: async (request: FastifyRequest): Promise<void> => {
      // Whoever was not let in has none yet.
      const scope = request.scope ?? scopeOf('http', operation, request.id, null, null);
      finish(request, scope, request.refused?.reason ?? 'OK');
    },
  });
  // A colon begins a parameter in fastify's paths; two are one colon.
  const route = (path: string): string => path.replaceAll(':', '::');

  app.post(route(PATH.search), count('search'), async (request, reply) => {
    arrived(request);
    checkSearchBody(request.body);
    const sent = searchInput(request.body as SearchBody);
    const input = isUncounted(request) ? uncounted(sent) : sent;
    return sendJson(
      reply,
      searchJson(
        await working(request, calls.search(input, timeoutMs(request), request.caller, request.scope)),
      ),
    );
  });
  app.post(route(PATH.batch), count('batch_search'), async (request, reply) => {
    arrived(request);
    checkItemCount(request.body, limits.batchItemsMax);
    checkBatchBody(request.body);
    const sent = (request.body as BatchBody).requests.map(searchInput);
    const inputs = isUncounted(request) ? sent.map(uncounted) : sent;
    return sendJson(
      reply,
      batchJson(
        await working(request, calls.batchSearch(inputs, timeoutMs(request), request.caller, request.scope)),
      ),
    );
  });
  app.post(route(PATH.embed), count('embed'), async (request, reply) => {
    arrived(request);
    checkEmbedBody(request.body);
    const input = embedInput(request.body as EmbedBody);
    return sendJson(
      reply,
      embedJson(await working(request, calls.embed(input, timeoutMs(request), request.scope))),
    );
  });

  // Probes have no key; names of corpora are for those who have one, on the admin listener.
  const isTold = !context.guard.asksForKeys;
  app.get('/livez', OPEN, async (_request, reply) => sendJson(reply, { alive: true }));
  app.get('/readyz', OPEN, async (_request, reply) => {
    const { corpora, degraded } = readiness.health();
    const ready = readiness.serving;
    reply.code(ready ? 200 : 503);
    const { draining } = readiness;
    return sendJson(reply, isTold ? { ready, draining, corpora, degraded } : { ready, draining });
  });
  app.get('/healthz', OPEN, async (_request, reply) => {
    const { degraded } = readiness.health();
    const working = degraded.length > 0 ? 'degraded' : 'ok';
    const state = readiness.draining ? 'draining' : readiness.serving ? working : 'not_ready';
    return sendJson(reply, isTold ? { state, degraded } : { state });
  });
  const openApi = JSON.stringify(
    openApiDocument(schemas, OPERATIONS, packageVersion(), {
      byDefault: limits.deadlineMsDefault,
      max: limits.deadlineMsMax,
    }),
  );
  app.get('/openapi.json', async (_request, reply) => reply.type(JSON_TYPE).send(openApi));

  const address = await listen(app, 'http', listener);
  return {
    address,
    stopListening: () => {
      // HTTP's own `close` destroys connections whose answer is still being sent, too.
      NetServer.prototype.close.call(app.server);
    },
    stop: () => app.close(),
    destroy: () => app.server.closeAllConnections(),
  };
}

/** Before each of them is looked at. */
function checkItemCount(body: unknown, itemsMax: number): void {
  const items = (body as Partial<BatchBody> | null)?.requests;
  if (Array.isArray(items) && items.length > itemsMax) throw tooManyItems(itemsMax);
}

function sendJson(reply: FastifyReply, value: unknown): FastifyReply {
  return reply.type(JSON_TYPE).send(JSON.stringify(value));
}

function timeoutMs(request: FastifyRequest): number | null {
  const given = request.headers[TIMEOUT_HEADER];
  if (given === undefined) return null;
  if (typeof given !== 'string' || !/^\d{1,12}$/.test(given))
    throw invalidArgument(TIMEOUT_HEADER, `${TIMEOUT_HEADER} must be a whole number of milliseconds`);
  return Number(given);
}
