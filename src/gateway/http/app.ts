import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Server as TlsServer } from 'node:tls';
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import type { Listener } from '../../config/config.js';
import { REASONS, type Reason, SwitchyardError } from '../../errors.js';
import type { ArrivalFace } from '../arriving/arriving-requests.js';
import type { Access } from '../auth/access.js';
import type { Caller } from '../auth/caller.js';
import { AUTHORIZATION } from '../auth/guard.js';
import { bindError, type ListenerName } from '../bind.js';
import type { FaceContext } from '../faces.js';
import { refusal } from '../failure.js';
import { HEADER_BYTES_MAX, headersTooLarge } from '../limits.js';
import { REQUEST_ID_HEADER, RequestIds } from '../request-id.js';
import { parseJsonBody } from './json-body.js';
import { PROBLEM_TYPE, problem, retryAfterSeconds } from './problem.js';
import { WaitingResponses } from './waiting-responses.js';

/** Longer than a round trip: what was said last is read before the connection is gone. */
const HANG_UP_MS = 200;
/** A client has this long to send its headers. */
const HEADERS_TIMEOUT_MS = 10_000;
/** How often that, and the time of whole requests, is looked at. */
const CHECK_INTERVAL_MS = 5_000;

declare module 'fastify' {
  interface FastifyRequest {
    /** The error that was sent, for those who count; null when there was none. */
    refused: SwitchyardError | null;
    /** Who was let in. */
    caller: Caller;
    /** What is being done for it: a client that goes away does not end that, nor its place in a quota. */
    work: Promise<unknown> | null;
  }
  interface FastifyContextConfig {
    /** What the route needs, where it is not what the listener's routes need. */
    access?: Access;
  }
}

/** Path → methods it takes; fastify alone would answer 404 where only the method is wrong. */
export interface MethodsByPath {
  get(path: string): readonly string[] | undefined;
}

/**
 * A fastify server whose every failure is a problem document with a reason of the catalogue, whatever layer it comes
 * from: socket, router, body parser, handler. `access`: what a route needs that does not say otherwise. `bodyPartsMax`:
 * as of `parseJsonBody`.
 */
