import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import {
  logVerbosity,
  type Server,
  type ServerCredentials,
  type ServerOptions,
  setLogVerbosity,
} from '@grpc/grpc-js';
import type { Listener } from '../../config/config.js';
import { bindError, type ListenerName } from '../bind.js';
import type { FaceContext } from '../faces.js';
import { askWhileLeaving } from './keepalive.js';
import { beforeSessions } from './stream-handler.js';

/** Requests in flight on one connection; more wait in the client. */
const CONCURRENT_STREAMS_MAX = 1_024;

/**
 * What both gRPC servers ask of their connections. A client is asked every `keepaliveMs` whether it is there, and is hung up
 * on when it has not answered after as long again: one that lost its power, or its way through a firewall, would keep its
 * streams, and their places in its key's quota, for as long as the kernel has nothing to send it. Only that answer counts,
 * and the question waits behind what was sent before, so a slow client has to read that in this time.
 */
export const connectionOptions = (keepaliveMs: number): ServerOptions => ({
  'grpc.max_concurrent_streams': CONCURRENT_STREAMS_MAX,
  'grpc.keepalive_time_ms': keepaliveMs,
  'grpc.keepalive_timeout_ms': keepaliveMs,
  'grpc.enable_channelz': 0,
});

/** Longer than a round trip: what was said last is read before the connection is gone. */
const HANG_UP_MS = 200;

/** The socket under a gRPC server. It is ours, since grpc-js can stop listening only by closing every connection at once. */
export interface GrpcListening {
  readonly port: number;
  /** Takes no new connections. */
  close(): void;
  /**
   * Hangs up on whoever is still there, once what was said is sent: a client in the middle of a dialogue would keep
   * its connection open, and with it this process.
   */
  hangUp(): void;
}

/** Errors: INVALID_CONFIG for a port that cannot be had. */
export async function listenGrpc(
  server: Server,
  name: ListenerName,
  { host, port }: Listener,
  credentials: ServerCredentials,
  { connections, answers }: Pick<FaceContext, 'connections' | 'answers'>,
): Promise<GrpcListening> {
  // It writes metadata that it cannot read to standard error, whole: keys among them, and for whoever sends it.
  setLogVerbosity(logVerbosity.NONE);
  let isOpen = true;
  beforeSessions(server, (session) => {
    askWhileLeaving(session);
    // Its handshake took longer than the listener was open: what it asks at once is answered, and it is told to go.
    if (!isOpen) setImmediate(() => session.close());
  });
  const injector = server.createConnectionInjector(credentials);
  const clients = new Set<Socket>();
  const socket = createServer({ noDelay: true }, (connection) => {
    clients.add(connection);
    connection.once('close', () => clients.delete(connection));
    injector.injectConnection(connection);
  });
  connections.apply(socket);
  answers.apply(socket);
  try {
    socket.listen({ host, port, exclusive: true });
    await once(socket, 'listening');
  } catch (error) {
    injector.destroy();
    throw bindError(name, { host, port }, error);
  }
  const address = socket.address();
  if (address === null || typeof address === 'string') throw new Error('the server listens on no port');
  const close = (): void => {
    if (isOpen) socket.close();
    isOpen = false;
  };
  return {
    port: address.port,
    close,
    hangUp: () => {
      const cut = (): void => {
        for (const client of clients) client.destroy();
      };
      setTimeout(cut, HANG_UP_MS).unref();
    },
  };
}
