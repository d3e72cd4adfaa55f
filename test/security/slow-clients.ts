import { type ClientHttp2Stream, connect as connectHttp2 } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { messageHead, openCall } from '../fixtures/grpc-stream.js';

export interface SlowCall {
  readonly stream: ClientHttp2Stream;
  /** Half a message and then a byte now and then; else nothing more. */
  readonly isDripping: boolean;
  /** What it was told. */
  readonly said: Readonly<Record<string, string>>;
}

const SEARCHES = ['Search', 'BatchSearch', 'Embed'].map((name) => `/switchyard.v1.SearchService/${name}`);
export const ADMIN_CALLS = ['/switchyard.v1.RouterService/GetRoute'];

/** Ten calls on one connection that send half of what they announce. */
export function slowCallsOn(origin: string, paths: readonly string[] = SEARCHES): readonly SlowCall[] {
  const session = connectHttp2(origin, { rejectUnauthorized: false });
  session.on('error', () => undefined);
  return Array.from({ length: 10 }, (_, at) => {
    const { stream, said } = openCall(session, paths[at % paths.length] as string);
    stream.resume();
    stream.write(Buffer.concat([messageHead(100_000), Buffer.alloc(50_000)]));
    return { stream, isDripping: at % 2 === 0, said };
  });
}

export const rawSocket = (port: number): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => resolve(socket));
    socket.once('error', reject);
    socket.on('error', () => undefined);
  });

export const rawTlsSocket = (port: number): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => resolve(socket));
    socket.once('error', reject);
    socket.on('error', () => undefined);
  });

/** A client that begins a handshake of TLS and says no more: the head of a record, and a tenth of what it announces. */
export async function stalledHandshake(port: number): Promise<Socket> {
  const socket = await rawSocket(port);
  socket.resume();
  socket.write(Buffer.concat([Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]), Buffer.alloc(40)]));
  return socket;
}

/** Of requests over HTTP/1.1 the head never ends, or the body; what each was answered. */
export interface SlowRequests {
  readonly sockets: readonly Socket[];
  drip(): void;
  answerOf(socket: Socket): string;
}

/** `count` heads that never end and as many bodies. `address`: method and path. */
export async function slowRequestsOn(
  open: () => Promise<Socket>,
  address: string,
  count: number,
): Promise<SlowRequests> {
  const sockets = await Promise.all(Array.from({ length: 2 * count }, open));
  const answers = new Map<Socket, string>();
  const [heads, bodies] = [sockets.slice(0, count), sockets.slice(count)];
  for (const socket of sockets) {
    socket.on('data', (chunk: Buffer) =>
      answers.set(socket, (answers.get(socket) ?? '') + chunk.toString('utf8')),
    );
    socket.write(`${address} HTTP/1.1\r\nhost: x\r\n`);
  }
  for (const socket of bodies)
    socket.write(
      'content-type: application/json\r\ncontent-length: 1000\r\n\r\n{"corpus": "animals", "text": "',
    );
  return {
    sockets,
    drip: () => {
      for (const socket of heads) if (socket.writable) socket.write('x-a: b\r\n');
      for (const socket of bodies) if (socket.writable) socket.write('a');
    },
    answerOf: (socket) => answers.get(socket) ?? '',
  };
}
