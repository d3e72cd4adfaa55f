import { connect, type Socket } from 'node:net';

/** Types of frames of HTTP/2. */
export const FRAME = {
  headers: 1,
  resetStream: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  continuation: 9,
} as const;
export const END_HEADERS = 4;
/** Of a ping: that it answers one. */
export const ACK = 1;
const CANCEL = 8;
const HEAD_BYTES = 9;

export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Uint8Array = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

export const PREFACE = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1'),
  frame(FRAME.settings, 0, 0),
]);

const text = (value: string): Buffer => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);
/** HPACK of a call's headers, without its table or its code: `:method` POST, `:scheme` http, the others literally. */
const CALL = Buffer.concat([
  Buffer.from([0x83, 0x86, 0x04]),
  text('/switchyard.v1.SearchService/Search'),
  Buffer.from([0x01]),
  text('localhost'),
  Buffer.from([0x0f, 0x10]),
  text('application/grpc'),
  Buffer.from([0x00]),
  text('te'),
  text('trailers'),
]);

/** A call whose message does not come. */
export const opened = (at: number): Buffer => frame(FRAME.headers, END_HEADERS, 2 * at + 1, CALL);

/** A stream that is opened and reset at once. What a library would send of it is its own affair: mostly nothing. */
export function openedAndReset(at: number): Buffer {
  const code = Buffer.alloc(4);
  code.writeUInt32BE(CANCEL);
  return Buffer.concat([opened(at), frame(FRAME.resetStream, 0, 2 * at + 1, code)]);
}

/** A connection that speaks frames, and hears those of the other end. */
export class RawHttp2 {
  readonly socket: Socket;
  /** How many frames of each type came. */
  readonly heard = new Map<number, number>();
  /** Told of each ping that is no answer to one. */
  onPing: ((payload: Buffer) => void) | null = null;
  #unread: Buffer = Buffer.alloc(0);

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => this.#hear(chunk));
    socket.on('error', () => undefined);
    socket.write(PREFACE);
  }

  static open(port: number): Promise<RawHttp2> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1', () => resolve(new RawHttp2(socket)));
      socket.once('error', reject);
    });
  }

  /** The other end will have no more of it. */
  get isRefused(): boolean {
    return this.heard.has(FRAME.goAway) || this.socket.destroyed || this.socket.readableEnded;
  }

  /** Writes until all is written or the other end will have no more. */
  async pour(parts: number, part: (at: number) => Buffer): Promise<void> {
    const { socket } = this;
    for (let at = 0; at < parts && !this.isRefused && socket.writable; at++)
      if (!socket.write(part(at)))
        await Promise.race([
          new Promise((resolve) => socket.once('drain', resolve)),
          new Promise((resolve) => socket.once('close', resolve)),
        ]);
  }

  #hear(chunk: Buffer): void {
    this.#unread = Buffer.concat([this.#unread, chunk]);
    while (this.#unread.length >= HEAD_BYTES) {
      const end = HEAD_BYTES + this.#unread.readUIntBE(0, 3);
      if (this.#unread.length < end) return;
      const type = this.#unread[3] as number;
      this.heard.set(type, (this.heard.get(type) ?? 0) + 1);
      if (type === FRAME.ping && this.#unread[4] === 0)
        this.onPing?.(Buffer.from(this.#unread.subarray(HEAD_BYTES, end)));
      this.#unread = this.#unread.subarray(end);
    }
  }
}
