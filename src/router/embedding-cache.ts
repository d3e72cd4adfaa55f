import type { CacheKey, CacheKeys } from '../cache/keys.js';
import { type EntryCodec, LayeredCache, type LayeredCacheOptions } from '../cache/layered-cache.js';
import { SingleFlight } from '../cache/single-flight.js';
import type { Encoder } from '../encoder/encoder.js';
import type { Span } from '../telemetry/trace.js';
import type { Fingerprint, InputRole, Lane } from '../vocabulary.js';

/** One text's vector in one space, with what its encoder said of the text. `values` is never handed out: see `copyOf`. */
export interface EmbeddingEntry {
  readonly fingerprint: Fingerprint;
  readonly values: Float32Array;
  readonly tokenCount: number;
  readonly isTruncated: boolean;
}

/** With what it cost this caller: nothing when it was remembered. */
export interface EncodedText extends EmbeddingEntry {
  readonly queueUs: number;
  readonly encodeUs: number;
}

/** Payload: u32 tokens, u32 whether the text was cut, then float32 values, little-endian. */
const HEADER_BYTES = 8;
const FLOAT_BYTES = 4;

export const EMBEDDING_CODEC: EntryCodec<EmbeddingEntry> = {
  kind: 'embedding',
  encode: ({ values, tokenCount, isTruncated }) => {
    const payload = Buffer.allocUnsafe(HEADER_BYTES + values.byteLength);
    payload.writeUInt32LE(tokenCount, 0);
    payload.writeUInt32LE(isTruncated ? 1 : 0, 4);
    payload.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), HEADER_BYTES);
    return payload;
  },
  decode: (payload, fingerprint) => {
    const bytes = payload.length - HEADER_BYTES;
    if (bytes < FLOAT_BYTES || bytes % FLOAT_BYTES !== 0) return null;
    const cut = payload.readUInt32LE(4);
    if (cut > 1) return null;
    const values = new Float32Array(bytes / FLOAT_BYTES);
    new Uint8Array(values.buffer).set(payload.subarray(HEADER_BYTES));
    return { fingerprint, values, tokenCount: payload.readUInt32LE(0), isTruncated: cut === 1 };
  },
  bytesOf: ({ values }) => values.byteLength,
};

export interface EncodeText {
  readonly encoder: Encoder;
  readonly text: string;
  readonly role: InputRole;
  readonly lane: Lane;
  readonly deadlineAtMs: number;
  /** Absent where nothing is traced. */
  readonly trace?: Span | undefined;
}

type TextOf = Pick<EncodeText, 'encoder' | 'text' | 'role'>;

/** Vectors of texts, by the fingerprint of the model that made them, the role of the text, and the text. */
export class EmbeddingCache {
  readonly layers: LayeredCache<EmbeddingEntry>;
  readonly flights: SingleFlight<EncodedText>;
  private readonly keys: CacheKeys;

  constructor(keys: CacheKeys, options: Omit<LayeredCacheOptions<EmbeddingEntry>, 'codec' | 'keys'>) {
    this.keys = keys;
    this.layers = new LayeredCache({ ...options, keys, codec: EMBEDDING_CODEC });
    this.flights = new SingleFlight(options.timers);
  }

  /** What is remembered of a text, or null. The values are the caller's own. */
  async find(text: TextOf): Promise<EncodedText | null> {
    const key = this.keyOf(text);
    const entry = this.recall(key, text.encoder) ?? (await this.fetch(key, text.encoder));
    return entry === null ? null : atNoCost(entry);
  }

  /** What an encoder just made. Vectors that no index would take are not remembered. */
  remember(text: TextOf, encoded: EmbeddingEntry): void {
    if (fits(encoded, text.encoder)) this.layers.put(this.keyOf(text), copyOf(encoded));
  }

  /**
   * Remembered, or encoded by `encode`, once for all who ask at the same time in the same lane: nobody who is urgent
   * waits for somebody who is not. The values are the caller's own.
   */
  async encode(request: EncodeText, encode: () => Promise<EncodedText>): Promise<EncodedText> {
    const { encoder, lane, deadlineAtMs } = request;
    const key = this.keyOf(request);
    const known = this.recall(key, encoder);
    if (known !== null) return atNoCost(known);
    const { value, joined } = await this.flights.run(`${lane} ${key}`, deadlineAtMs, async () => {
      const shared = await this.fetch(key, encoder);
      if (shared !== null) return { ...shared, queueUs: 0, encodeUs: 0 };
      const encoded = await encode();
      if (fits(encoded, encoder)) this.layers.put(key, encoded);
      return encoded;
    });
    // Whoever searches with a vector may give its memory away, so each has a copy and the cache keeps the first.
    return joined ? atNoCost(value) : { ...value, values: value.values.slice() };
  }

  private keyOf({ encoder, text, role }: TextOf): CacheKey {
    return this.keys.embedding(encoder.model.fingerprint, role, text);
  }

  private recall(key: CacheKey, encoder: Encoder): EmbeddingEntry | null {
    return this.accepted(key, this.layers.recall(key, encoder.model.fingerprint), encoder);
  }

  private async fetch(key: CacheKey, encoder: Encoder): Promise<EmbeddingEntry | null> {
    return this.accepted(key, await this.layers.fetch(key, encoder.model.fingerprint), encoder);
  }

  private accepted(key: CacheKey, entry: EmbeddingEntry | null, encoder: Encoder): EmbeddingEntry | null {
    if (entry === null || fits(entry, encoder)) return entry;
    this.layers.refuse(key);
    return null;
  }
}

const atNoCost = (entry: EmbeddingEntry): EncodedText => ({ ...copyOf(entry), queueUs: 0, encodeUs: 0 });

const copyOf = ({ fingerprint, values, tokenCount, isTruncated }: EmbeddingEntry): EmbeddingEntry => ({
  fingerprint,
  values: values.slice(),
  tokenCount,
  isTruncated,
});

/** Invariant 1 for remembered vectors, and what every vector must be: its model's length, and finite. */
function fits({ fingerprint, values }: EmbeddingEntry, { model }: Encoder): boolean {
  if (fingerprint !== model.fingerprint || values.length !== model.dimensions) return false;
  // x * 0 is 0 for every finite number and NaN for the rest.
  let sum = 0;
  for (let at = 0; at < values.length; at++) sum += (values[at] as number) * 0;
  return sum === 0;
}
