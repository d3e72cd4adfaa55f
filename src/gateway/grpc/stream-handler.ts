import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { Server } from '@grpc/grpc-js';

export type StreamHandler = (
  interceptors: unknown,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  flags: number,
  /** Names and values in turn, as they came. */
  rawHeaders: readonly string[] | undefined,
) => void;

/** Of an answer without a message. */
export type AnswerHeaders = Readonly<Record<string, unknown>>;

/**
 * Sees every stream before grpc-js makes a call of it, by standing in for a method that is not public: the package's
 * version is pinned, and a test notices when the method is gone. False: so it is, and nothing was put in its place.
 */
export function beforeCalls(server: Server, handler: (accept: StreamHandler) => StreamHandler): boolean {
  const inner = server as unknown as { _streamHandler?: StreamHandler };
  const accept = inner._streamHandler?.bind(server);
  if (accept === undefined) return false;
  inner._streamHandler = handler(accept);
  return true;
}

type SessionHandler = (session: ServerHttp2Session) => void;

/**
 * Sees every session before grpc-js does: those of listeners that are opened from now on. Not public either, and tested
 * in the same way. False: as `beforeCalls`.
 */
export function beforeSessions(server: Server, handler: SessionHandler): boolean {
  const inner = server as unknown as { _sessionHandler?: (listener: unknown) => SessionHandler };
  const handlerOf = inner._sessionHandler?.bind(server);
  if (handlerOf === undefined) return false;
  inner._sessionHandler = (listener) => {
    const accept = handlerOf(listener);
    return (session) => {
      handler(session);
      accept(session);
    };
  };
  return true;
}

/** Answers a stream that no call is made of. What it still sends is read and forgotten. */
export function refuseStream(stream: ServerHttp2Stream, headers: AnswerHeaders): void {
  stream.on('error', ignore);
  // A client that is gone already is told nothing; Node throws where that is tried.
  if (stream.destroyed || stream.closed) return;
  stream.respond(headers as never, { endStream: true });
  stream.resume();
}

/** A client that goes away while it is refused. */
export const ignore = (): void => undefined;
