import { connect, type Socket } from 'node:net';
import {
  connectionPreface,
  DEFAULT_WINDOW_BYTES,
  FLAG,
  FRAME,
  FRAME_HEADER_BYTES,
  grpcStatus,
  MESSAGE_PREFIX_BYTES,
  pingAck,
  RECEIVE_WINDOW_BYTES,
  type RequestHeaders,
  SETTING_INITIAL_WINDOW_SIZE,
  settingsAck,
  windowUpdate,
} from './http2-frames.js';

/** gRPC status, and the answer's message; null for none. The message is valid only during the call. */
export type OnAnswer = (tag: number, status: number, message: Buffer | null) => void;

/** Reported for a stream that the server reset, beside gRPC's own 0 to 16. */
export const STATUS_RESET = 100;

interface Call {
  readonly tag: number;
  readonly stream: number;
  /** gRPC frame of the answer, as far as it came. */
  parts: Buffer | null;
}

const OUT_BYTES = 128 * 1024;
const IN_FLIGHT_MAX = 2 ** 16;
const placeOf = (stream: number): number => (stream >>> 1) % IN_FLIGHT_MAX;

/**
 * One HTTP/2 connection that sends unary gRPC calls from frames made in advance: what a request costs here must be
 * small beside what it costs the server. All requests of one turn of the event loop leave in one write.
 */
export class GrpcConnection {
  readonly #socket: Socket;
  readonly #headers: RequestHeaders;
  readonly #onAnswer: OnAnswer;
  readonly #onBroken: (why: string) => void;
  /** By stream, in turn: a Map of what comes and goes would keep answers alive through collections of garbage (decision 0190). */
  readonly #calls = new Array<Call | null>(IN_FLIGHT_MAX).fill(null);
  #inFlight = 0;
  /** Waiting for the server to widen the connection's window. */
  readonly #waiting: { readonly tag: number; readonly data: Buffer }[] = [];
  #nextStream = 1;
  #sendWindow = DEFAULT_WINDOW_BYTES;
  #received = 0;
  #out = Buffer.allocUnsafeSlow(OUT_BYTES);
  #outUsed = 0;
  #flushScheduled = false;
  #rest: Buffer | null = null;

  private constructor(
    socket: Socket,
    headers: RequestHeaders,
    onAnswer: OnAnswer,
    onBroken: (why: string) => void,
  ) {
    this.#socket = socket;
    this.#headers = headers;
    this.#onAnswer = onAnswer;
    this.#onBroken = onBroken;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('error', (error) => onBroken(error.message));
    socket.on('close', () => onBroken('the server closed the connection'));
    socket.write(connectionPreface());
  }

