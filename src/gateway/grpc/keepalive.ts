import type { ServerHttp2Session } from 'node:http2';

/**
 * Lets a session that is leaving be asked whether its client is there, as any other. Node sends no ping over one that is
 * closed, which is one whose last streams are being answered after GOAWAY: grpc-js takes that for a client that is gone,
 * and destroys the session with its streams. HTTP/2 itself goes on with such a connection as before.
 */
export function askWhileLeaving(session: ServerHttp2Session): void {
  const ping = session.ping.bind(session) as (...given: readonly unknown[]) => boolean;
  const asking = (...given: readonly unknown[]): boolean => {
    if (!session.closed) return ping(...given);
    // What `ping` looks at: nothing else runs before it returns.
    Object.defineProperty(session, 'closed', { value: false, configurable: true });
    try {
      return ping(...given);
    } finally {
      Reflect.deleteProperty(session, 'closed');
    }
  };
  session.ping = asking as typeof session.ping;
}