export function createHttpApp(
  context: Omit<FaceContext, 'overload'>,
  bodyBytesMax: number,
  methods: MethodsByPath,
  access: Access,
  bodyPartsMax: number = Number.POSITIVE_INFINITY,
): FastifyInstance {
  const { certificates, arrivalMsMax } = context;
  const wire = {
    maxHeaderSize: HEADER_BYTES_MAX,
    headersTimeout: Math.min(HEADERS_TIMEOUT_MS, arrivalMsMax),
    connectionsCheckingInterval: Math.min(CHECK_INTERVAL_MS, arrivalMsMax / 4),
  };
  const ids = new RequestIds();
  const app = fastify({
    logger: false,
    bodyLimit: bodyBytesMax,
    requestTimeout: arrivalMsMax,
    ...(certificates === null
      ? { http: wire }
      : { https: { ...wire, ...certificates.handshake, ...certificates.context } }),
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    requestIdHeader: false,
    genReqId: (request) => ids.of(request.headers[REQUEST_ID_HEADER]),
    clientErrorHandler: (error, socket) => answerBrokenRequest(error.code, socket),
    frameworkErrors: (error, request, reply) => {
      send(
        new SwitchyardError('NOT_FOUND', 'the address is not a valid path', { cause: error }),
        request,
        reply,
      );
    },
  });
  context.connections.apply(app.server);
  context.answers.apply(app.server);
  if (certificates !== null)
    certificates.onChange((changed) => (app.server as unknown as TlsServer).setSecureContext(changed));
  app.decorateRequest('refused', null);
  app.decorateRequest('caller');
  app.decorateRequest('work', null);

  app.removeAllContentTypeParsers();
  app.addContentTypeParser(
    'application/json',
    { parseAs: 'buffer' },
    async (request: FastifyRequest, body: Buffer) => {
      checkEncoding(request);
      return parseJsonBody(body, bodyPartsMax);
    },
  );

  const refuse = (thrown: unknown, request: FastifyRequest, reply: FastifyReply): string => {
    const operation = `http ${request.method} ${request.routeOptions?.url ?? '?'}`;
    const error = refusal(fromFastify(thrown, bodyBytesMax), context.log, operation, request.id);
    request.refused = error;
    const retryAfter = retryAfterSeconds(error);
    if (retryAfter !== null) reply.header('retry-after', String(retryAfter));
    if (error.reason === 'UNAUTHENTICATED') reply.header('www-authenticate', 'Bearer');
    reply.code(REASONS[error.reason].http).header(REQUEST_ID_HEADER, request.id).type(PROBLEM_TYPE);
    return JSON.stringify(problem(error, request.id));
  };
  const send = (thrown: unknown, request: FastifyRequest, reply: FastifyReply): void => {
    reply.send(refuse(thrown, request, reply));
  };
  app.setErrorHandler(send);
  app.setNotFoundHandler((request, reply) => {
    send(notFound(request, reply, methods), request, reply);
  });
  const waiting = new WaitingResponses();
  app.addHook('onRequest', async (request, reply) => {
    waiting.watch(request.raw.socket, reply.raw);
    reply.header(REQUEST_ID_HEADER, request.id);
    // Before the body is read: what it holds does not matter at an address that does not exist.
    if (request.is404) throw notFound(request, reply, methods);
    const unread = context.answers.refusal(request.raw.socket);
    if (unread !== null) throw unread;
    const needed = request.routeOptions.config.access ?? access;
    request.caller = context.guard.admit(request.headers[AUTHORIZATION], needed);
    if (!context.guard.asksForKeys) return;
    const { caller } = request;
    caller.enter();
    // Not `onResponse`, which does not come for a request whose client went away.
    reply.raw.once('close', () => {
      const leave = (): void => caller.leave();
      if (request.work === null) leave();
      else void request.work.then(leave, leave);
    });
  });
  const face: ArrivalFace = {
    listener: context.listener,
    isTimed: false,
    end: ({ inbound, knownAs }, error) => endRequest(inbound as IncomingMessage, error, knownAs),
  };
  // Now, and not before: of who was refused nothing is held.
  app.addHook('preParsing', (request, _reply, payload, done) => {
    context.arriving.add(request.raw, face, request.id);
    done(null, payload);
  });
  // Who takes long to send a body may do so with a key that ends meanwhile. Whoever observes sends none.
  app.addHook('preValidation', (request, _reply, done) => {
    const needed = request.routeOptions.config.access ?? access;
    if (needed !== 'observe') request.caller.checkStanding();
    done();
  });
  // No promise: what is counted here is written before anything else is done.
  app.addHook('onSend', (request, reply, payload, done) => {
    context.arriving.over(request.raw);
    const body = inBytes(payload);
    const bytes = typeof body === 'string' || Buffer.isBuffer(body) ? body.length : 0;
    // Many requests can come in one piece, and be answered before any of the answers leaves.
    const unread = context.answers.take(request.raw.socket, reply.raw, bytes);
    if (unread === null || request.refused !== null) done(null, body);
    else done(null, refuse(unread, request, reply));
  });
  return app;
}

export async function listen(
  app: FastifyInstance,
  name: ListenerName,
  listener: Listener,
): Promise<Listener> {
  try {
    await app.listen({ host: listener.host, port: listener.port });
  } catch (error) {
    throw bindError(name, listener, error);
  }
  const address = app.server.address();
  if (address === null || typeof address === 'string') throw new Error('the server listens on no port');
  return { host: listener.host, port: address.port };
}

/** Of a string Node counts the characters that wait to leave: where they are not bytes too, it is written as bytes. */
const inBytes = (payload: unknown): unknown =>
  typeof payload === 'string' && Buffer.byteLength(payload) > payload.length ? Buffer.from(payload) : payload;

function notFound(request: FastifyRequest, reply: FastifyReply, methods: MethodsByPath): SwitchyardError {
  const path = request.url.split('?', 1)[0] ?? '';
  const allowed = methods.get(path);
  if (allowed === undefined)
    return new SwitchyardError(
      'NOT_FOUND',
      'there is nothing at this address: /openapi.json lists what there is',
    );
  reply.header('allow', allowed.join(', '));
  return new SwitchyardError('METHOD_NOT_ALLOWED', `this address takes ${allowed.join(', ')}`, {
    details: { allow: allowed.join(', ') },
  });
}

