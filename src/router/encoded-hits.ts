import type { Hit, StoredDocument } from '../index/search-index.js';

/**
 * The hits of an answer in the form in which they are remembered and sent:
 *
 *   u32  number of hits
 *   u32  microseconds that encoding and searching took
 *   per hit: f64 score, f64 distance, u8 which parts of the document there are
 *   then the bytes of `repeated Hit hits = 2` of SearchResponse in proto/switchyard/v1/search.proto
 *
 * Little-endian. The last part goes into a gRPC answer as it is; the others are what protobuf would lose, so that a
 * remembered answer is the very one that was found.
 */
const HEADER_BYTES = 8;
const EXACT_BYTES = 17;
const FLOAT_BYTES = 4;
const DOCUMENT = { there: 1, title: 2, text: 4, attributes: 8 } as const;

const HITS_TAG = 0x12;
const TAG = { id: 0x0a, chunk: 0x10, score: 0x1d, distance: 0x25, document: 0x2a } as const;
const DOCUMENT_TAG = { title: 0x0a, text: 0x12, attributes: 0x1a } as const;

export class EncodedHits {
  readonly payload: Buffer;
  /** The part of the payload that is protobuf. */
  readonly wire: Buffer;

  private constructor(payload: Buffer) {
    this.payload = payload;
    this.wire = payload.subarray(HEADER_BYTES + payload.readUInt32LE(0) * EXACT_BYTES);
  }

  /** In memory of its own, however small: what is remembered must not keep a pool alive. */
  static of(hits: readonly Hit[], serviceUs: number): EncodedHits {
    const measured = hits.map(measure);
    const wireBytes = measured.reduce((sum, { bytes }) => sum + 1 + varintBytes(bytes) + bytes, 0);
    const payload = Buffer.allocUnsafeSlow(HEADER_BYTES + hits.length * EXACT_BYTES + wireBytes);
    payload.writeUInt32LE(hits.length, 0);
    payload.writeUInt32LE(Math.min(0xffff_ffff, Math.max(0, Math.round(serviceUs))), 4);
    let exactAt = HEADER_BYTES;
    let at = HEADER_BYTES + hits.length * EXACT_BYTES;
    for (const one of measured) {
      payload.writeDoubleLE(one.hit.score, exactAt);
      payload.writeDoubleLE(one.hit.distance, exactAt + 8);
      payload[exactAt + 16] = one.flags;
      exactAt += EXACT_BYTES;
      at = writeHit(payload, at, one);
    }
    return new EncodedHits(payload);
  }

  /** Null for bytes that are no such payload. What it refers to is not copied. */
  static read(payload: Buffer): EncodedHits | null {
    if (payload.length < HEADER_BYTES) return null;
    const count = payload.readUInt32LE(0);
    if (payload.length - HEADER_BYTES < count * EXACT_BYTES) return null;
    for (let hit = 0; hit < count; hit++) {
      const at = HEADER_BYTES + hit * EXACT_BYTES;
      if (!isFiniteAt(payload, at) || !isFiniteAt(payload, at + 8)) return null;
    }
    const encoded = new EncodedHits(payload);
    return encoded.isWhole() ? encoded : null;
  }

  /**
   * Whether the bytes are as many hits in the very form that they are written in: so that `decode` meets nothing else, and
   * a value that somebody else put into Redis is a miss and no failure.
   */
  private isWhole(): boolean {
    const { payload, wire, count } = this;
    const reader = new Reader(wire);
    try {
      for (let hit = 0; hit < count; hit++) {
        reader.expect(HITS_TAG);
        const end = reader.end();
        reader.expect(TAG.id);
        reader.skip(reader.varint());
        reader.expect(TAG.chunk);
        reader.varint();
        reader.expect(TAG.score);
        reader.skip(FLOAT_BYTES);
        reader.expect(TAG.distance);
        reader.skip(FLOAT_BYTES);
        const flags = payload[HEADER_BYTES + hit * EXACT_BYTES + 16] as number;
        if ((flags & DOCUMENT.there) !== 0) passDocument(reader, flags);
        if (reader.at !== end) return false;
      }
      return reader.at === wire.length;
    } catch {
      return false;
    }
  }

  get count(): number {
    return this.payload.readUInt32LE(0);
  }

  get serviceUs(): number {
    return this.payload.readUInt32LE(4);
  }

  /** Made anew at each call. */
  decode(): Hit[] {
    const { payload, wire, count } = this;
    const reader = new Reader(wire);
    return Array.from({ length: count }, (_, hit) => {
      reader.expect(HITS_TAG);
      reader.varint();
      const at = HEADER_BYTES + hit * EXACT_BYTES;
      reader.expect(TAG.id);
      const id = reader.text();
      reader.expect(TAG.chunk);
      const chunk = reader.varint();
      // As float32 behind their tags; the exact values stand in front.
      reader.skip(2 * (1 + FLOAT_BYTES));
      const flags = payload[at + 16] as number;
      return {
        id,
        chunk,
        score: payload.readDoubleLE(at),
        distance: payload.readDoubleLE(at + 8),
        document: (flags & DOCUMENT.there) === 0 ? null : readDocument(reader, flags),
      };
    });
  }
}

interface MeasuredHit {
  readonly hit: Hit;
  readonly flags: number;
  readonly idBytes: number;
  readonly titleBytes: number;
  readonly textBytes: number;
  readonly attributes: string;
  readonly attributesBytes: number;
  readonly documentBytes: number;
  /** Of the message without tag and length. */
  readonly bytes: number;
}

