import { once } from 'node:events';
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2 } from 'node:http2';
import type { Socket } from 'node:net';
import type { UnreadLimits } from '../../src/gateway/unread/unread-answers.js';
import { sleep } from '../control/yard.js';
import { framed as framedBytes, openCall } from '../fixtures/grpc-stream.js';
import { contract } from '../gateway/harness.js';
import { rawSocket, rawTlsSocket } from './slow-clients.js';

export const MB = 1_048_576;
export const UNREAD_LIMITS: UnreadLimits = {
  connectionBytesMax: 8 * MB,
  bytesMax: 64 * MB,
  sendTimeoutMs: 1_500,
};
const STEP_BYTES = 65_536;

/** How a client of gRPC frames a message. */
export const framed = (type: string, message: object): Buffer =>
  framedBytes(contract.lookupType(type).encode(message).finish());

/** A search whose answer has so many documents of a megabyte. */
export const search = (documents: number) => ({
  corpus: 'animals',
  text: 'a fish',
  top_k: documents,
  with_document: documents > 0,
});

export interface Said {
  readonly stream: ClientHttp2Stream;
  readonly headers: Readonly<Record<string, string>>;
}

/** A connection that speaks HTTP/2 and, with a window of 0, lets no answer come. */
export class Http2Client {
  readonly session: ClientHttp2Session;

  /** `from`: where it connects from, as net.connect takes it. */
  constructor(
    origin: string,
    initialWindowSize: number,
    from: { readonly localAddress?: string; readonly localPort?: number } = {},
  ) {
    const settings = { initialWindowSize };
    this.session = connectHttp2(origin, { ...from, rejectUnauthorized: false, settings });
    this.session.on('error', () => undefined);
  }

  call(
    body: Buffer,
    path = '/switchyard.v1.SearchService/Search',
    isLast = true,
    more: Readonly<Record<string, string>> = {},
  ): Said {
    const { stream, said: headers } = openCall(this.session, path, more);
    if (isLast) stream.end(body);
    else stream.write(body);
    return { stream, headers };
  }
}

/** Reads an answer of gRPC at 4 MB/s: how many bytes it has. */
export async function readSlowly(stream: ClientHttp2Stream): Promise<number> {
  let [bytes, owed] = [0, 0];
  const closed = once(stream, 'close');
  stream.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    owed += chunk.length;
    if (owed < STEP_BYTES) return;
    owed = 0;
    stream.pause();
    setTimeout(() => stream.resume(), 16);
  });
  await closed;
  return bytes;
}

export const requestOf = (documents: number, more: object = {}): string => {
  const body = JSON.stringify({ ...search(documents), ...more });
  return `POST /v1/search HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
};

export const openHttp = (port: number, isTls: boolean): Promise<Socket> =>
  isTls ? rawTlsSocket(port) : rawSocket(port);

/** Requests in one piece (over TLS Node breaks off many with bodies), of whose answers none is read; the first is more than a kernel takes for a client. */
export async function askDeafly(port: number, isTls: boolean, requests: number): Promise<Socket> {
  const socket = await openHttp(port, isTls);
  socket.pause();
  socket.write(requestOf(24) + requestOf(1).repeat(requests - 1));
  return socket;
}

/** Reads an answer of HTTP at about 4 MB/s: how many bytes came until all of it had. */
export async function askSlowly(port: number, isTls: boolean, documents: number): Promise<number> {
  const socket = await openHttp(port, isTls);
  socket.pause();
  socket.write(requestOf(documents).replace('host: x', 'host: x\r\nconnection: close'));
  let bytes = 0;
  while (!socket.readableEnded && !socket.destroyed) {
    const chunk: unknown = socket.read();
    if (Buffer.isBuffer(chunk)) bytes += chunk.length;
    await sleep(Buffer.isBuffer(chunk) ? chunk.length / 4_096 : 5);
  }
  return bytes;
}