/** Bodies are UTF-8 JSON as they are: no other charset, no compression. */
function checkEncoding(request: FastifyRequest): void {
  const charset = /;\s*charset\s*=\s*"?([^";\s]*)/i.exec(request.headers['content-type'] ?? '')?.[1];
  if (charset !== undefined && charset.toLowerCase() !== 'utf-8' && charset.toLowerCase() !== 'utf8')
    throw new SwitchyardError('UNSUPPORTED_MEDIA_TYPE', 'the charset of a body must be utf-8');
  const encoding = request.headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity')
    throw new SwitchyardError('UNSUPPORTED_ENCODING', 'a body must not be compressed');
}

/** fastify's own errors, by their code. */
function fromFastify(thrown: unknown, bodyBytesMax: number): unknown {
  if (thrown instanceof SwitchyardError) return thrown;
  switch ((thrown as { code?: unknown } | null)?.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new SwitchyardError('REQUEST_TOO_LARGE', `the body must be <= ${bodyBytesMax} bytes`, {
        details: { max: String(bodyBytesMax) },
      });
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new SwitchyardError('UNSUPPORTED_MEDIA_TYPE', 'the content type must be application/json');
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
    case 'ECONNRESET':
      return new SwitchyardError('MALFORMED_REQUEST', 'the body is shorter than its content-length', {
        cause: thrown,
      });
    default:
      return thrown;
  }
}

/** Connections that were ended since their request did not arrive, for those who count what they close. */
const endedFor = new WeakMap<Socket, Reason>();
export const reasonOfEnd = (socket: Socket): Reason | undefined => endedFor.get(socket);

/** A request of which no more is wanted: its answer is written to the socket itself, where it is the one that is due. */
function endRequest(request: IncomingMessage, error: SwitchyardError, requestId: string): void {
  const { socket } = request;
  // What still comes is read, so that the client reads its answer, and kept by nobody; half a body is no request.
  request.removeAllListeners('data').removeAllListeners('end').resume();
  const due = (socket as { readonly _httpMessage?: ServerResponse | null })._httpMessage;
  endedFor.set(socket, error.reason);
  if (due?.req === request && !due.headersSent && socket.writable) answerLast(socket, error, requestId);
  else socket.destroy();
}

/** What Node's HTTP parser gives up on never reaches fastify. */
function answerBrokenRequest(code: string | undefined, socket: Socket): void {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') endedFor.set(socket, 'REQUEST_TOO_SLOW');
  // Whoever did not finish the handshake of TLS can be told nothing: an answer would wait for it as well.
  if (!socket.writable || code === 'ECONNRESET' || code === 'ERR_TLS_HANDSHAKE_TIMEOUT') {
    socket.destroy();
    return;
  }
  const error =
    code === 'HPE_HEADER_OVERFLOW'
      ? headersTooLarge()
      : code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? new SwitchyardError('REQUEST_TOO_SLOW', 'the request did not arrive in time')
        : new SwitchyardError('MALFORMED_REQUEST', 'this is not a valid HTTP request');
  answerLast(socket, error, randomBytes(8).toString('hex'));
}

/** Nothing more is written to it. */
function answerLast(socket: Socket, error: SwitchyardError, requestId: string): void {
  const body = JSON.stringify(problem(error, requestId));
  const head = [
    `HTTP/1.1 ${REASONS[error.reason].http} ${error.reason}`,
    `content-type: ${PROBLEM_TYPE}`,
    `content-length: ${Buffer.byteLength(body)}`,
    `${REQUEST_ID_HEADER}: ${requestId}`,
    'connection: close',
  ];
  const retryAfter = retryAfterSeconds(error);
  if (retryAfter !== null) head.push(`retry-after: ${retryAfter}`);
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
  // A client may keep its half of the connection open; at once would take the answer from who reads it.
  setTimeout(() => socket.destroy(), HANG_UP_MS).unref();
}
