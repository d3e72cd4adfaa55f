/** The parts of HTTP/2 (RFC 9113) and HPACK (RFC 7541) that a client of unary gRPC calls needs. */
export const FRAME_HEADER_BYTES = 9;
/** Flag byte and length before a gRPC message. */
export const MESSAGE_PREFIX_BYTES = 5;

export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  RST_STREAM: 3,
  SETTINGS: 4,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
};
export const FLAG = { ACK: 0x1, END_STREAM: 0x1, END_HEADERS: 0x4, PADDED: 0x8, PRIORITY: 0x20 };
const SETTING = { HEADER_TABLE_SIZE: 1, ENABLE_PUSH: 2, INITIAL_WINDOW_SIZE: 4 };
export const SETTING_INITIAL_WINDOW_SIZE = SETTING.INITIAL_WINDOW_SIZE;

/** Bytes that a peer may send before it hears from us: more than a run of small answers needs at a time. */
export const RECEIVE_WINDOW_BYTES = 1 << 28;
export const DEFAULT_WINDOW_BYTES = 65_535;
/** A body of one DATA frame at most, whatever the server's settings say. */
export const BODY_BYTES_MAX = 16_384 - MESSAGE_PREFIX_BYTES;

export function frameHeader(type: number, flags: number, stream: number, length: number): Buffer {
  const header = Buffer.alloc(FRAME_HEADER_BYTES);
  header.writeUIntBE(length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(stream, 5);
  return header;
}

const frame = (type: number, flags: number, stream: number, payload: Buffer): Buffer =>
  Buffer.concat([frameHeader(type, flags, stream, payload.length), payload]);

/** What a client says first. The header table of size 0 lets answers be read without keeping one. */
export function connectionPreface(): Buffer {
  const settings = Buffer.alloc(18);
  settings.writeUInt16BE(SETTING.HEADER_TABLE_SIZE, 0);
  settings.writeUInt32BE(0, 2);
  settings.writeUInt16BE(SETTING.ENABLE_PUSH, 6);
  settings.writeUInt32BE(0, 8);
  settings.writeUInt16BE(SETTING.INITIAL_WINDOW_SIZE, 12);
  settings.writeUInt32BE(RECEIVE_WINDOW_BYTES, 14);
  return Buffer.concat([
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1'),
    frame(FRAME.SETTINGS, 0, 0, settings),
    windowUpdate(RECEIVE_WINDOW_BYTES),
  ]);
}

export const settingsAck = (): Buffer => frame(FRAME.SETTINGS, FLAG.ACK, 0, Buffer.alloc(0));

export const pingAck = (payload: Buffer): Buffer => frame(FRAME.PING, FLAG.ACK, 0, payload);

/** For the connection as a whole. */
export function windowUpdate(bytes: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(bytes, 0);
  return frame(FRAME.WINDOW_UPDATE, 0, 0, payload);
}

export interface RequestHeaders {
  /** For the first request of a connection: the server learns the fields. */
  readonly first: Buffer;
  /** For all others: indexes of what it learnt, as every gRPC client sends them. */
  readonly others: Buffer;
}

/** HEADERS frames of one gRPC method; the stream number is filled in at byte 5 when one is sent. */
export function requestHeaders(authority: string, path: string, deadlineMs: number | null): RequestHeaders {
  const fields: readonly Buffer[] = [
    literal(0x44, path),
    literal(0x41, authority),
    literal(0x5f, 'application/grpc'),
    literal(0x7a, 'switchyard-bench'),
    Buffer.concat([Buffer.from([0x40, 2]), Buffer.from('te', 'latin1'), text('trailers')]),
    ...(deadlineMs === null
      ? []
      : [Buffer.concat([Buffer.from([0x40]), text('grpc-timeout'), text(`${deadlineMs}m`)])]),
  ];
  const fixed = Buffer.from([0x83, 0x86]);
  const indexes = Buffer.from(fields.map((_, at) => 0x80 | (62 + fields.length - 1 - at)));
  return {
    first: frame(FRAME.HEADERS, FLAG.END_HEADERS, 0, Buffer.concat([fixed, ...fields])),
    others: frame(FRAME.HEADERS, FLAG.END_HEADERS, 0, Buffer.concat([fixed, indexes])),
  };
}

/** DATA frame with one gRPC message, which ends the request. The stream number is filled in when it is sent. */
export function requestData(message: Uint8Array): Buffer {
  if (message.length > BODY_BYTES_MAX)
    throw new RangeError(`a body of ${message.length} bytes is too large: this client sends one frame`);
  const prefix = Buffer.alloc(MESSAGE_PREFIX_BYTES);
  prefix.writeUInt32BE(message.length, 1);
  return frame(FRAME.DATA, FLAG.END_STREAM, 0, Buffer.concat([prefix, message]));
}

const text = (value: string): Buffer => {
  if (value.length > 126) throw new RangeError(`a header of ${value.length} bytes is too long`);
  return Buffer.concat([Buffer.from([value.length]), Buffer.from(value, 'latin1')]);
};

const literal = (nameByte: number, value: string): Buffer =>
  Buffer.concat([Buffer.from([nameByte]), text(value)]);

/** `grpc-status` in HPACK's Huffman code, as servers write it. */
const STATUS_NAME_HUFFMAN = Buffer.from('9acac8b21234da8f', 'hex');
const STATUS_NAME = Buffer.from('grpc-status', 'latin1');

/**
 * The gRPC status of a header block that was written without a dynamic table; null when it names none. One- and
 * two-digit values are never shorter in Huffman code, so they come as they are.
 */
export function grpcStatus(block: Buffer): number | null {
  let at = 0;
  const integer = (prefixBits: number): number => {
    const mask = (1 << prefixBits) - 1;
    let value = (block[at++] as number) & mask;
    if (value < mask) return value;
    for (let shift = 0; ; shift += 7) {
      const byte = block[at++] as number;
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const string = (): Buffer => {
    const length = integer(7);
    at += length;
    return block.subarray(at - length, at);
  };
  while (at < block.length) {
    const first = block[at] as number;
    if (first >= 0x80) {
      integer(7);
      continue;
    }
    if (first >= 0x20 && first < 0x40) {
      integer(5);
      continue;
    }
    const name = integer(first >= 0x40 ? 6 : 4) === 0 ? string() : null;
    const value = string();
    if (name?.equals(STATUS_NAME_HUFFMAN) || name?.equals(STATUS_NAME))
      return Number(value.toString('latin1'));
  }
  return null;
}