function measure(hit: Hit): MeasuredHit {
  const { id, chunk, document } = hit;
  const idBytes = Buffer.byteLength(id);
  const plain = lengthDelimited(idBytes) + 1 + varintBytes(chunk) + 10;
  if (document === null)
    return {
      hit,
      flags: 0,
      idBytes,
      titleBytes: 0,
      textBytes: 0,
      attributes: '',
      attributesBytes: 0,
      documentBytes: 0,
      bytes: plain,
    };
  const { title, text } = document;
  const attributes = document.attributes === undefined ? '' : JSON.stringify(document.attributes);
  const [titleBytes, textBytes] = [Buffer.byteLength(title ?? ''), Buffer.byteLength(text ?? '')];
  const attributesBytes = Buffer.byteLength(attributes);
  const documentBytes =
    lengthDelimited(titleBytes) + lengthDelimited(textBytes) + lengthDelimited(attributesBytes);
  const flags =
    DOCUMENT.there |
    (title === undefined ? 0 : DOCUMENT.title) |
    (text === undefined ? 0 : DOCUMENT.text) |
    (document.attributes === undefined ? 0 : DOCUMENT.attributes);
  return {
    hit,
    flags,
    idBytes,
    titleBytes,
    textBytes,
    attributes,
    attributesBytes,
    documentBytes,
    bytes: plain + lengthDelimited(documentBytes),
  };
}

function writeHit(out: Buffer, from: number, measured: MeasuredHit): number {
  const { hit, flags } = measured;
  out[from] = HITS_TAG;
  let at = writeVarint(out, from + 1, measured.bytes);
  at = writeText(out, at, TAG.id, hit.id, measured.idBytes);
  out[at] = TAG.chunk;
  at = writeVarint(out, at + 1, hit.chunk);
  out[at] = TAG.score;
  at = out.writeFloatLE(hit.score, at + 1);
  out[at] = TAG.distance;
  at = out.writeFloatLE(hit.distance, at + 1);
  if ((flags & DOCUMENT.there) === 0) return at;
  out[at] = TAG.document;
  at = writeVarint(out, at + 1, measured.documentBytes);
  at = writeText(out, at, DOCUMENT_TAG.title, hit.document?.title ?? '', measured.titleBytes);
  at = writeText(out, at, DOCUMENT_TAG.text, hit.document?.text ?? '', measured.textBytes);
  return writeText(out, at, DOCUMENT_TAG.attributes, measured.attributes, measured.attributesBytes);
}

function writeText(out: Buffer, from: number, tag: number, text: string, bytes: number): number {
  out[from] = tag;
  const at = writeVarint(out, from + 1, bytes);
  return at + out.write(text, at, bytes, 'utf8');
}

function writeVarint(out: Buffer, from: number, value: number): number {
  let at = from;
  let rest = value;
  while (rest > 0x7f) {
    out[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  out[at++] = rest;
  return at;
}

const lengthDelimited = (bytes: number): number => 1 + varintBytes(bytes) + bytes;

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) bytes++;
  return bytes;
}

function readDocument(reader: Reader, flags: number): StoredDocument {
  reader.expect(TAG.document);
  reader.varint();
  reader.expect(DOCUMENT_TAG.title);
  const title = reader.text();
  reader.expect(DOCUMENT_TAG.text);
  const text = reader.text();
  reader.expect(DOCUMENT_TAG.attributes);
  const attributes = reader.text();
  return {
    ...((flags & DOCUMENT.title) === 0 ? {} : { title }),
    ...((flags & DOCUMENT.text) === 0 ? {} : { text }),
    ...((flags & DOCUMENT.attributes) === 0
      ? {}
      : { attributes: JSON.parse(attributes) as Record<string, unknown> }),
  };
}

/** Of a little-endian double: all bits of the exponent are set in NaN and the infinities alone. */
const isFiniteAt = (bytes: Uint8Array, at: number): boolean =>
  ((bytes[at + 7] as number) & 0x7f) !== 0x7f || ((bytes[at + 6] as number) & 0xf0) !== 0xf0;

/** Over a document, as `readDocument` reads it. Throws where it is none. */
function passDocument(reader: Reader, flags: number): void {
  reader.expect(TAG.document);
  const end = reader.end();
  reader.expect(DOCUMENT_TAG.title);
  reader.skip(reader.varint());
  reader.expect(DOCUMENT_TAG.text);
  reader.skip(reader.varint());
  reader.expect(DOCUMENT_TAG.attributes);
  if ((flags & DOCUMENT.attributes) === 0) reader.skip(reader.varint());
  else {
    const attributes: unknown = JSON.parse(reader.text());
    if (typeof attributes !== 'object' || attributes === null || Array.isArray(attributes))
      throw notWritten();
  }
  if (reader.at !== end) throw notWritten();
}

const notWritten = (): Error => new Error('remembered hits are not in the form they were written in');
/** Of a length or a chunk: what fits five bytes. */
const VARINT_SHIFT_MAX = 28;

/** Reads what this file wrote; throws at anything else, and never beyond the end. */
class Reader {
  private readonly bytes: Buffer;
  at = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  expect(tag: number): void {
    if (this.bytes[this.at++] !== tag) throw notWritten();
  }

  varint(): number {
    let value = 0;
    for (let shift = 0; shift <= VARINT_SHIFT_MAX; shift += 7) {
      const byte = this.bytes[this.at++];
      if (byte === undefined) break;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw notWritten();
  }

  /** Of the message whose length comes now. */
  end(): number {
    const bytes = this.varint();
    return this.at + bytes;
  }

  text(): string {
    const end = this.end();
    const text = this.bytes.toString('utf8', this.at, end);
    this.skip(end - this.at);
    return text;
  }

  skip(bytes: number): void {
    this.at += bytes;
    if (this.at > this.bytes.length) throw notWritten();
  }
}