  static open(
    target: { readonly host: string; readonly port: number },
    headers: RequestHeaders,
    onAnswer: OnAnswer,
    onBroken: (why: string) => void,
  ): Promise<GrpcConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect(target.port, target.host);
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new GrpcConnection(socket, headers, onAnswer, onBroken));
      });
    });
  }

  get inFlight(): number {
    return this.#inFlight + this.#waiting.length;
  }

  /** `data` of `requestData`; `tag` comes back with the answer. */
  send(tag: number, data: Buffer): void {
    if (this.#waiting.length > 0 || data.length > this.#sendWindow) this.#waiting.push({ tag, data });
    else this.#transmit(tag, data);
  }

  #transmit(tag: number, data: Buffer): void {
    this.#sendWindow -= data.length - FRAME_HEADER_BYTES;
    const stream = this.#nextStream;
    this.#nextStream += 2;
    const place = placeOf(stream);
    if (this.#calls[place] !== null) throw new Error(`more than ${IN_FLIGHT_MAX} requests are under way`);
    this.#calls[place] = { tag, stream, parts: null };
    this.#inFlight++;
    this.#append(stream === 1 ? this.#headers.first : this.#headers.others, stream);
    this.#append(data, stream);
  }

  close(): void {
    this.#socket.removeAllListeners('close');
    this.#socket.removeAllListeners('error');
    this.#socket.on('error', () => undefined);
    this.#socket.destroy();
  }

  #append(frame: Buffer, stream: number): void {
    if (this.#outUsed + frame.length > OUT_BYTES) this.#flush();
    frame.copy(this.#out, this.#outUsed);
    if (stream > 0) this.#out.writeUInt32BE(stream, this.#outUsed + 5);
    this.#outUsed += frame.length;
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    process.nextTick(() => {
      this.#flushScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#outUsed === 0) return;
    const used = this.#out.subarray(0, this.#outUsed);
    // The socket may still hold what was written, so every write has bytes of its own.
    this.#socket.write(Buffer.from(used));
    this.#outUsed = 0;
  }

  #read(chunk: Buffer): void {
    const bytes = this.#rest === null ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    while (at + FRAME_HEADER_BYTES <= bytes.length) {
      const length = bytes.readUIntBE(at, 3);
      const end = at + FRAME_HEADER_BYTES + length;
      if (end > bytes.length) break;
      const stream = bytes.readUInt32BE(at + 5) & 0x7fffffff;
      this.#frame(
        bytes[at + 3] as number,
        bytes[at + 4] as number,
        stream,
        bytes.subarray(at + FRAME_HEADER_BYTES, end),
      );
      at = end;
    }
    this.#rest = at < bytes.length ? bytes.subarray(at) : null;
  }

  #frame(type: number, flags: number, stream: number, payload: Buffer): void {
    switch (type) {
      case FRAME.DATA:
        this.#data(stream, flags, payload);
        break;
      case FRAME.HEADERS:
        this.#header(stream, flags, payload);
        break;
      case FRAME.RST_STREAM:
        this.#finish(stream, STATUS_RESET);
        break;
      case FRAME.SETTINGS:
        if ((flags & FLAG.ACK) === 0) this.#settings(payload);
        break;
      case FRAME.PING:
        if ((flags & FLAG.ACK) === 0) this.#append(pingAck(payload), 0);
        break;
      case FRAME.WINDOW_UPDATE:
        if (stream === 0) this.#widen(payload.readUInt32BE(0));
        break;
      case FRAME.GOAWAY:
        this.#onBroken(`the server said GOAWAY with code ${payload.readUInt32BE(4)}`);
        break;
      default:
        break;
    }
  }

  #data(stream: number, flags: number, payload: Buffer): void {
    if ((flags & FLAG.PADDED) !== 0) throw new Error('padded DATA frames are not understood');
    this.#received += payload.length;
    if (this.#received > RECEIVE_WINDOW_BYTES / 2) {
      this.#append(windowUpdate(this.#received), 0);
      this.#received = 0;
    }
    const call = this.#callOf(stream);
    if (call === null) return;
    // A view is enough where headers, message and trailers came in one chunk, which is all but the rule.
    call.parts = call.parts === null ? payload : Buffer.concat([call.parts, payload]);
    if ((flags & FLAG.END_STREAM) !== 0) this.#finish(stream, STATUS_RESET);
  }

  #header(stream: number, flags: number, payload: Buffer): void {
    if ((flags & FLAG.END_STREAM) === 0) return;
    if ((flags & FLAG.END_HEADERS) === 0 || (flags & FLAG.PADDED) !== 0)
      throw new Error('trailers in several frames, or padded ones, are not understood');
    const block = (flags & FLAG.PRIORITY) !== 0 ? payload.subarray(5) : payload;
    this.#finish(stream, grpcStatus(block) ?? STATUS_RESET);
  }

  #callOf(stream: number): Call | null {
    const call = this.#calls[placeOf(stream)] ?? null;
    return call?.stream === stream ? call : null;
  }

  #finish(stream: number, status: number): void {
    const call = this.#callOf(stream);
    if (call === null) return;
    this.#calls[placeOf(stream)] = null;
    this.#inFlight--;
    const message =
      call.parts === null || call.parts.length < MESSAGE_PREFIX_BYTES
        ? null
        : call.parts.subarray(MESSAGE_PREFIX_BYTES, MESSAGE_PREFIX_BYTES + call.parts.readUInt32BE(1));
    this.#onAnswer(call.tag, status, message);
  }

  #settings(payload: Buffer): void {
    for (let at = 0; at + 6 <= payload.length; at += 6)
      if (payload.readUInt16BE(at) === SETTING_INITIAL_WINDOW_SIZE && payload.readUInt32BE(at + 2) < 16_384)
        throw new Error('the server takes less than one frame per stream');
    this.#append(settingsAck(), 0);
  }

  #widen(bytes: number): void {
    this.#sendWindow += bytes;
    let sent = 0;
    for (const { tag, data } of this.#waiting) {
      if (data.length > this.#sendWindow) break;
      this.#transmit(tag, data);
      sent++;
    }
    this.#waiting.splice(0, sent);
  }
}
